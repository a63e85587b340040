"""A mixture of experts: each position passes the few that its gate chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from jaxllama.layers.activations import Activation, activate
from jaxllama.layers.mixture import Gate, choose, mix

from ..block import Block
from ..tensors import TensorRow, Tensors, matrix, merged


@dataclass(frozen=True, kw_only=True)
class Experts:
    """Experts, with those that every position passes beside them.

    Attributes:
        n_expert, n_expert_used: how many there are, and how many a position passes.
        n_ff: the width within an expert.
        activation: of its gate.
        gate: how scores become probabilities.
        normalized: whether the weights of those chosen are made to add up to one.
        scale: of the weights.
        bias: whether the gate and the experts have biases.
        biased: whether the choice is made with a bias for each expert.
        groups, groups_used: experts are chosen within the best groups; 0 for no groups.
        n_ff_shared: the width within what every position passes; 0 for nothing.
        shared_gate: whether a gate of its own weighs that.
    """

    n_expert: int
    n_expert_used: int
    n_ff: int
    activation: Activation = "silu"
    gate: Gate = "softmax"
    normalized: bool = True
    scale: float = 1.0
    bias: bool = False
    biased: bool = False
    groups: int = 0
    groups_used: int = 0
    n_ff_shared: int = 0
    shared_gate: bool = False

    def tensors(self, width: int) -> Tensors:
        """See `Layer.tensors`."""
        experts, inner, shared = self.n_expert, self.n_ff, self.n_ff_shared
        bias = "required" if self.bias else "none"
        return merged(
            matrix("ffn_gate_inp", experts, width, bias=bias),
            matrix("ffn_gate_exps", inner, width, experts=experts, bias=bias),
            matrix("ffn_up_exps", inner, width, experts=experts, bias=bias),
            matrix("ffn_down_exps", width, inner, experts=experts, bias=bias),
            {"exp_probs_b.bias": TensorRow((experts,))} if self.biased else {},
            self._shared_tensors(width, shared) if shared else {},
        )

    def _shared_tensors(self, width: int, inner: int) -> Tensors:
        return merged(
            matrix("ffn_gate_shexp", inner, width),
            matrix("ffn_up_shexp", inner, width),
            matrix("ffn_down_shexp", width, inner),
            {"ffn_gate_inp_shexp.weight": TensorRow((width,))} if self.shared_gate else {},
        )

    def run(self, block: Block, x: jax.Array) -> jax.Array:
        """x f32[B, T, D] -> f32[B, T, D]."""
        rows = x.reshape(-1, x.shape[-1])
        bias = block.array("exp_probs_b.bias") if self.biased else None
        weights, chosen = choose(
            block.product(rows, "ffn_gate_inp"),
            bias,
            n_used=self.n_expert_used,
            gate=self.gate,
            normalized=self.normalized,
            scale=self.scale,
            groups=self.groups,
            groups_used=self.groups_used,
        )

        def expert(rows: jax.Array, number: jax.Array) -> jax.Array:
            return self._gated(block, rows, "exps", number)

        out = mix(rows, weights, chosen, expert, n_expert=self.n_expert, watch=block.watch)
        if self.n_ff_shared:
            shared = self._gated(block, rows, "shexp")
            if self.shared_gate:
                opened = jnp.dot(rows, block.array("ffn_gate_inp_shexp"), precision=jax.lax.Precision.HIGHEST)
                shared = shared * jax.nn.sigmoid(opened)[:, None]
            out = out + shared
        return out.reshape(x.shape)

    def _gated(self, block: Block, rows: jax.Array, suffix: Literal["exps", "shexp"], expert: jax.Array | int = 0) -> jax.Array:
        gate, up = (block.product(rows, f"ffn_{role}_{suffix}", expert) for role in ("gate", "up"))
        return block.product(activate(self.activation, gate, up), f"ffn_down_{suffix}", expert)
