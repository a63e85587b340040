"""Mamba-2's mixer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxllama.layers.convolution import convolve
from jaxllama.layers.norm import normalize
from jaxllama.layers.recurrence import selective_scan

from ..batch import Batch
from ..block import Block
from ..memory import Recurrent
from ..tensors import TensorRow, Tensors, matrix, merged
from .recurrent import layer_of, with_layer


@dataclass(frozen=True, kw_only=True)
class Mamba2:
    """A convolution over the last positions, a recurrence, a gate and a norm by groups (Dao and Gu, 2024).

    Attributes:
        inner: numbers of all heads together.
        heads: of the recurrence.
        state_size: N, of each head.
        groups: of heads that share what goes in and out.
        kernel: positions that the convolution sees.
    """

    inner: int
    heads: int
    state_size: int
    groups: int
    kernel: int
    rope: ClassVar[None] = None

    @property
    def channels(self) -> int:
        """Of the convolution."""
        return self.inner + 2 * self.groups * self.state_size

    def tensors(self, width: int) -> Tensors:
        """See `Layer.tensors`."""
        return merged(
            matrix("ssm_in", self.inner + self.channels + self.heads, width, bias="none"),
            matrix("ssm_out", width, self.inner, bias="none"),
            {
                "ssm_conv1d.weight": TensorRow((self.channels, self.kernel)),
                "ssm_conv1d.bias": TensorRow((self.channels,)),
                "ssm_dt.bias": TensorRow((self.heads,)),
                "ssm_a": TensorRow((self.heads, 1)),
                "ssm_d": TensorRow((self.heads, 1)),
                "ssm_norm.weight": TensorRow((self.groups, self.inner // self.groups)),
            },
        )

    def memory(self, layers: int, slots: int, capacity: int, dtype: jnp.dtype) -> Recurrent:
        """The empty memory of so many layers."""
        state = jnp.zeros((layers, slots, self.heads, self.inner // self.heads, self.state_size))
        return Recurrent(jnp.zeros((layers, slots, self.kernel - 1, self.channels)), state)

    def run(self, block: Block, x: jax.Array, memory: Recurrent, batch: Batch) -> tuple[jax.Array, Recurrent]:
        """See `Layer.run`."""
        slots, length, _ = x.shape
        before = layer_of(memory, block.index)
        assert before.state is not None
        mixed = block.product(x.reshape(slots * length, -1), "ssm_in").reshape(slots, length, -1)
        gate, x, step = jnp.split(mixed, (self.inner, self.inner + self.channels), -1)
        x, tail = convolve(x, before.tail, block.array("ssm_conv1d"), batch.counts)
        x = jax.nn.silu(x + block.array("ssm_conv1d.bias")[None, None])
        x, inward, outward = jnp.split(x, (self.inner, self.inner + self.groups * self.state_size), -1)
        x = x.reshape(slots, length, self.heads, -1)
        inward, outward = (a.reshape(slots, length, self.groups, -1) for a in (inward, outward))
        step = jnp.where(batch.counted(length)[..., None], jax.nn.softplus(step + block.array("ssm_dt.bias")[None, None]), 0.0)
        y, state = selective_scan(x, step, block.array("ssm_a")[:, 0], inward, outward, before.state)
        y = (y + x * block.array("ssm_d")[None, None]).reshape(slots, length, -1) * jax.nn.silu(gate)
        weight = block.array("ssm_norm")
        grouped = y.reshape(slots, length, self.groups, -1)
        y = normalize(grouped, block.norm_kind, jnp.ones(grouped.shape[-1])) * weight[None, None]
        out = block.product(y.reshape(slots * length, -1), "ssm_out")
        return out.reshape(slots, length, -1), with_layer(memory, block.index, Recurrent(tail, state))
