"""Embeddings in llama-cpp-python's shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxllama.api import Model

from .constants import LLAMA_POOLING_TYPE_CLS, LLAMA_POOLING_TYPE_LAST, LLAMA_POOLING_TYPE_MEAN, LLAMA_POOLING_TYPE_NONE

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
