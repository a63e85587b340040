"""The part of `Llama` that makes embeddings, in llama-cpp-python's shapes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxllama.api import Model

from .chatting import Chatting
from .llama_cpp import LLAMA_POOLING_TYPE_CLS, LLAMA_POOLING_TYPE_LAST, LLAMA_POOLING_TYPE_MEAN, LLAMA_POOLING_TYPE_NONE

_POOLS = {LLAMA_POOLING_TYPE_MEAN: lambda rows: rows.mean(0), LLAMA_POOLING_TYPE_CLS: lambda rows: rows[0], LLAMA_POOLING_TYPE_LAST: lambda rows: rows[-1]}


def pooled(model: Model, tokens: Sequence[int], pooling: int, normalize: bool) -> list:
    """The vector of a text, or one of each token where nothing is pooled.

    Raises:
        NotImplementedError: the kind of pooling needs a ranking model.
    """
    rows = model.embed(tokens, pooling="none", normalize=False)
    if pooling != LLAMA_POOLING_TYPE_NONE:
        if pooling not in _POOLS:
            raise NotImplementedError(f"pooling_type: jaxllama has no models that rank yet; number {pooling} is not supported")
        rows = _POOLS[pooling](rows)
    if normalize:
        rows = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return rows.tolist()


class Embedding(Chatting):
    """Embeddings of texts."""

    @abstractmethod
    def pooling_type(self) -> int:
        """How the vectors of tokens become one."""

    def create_embedding(self, input: str | Sequence[str], model: str | None = None) -> dict[str, Any]:
        """Embeddings of texts, in OpenAI's shape."""
        texts = [input] if isinstance(input, str) else list(input)
        vectors, count = self.embed(texts, return_count=True)
        data = [{"object": "embedding", "embedding": vector, "index": number} for number, vector in enumerate(vectors)]
        return {"object": "list", "data": data, "model": model or self.model_path, "usage": {"prompt_tokens": count, "total_tokens": count}}

    def embed(self, input: str | Sequence[str], normalize: bool = False, truncate: bool = True, return_count: bool = False) -> Any:
        """The embedding of a text, or of several: a vector of each, or of each token where nothing is pooled.

        Args:
            truncate: leave out what goes beyond `n_batch` tokens; otherwise that is an error.
            return_count: return the number of tokens too.
        """
        found, count = [], 0
        for text in [input] if isinstance(input, str) else input:
            ids = self.tokenize(text.encode())
            if len(ids) > self.n_batch and not truncate:
                raise ValueError(f"Requested tokens ({len(ids)}) exceed batch size of {self.n_batch}")
            ids = ids[: self.n_batch]
            count += len(ids)
            found.append(pooled(self.model, ids, self.pooling_type(), normalize))
        output = found[0] if isinstance(input, str) else found
        return (output, count) if return_count else output
