"""What a model is, apart from its weights: a hashable description, static under jit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jaxllama.formats.gguf import GGUFError, GGUFFile
from jaxllama.layers.rope import Rope


@dataclass(frozen=True, kw_only=True)
class Config:
    """One description for the whole llama-like family; an architecture is a choice of values.

    Attributes:
        architecture: the file's `general.architecture`.
        n_vocab, n_embd, n_layer, n_head, n_head_kv, n_ff, n_ctx_train: sizes, under the file's names.
        head_size: H, of queries, keys and values.
        norm_epsilon: of all RMS norms.
        rope: positions.
        attention_scale: of the scores; H^-1/2 as a rule.
        attention_softcap, final_softcap: 0 for none.
        windows: for each layer how many positions a query sees, 0 for all.
        qk_norm: whether each head of queries and keys is normalised before it is rotated.
        post_norms: whether the outputs of attention and feed-forward are normalised before they are added.
        embedding_scale: the embedding is multiplied by it.
        activation: of the feed-forward gate.
        n_expert, n_expert_used, expert_scale: 0 experts for a dense feed-forward.
        exact: compute in float32 throughout instead of rounding activations for the products.
    """

    architecture: str
    n_vocab: int
    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    n_ff: int
    n_ctx_train: int
    head_size: int
    norm_epsilon: float
    rope: Rope
    attention_scale: float
    attention_softcap: float = 0.0
    final_softcap: float = 0.0
    windows: tuple[int, ...]
    qk_norm: bool = False
    post_norms: bool = False
    embedding_scale: float = 1.0
    activation: Literal["silu", "gelu"] = "silu"
    n_expert: int = 0
    n_expert_used: int = 0
    expert_scale: float = 1.0
    exact: bool = False

    def sizes(self) -> dict[str, int]:
        """The lengths of the axes that tensors have, by the letters of the tensor tables."""
        return {
            "V": self.n_vocab,
            "D": self.n_embd,
            "NH": self.n_head * self.head_size,
            "KH": self.n_head_kv * self.head_size,
            "H": self.head_size,
            "F": self.n_ff,
            "E": self.n_expert,
        }


class Metadata:
    """Metadata of one architecture: keys without the `llama.` in front, checked as they are read."""

    def __init__(self, file: GGUFFile):
        self.file = file
        self.architecture = str(file.require("general.architecture"))
        self._values: Mapping[str, Any] = file.metadata

    def fail(self, key: str, expected: str, found: object) -> GGUFError:
        return GGUFError(self.file.path, f"{self.architecture}.{key}", expected=expected, found=found)

    def number(self, key: str, default: float | None = None, *, least: float = 0) -> float:
        """A finite number of at least `least`."""
        found = self._values.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise self.fail(key, "this metadata key", "no such key (--override-kv can supply it)")
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not np.isfinite(found) or found < least:
            raise self.fail(key, f"a number of at least {least:g}", found)
        return found

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = 2**31 - 1) -> int:
        """An integer; a per-layer array counts when all its values are the same."""
        found = self._values.get(f"{self.architecture}.{key}")
        if isinstance(found, np.ndarray):
            if found.size == 0 or (found != found[0]).any():
                raise self.fail(key, "the same value for every layer", found.tolist())
            found = int(found[0])
        value = found if found is not None else self.number(key, default, least=least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.fail(key, f"an integer from {least} to {most}", value)
        return value

    def text(self, key: str, default: str, *, among: tuple[str, ...]) -> str:
        found = self._values.get(f"{self.architecture}.{key}", default)
        if found not in among:
            raise self.fail(key, f"one of {', '.join(among)}", found)
        return found

    def has(self, key: str) -> bool:
        return f"{self.architecture}.{key}" in self._values
