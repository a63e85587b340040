"""The gated delta net of Qwen3-Next and its successors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxllama.layers.convolution import convolve
from jaxllama.layers.recurrence import delta_rule

from ..batch import Batch
from ..block import Block
from ..memory import Recurrent
from ..tensors import TensorRow, Tensors, matrix, merged, vector
from .recurrent import layer_of, with_layer


@dataclass(frozen=True, kw_only=True)
class DeltaNet:
    """A convolution over the last positions, the gated delta rule, a norm and a gate (Yang et al., 2024).

    Attributes:
        key_heads, value_heads: the first are repeated for the second.
        head_size: of both.
        kernel: positions that the convolution sees.
    """

    key_heads: int
    value_heads: int
    head_size: int
    kernel: int
    rope: ClassVar[None] = None

    @property
    def channels(self) -> int:
        """Of the convolution: queries, keys and values."""
        return (2 * self.key_heads + self.value_heads) * self.head_size

    def tensors(self, width: int) -> Tensors:
        """See `Layer.tensors`."""
        inner = self.value_heads * self.head_size
        return merged(
            matrix("attn_qkv", self.channels, width, bias="none"),
            matrix("attn_gate", inner, width, bias="none"),
            matrix("ssm_beta", self.value_heads, width, bias="none"),
            matrix("ssm_alpha", self.value_heads, width, bias="none"),
            matrix("ssm_out", width, inner, bias="none"),
            vector("ssm_norm", self.head_size),
            {
                "ssm_conv1d.weight": TensorRow((self.channels, self.kernel)),
                "ssm_dt.bias": TensorRow((self.value_heads,)),
                "ssm_a": TensorRow((self.value_heads,)),
            },
        )

    def memory(self, layers: int, slots: int, capacity: int, dtype: jnp.dtype) -> Recurrent:
        """The empty memory of so many layers."""
        state = jnp.zeros((layers, slots, self.value_heads, self.head_size, self.head_size))
        return Recurrent(jnp.zeros((layers, slots, self.kernel - 1, self.channels)), state)

    def run(self, block: Block, x: jax.Array, memory: Recurrent, batch: Batch) -> tuple[jax.Array, Recurrent]:
        """See `Layer.run`."""
        slots, length, _ = x.shape
        rows = x.reshape(slots * length, -1)
        before = layer_of(memory, block.index)
        assert before.state is not None

        def product(role: str) -> jax.Array:
            return block.product(rows, role).reshape(slots, length, -1)

        mixed, tail = convolve(product("attn_qkv"), before.tail, block.array("ssm_conv1d"), batch.counts)
        keys = self.key_heads * self.head_size
        q, k, v = (part.reshape(slots, length, -1, self.head_size) for part in jnp.split(jax.nn.silu(mixed), (keys, 2 * keys), -1))
        epsilon = block.norm_kind.epsilon
        q, k = (a * jax.lax.rsqrt((a * a).sum(-1, keepdims=True) + epsilon) for a in (q, k))
        q, k = (jnp.tile(a, (1, 1, self.value_heads // self.key_heads, 1)) for a in (q, k))
        counted = batch.counted(length)[..., None]
        strength = jnp.where(counted, jax.nn.sigmoid(product("ssm_beta")), 0.0)
        fade = jax.nn.softplus(product("ssm_alpha") + block.array("ssm_dt.bias")[None, None]) * block.array("ssm_a")[None, None]
        y, state = delta_rule(q * self.head_size**-0.5, k, v, jnp.where(counted, fade, 0.0), strength, before.state)
        y = block.norm(y, "ssm_norm") * jax.nn.silu(product("attn_gate").reshape(y.shape))
        out = block.product(y.reshape(slots * length, -1), "ssm_out")
        return out.reshape(slots, length, -1), with_layer(memory, block.index, Recurrent(tail, state))
