"""Q4_0: 32 weights in 18 bytes, one f16 scale, no minimum. x = d * (q - 8).

byte  0..1   d    f16, little endian
byte  2..17  qs   nibbles: the low nibble of qs[j] is weight j, the high nibble weight j + 16

Source: ggml block_q4_0.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import Array, BlockFormat, Group, Part, bits
from ..packing import as_f16, nibbles
from ..search import furthest, inverse, symmetric, weight_of


def groups(parts: Mapping[str, Array]) -> list[Group]:
    words = (parts["qs"][..., None, :, :],)
    scale = parts["d"][..., None, :].astype(jnp.float32)
    low, high = (lambda w, byte, shift=shift: bits(w, byte, shift, 15) - 8 for shift in (0, 4))
    return [Group(words, low, scale), Group(words, high, scale)]


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    """The number with the largest magnitude becomes code 0; with importance, the best of 19 scales."""
    if importance is None:
        scale = furthest(x) / -8
        bytes_, _ = as_f16(scale)
        codes = jnp.clip(jnp.trunc(x * inverse(scale) + 8.5), 0, 15)  # one fused multiply-add: the reference's rounding is that of a product not rounded
    else:
        bytes_, scale = as_f16(symmetric(x, weight_of(x, importance, row_mean_square[None]), 8))
        codes = jnp.clip(jnp.round(x * inverse(scale)), -8, 7) + 8
    return jnp.concatenate([bytes_, nibbles(codes)])


FORMAT = BlockFormat("Q4_0", (Part("d", 0, "f2"), Part("qs", 2, "u4", 4)), groups, "(g k) -> g 1 k", {"g": 2}, quantize)
