"""The gated feed-forward that every position passes whole."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from jaxllama.layers.activations import Activation, activate

from ..block import Block
from ..tensors import Tensors, matrix, merged


@dataclass(frozen=True, kw_only=True)
class Dense:
    """down(activation(gate(x)) * up(x)) (Shazeer, 2020).

    Attributes:
        n_ff: the width between.
        activation: of the gate.
    """

    n_ff: int
    activation: Activation = "silu"

    def tensors(self, width: int) -> Tensors:
        """See `Layer.tensors`."""
        return merged(matrix("ffn_gate", self.n_ff, width), matrix("ffn_up", self.n_ff, width), matrix("ffn_down", width, self.n_ff))

    def run(self, block: Block, x: jax.Array) -> jax.Array:
        """x f32[B, T, D] -> f32[B, T, D]."""
        rows = x.reshape(-1, x.shape[-1])
        out = block.product(activate(self.activation, block.product(rows, "ffn_gate"), block.product(rows, "ffn_up")), "ffn_down")
        return out.reshape(x.shape)
