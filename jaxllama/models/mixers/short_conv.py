"""LFM2's gated short convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxllama.layers.convolution import convolve

from ..batch import Batch
from ..block import Block
from ..memory import Recurrent
from ..tensors import TensorRow, Tensors, matrix, merged
from .recurrent import layer_of, with_layer


@dataclass(frozen=True, kw_only=True)
class ShortConv:
    """out(c * convolution(b * x)), where b, c and x are projections of the input.

    Attributes:
        width: D.
        kernel: positions that the convolution sees.
    """

    width: int
    kernel: int
    rope: ClassVar[None] = None

    def tensors(self, width: int) -> Tensors:
        """See `Layer.tensors`."""
        return merged(
            matrix("shortconv.in_proj", 3 * width, width, bias="none"),
            matrix("shortconv.out_proj", width, width, bias="none"),
            {"shortconv.conv.weight": TensorRow((width, self.kernel))},
        )

    def memory(self, layers: int, slots: int, capacity: int, dtype: jnp.dtype) -> Recurrent:
        """The empty memory of so many layers."""
        return Recurrent(jnp.zeros((layers, slots, self.kernel - 1, self.width)))

    def run(self, block: Block, x: jax.Array, memory: Recurrent, batch: Batch) -> tuple[jax.Array, Recurrent]:
        """See `Layer.run`."""
        slots, length, _ = x.shape
        before = layer_of(memory, block.index)
        b, c, x = (part.reshape(slots, length, -1) for part in jnp.split(block.product(x.reshape(slots * length, -1), "shortconv.in_proj"), 3, -1))
        y, tail = convolve(b * x, before.tail, block.array("shortconv.conv"), batch.counts)
        out = block.product((c * y).reshape(slots * length, -1), "shortconv.out_proj")
        return out.reshape(slots, length, -1), with_layer(memory, block.index, Recurrent(tail))
