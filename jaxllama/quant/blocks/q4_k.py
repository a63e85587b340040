"""Q4_K: 256 weights in 144 bytes, eight sub-blocks of 32. x = d * scale * q - dmin * minimum.

byte   0..1    d       f16, scale of the scales
byte   2..3    dmin    f16, scale of the minima
byte   4..15   scales  eight 6-bit scales and minima, see k_scales
byte  16..143  qs      nibbles: the low nibbles of qs[32 j + i] are sub-block 2 j, the high ones sub-block 2 j + 1

Source: ggml block_q4_K.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import F16_MAX, Array, BlockFormat, Group, Part, bits
from ..packing import nibbles_by_32
from .k_scales import quantize_256, scales_and_minima

ATTEMPTS = tuple(-1 + 0.1 * i for i in range(21))


def groups(parts: Mapping[str, Array]) -> list[Group]:
    qs = parts["qs"]
    words = (qs.reshape(*qs.shape[:-2], 4, 8, qs.shape[-1]),)
    scales, minima = scales_and_minima(parts["scales"])
    scales = scales * parts["d"][..., None, :].astype(jnp.float32)
    minima = minima * parts["dmin"][..., None, :].astype(jnp.float32)
    low, high = (lambda w, byte, shift=shift: bits(w, byte, shift, 15) for shift in (0, 4))
    return [
        Group(words, low, scales[..., 0::2, :], minima[..., 0::2, :]),
        Group(words, high, scales[..., 1::2, :], minima[..., 1::2, :]),
    ]


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    head, codes = quantize_256(x, importance, 15, ATTEMPTS)
    return jnp.concatenate([head, nibbles_by_32(codes)])


FORMAT = BlockFormat(
    "Q4_K",
    (Part("d", 0, "f2"), Part("dmin", 2, "f2"), Part("scales", 4, "u4", 3), Part("qs", 16, "u4", 32)),
    groups,
    "(r g k) -> g r k",
    {"r": 4, "g": 2},
    quantize,
    largest=63 * F16_MAX,
)
