"""Q4_0: 32 weights in 18 bytes, one f16 scale, no minimum. x = d * (q - 8).

byte  0..1   d    f16, little endian
byte  2..17  qs   nibbles: the low nibble of qs[j] is weight j, the high nibble weight j + 16

Source: ggml block_q4_0.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import F16_MAX, Array, BlockFormat, Group, Part, bits
from ..packing import nibbles
from .legacy import around_zero


def groups(parts: Mapping[str, Array]) -> list[Group]:
    words = (parts["qs"][..., None, :, :],)
    scale = parts["d"][..., None, :].astype(jnp.float32)
    low, high = (lambda w, byte, shift=shift: bits(w, byte, shift, 15) - 8 for shift in (0, 4))
    return [Group(words, low, scale), Group(words, high, scale)]


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    head, codes = around_zero(x, importance, row_mean_square, 8)
    return jnp.concatenate([head, nibbles(codes)])


FORMAT = BlockFormat("Q4_0", (Part("d", 0, "f2"), Part("qs", 2, "u4", 4)), groups, "(g k) -> g 1 k", {"g": 2}, quantize, largest=8 * F16_MAX)
