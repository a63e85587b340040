"""What a model is, apart from its weights: a hashable description, static under jit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

from jaxllama.layers.norm import Norm

from .layer import Layer, kinds
from .walk import Run, runs


@dataclass(frozen=True, kw_only=True)
class Config:
    """A model: its layers, and what is before and after them.

    Attributes:
        architecture: the file's `general.architecture`.
        n_vocab, n_embd, n_ctx_train: sizes, under the file's names.
        layers: one after the other.
        norm: how all norms work.
        output_norm: the name of the last one.
        embedding_scale: the embedding is multiplied by it.
        final_softcap: logits l become final_softcap * tanh(l / final_softcap); 0 for none.
        exact: compute in float32 throughout instead of rounding activations for the products.
    """

    architecture: str
    n_vocab: int
    n_embd: int
    n_ctx_train: int
    layers: tuple[Layer, ...]
    norm: Norm
    output_norm: str = "output_norm"
    embedding_scale: float = 1.0
    final_softcap: float = 0.0
    exact: bool = False

    @property
    def n_layer(self) -> int:
        return len(self.layers)

    @cached_property
    def kinds(self) -> tuple[Layer, ...]:
        """The different layers; parameters and memories come in their order."""
        return kinds(self.layers)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """What repeats among the layers."""
        return runs(self.layers)

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, field.name) for field in fields(self)))

    def __hash__(self) -> int:  # a program is looked up by it at every dispatch, and there can be many layers
        return self._hash

    def __repr__(self) -> str:
        values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.name != "layers")
        layers = "; ".join(
            " then ".join(f"{count} x {self.kinds[kind]!r}" for kind, count in run.segments) + (f", {run.repeats} times" if run.repeats > 1 else "")
            for run in self.runs
        )
        return f"Config({values}, layers=[{layers}])"
