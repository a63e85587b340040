"""Q4_1: 32 weights in 20 bytes, a scale and a minimum. x = d * q + m.

byte  0..1   d    f16
byte  2..3   m    f16
byte  4..19  qs   nibbles: the low nibble of qs[j] is weight j, the high nibble weight j + 16

Source: ggml block_q4_1.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import Array, BlockFormat, Group, Part, bits
from ..packing import nibbles
from .legacy import from_minimum


def groups(parts: Mapping[str, Array]) -> list[Group]:
    words = (parts["qs"][..., None, :, :],)
    scale, minimum = parts["d"][..., None, :].astype(jnp.float32), -parts["m"][..., None, :].astype(jnp.float32)
    low, high = (lambda w, byte, shift=shift: bits(w, byte, shift, 15) for shift in (0, 4))
    return [Group(words, low, scale, minimum), Group(words, high, scale, minimum)]


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    head, codes = from_minimum(x, importance, row_mean_square, 15)
    return jnp.concatenate([head, nibbles(codes)])


FORMAT = BlockFormat("Q4_1", (Part("d", 0, "f2"), Part("m", 2, "f2"), Part("qs", 4, "u4", 4)), groups, "(g k) -> g 1 k", {"g": 2}, quantize)
