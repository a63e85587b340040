"""Q5_0 and Q5_1: 32 weights with a fifth bit in a word of its own.

Q5_0, 22 bytes: x = d * (q - 16)          Q5_1, 24 bytes: x = d * q + m
byte  0..1   d    f16                     byte  0..1   d    f16
byte  2..5   qh   bit j: of weight j      byte  2..3   m    f16
byte  6..21  qs   nibbles                 byte  4..7   qh   bit j: of weight j
                                          byte  8..23  qs   nibbles

The low nibble of qs[j] is weight j, the high nibble weight j + 16.

Source: ggml block_q5_0, block_q5_1.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import F16_MAX, Array, BlockFormat, Group, Part, bits, shift_right
from ..packing import bitmap, nibbles
from .legacy import around_zero, from_minimum


def groups(parts: Mapping[str, Array]) -> list[Group]:
    scale = parts["d"][..., None, :].astype(jnp.float32)
    minimum = -parts["m"][..., None, :].astype(jnp.float32) if "m" in parts else None
    offset = 0 if "m" in parts else 16
    low = parts["qs"][..., None, :, :]
    found = []
    for half in (0, 1):
        fifth = shift_right(parts["qh"][..., None, None, :], jnp.arange(16 * half, 16 * half + 16, 4)[:, None])  # bit `byte` of each is the weight's

        def code(w: Array, h: Array, byte: Array | int, half: int = half) -> Array:
            high = (shift_right(h, byte) & jnp.uint32(1)).astype(jnp.int32) << 4
            return (bits(w, byte, 4 * half, 15) | high) - offset

        found.append(Group((low, fifth), code, scale, minimum))
    return found


def _with_fifth_bit(codes: Array) -> Array:
    codes = codes.astype(jnp.int32)
    return jnp.concatenate([bitmap(codes >> 4), nibbles(codes & 15)])


def quantize_0(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    head, codes = around_zero(x, importance, row_mean_square, 16)
    return jnp.concatenate([head, _with_fifth_bit(codes)])


def quantize_1(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    head, codes = from_minimum(x, importance, row_mean_square, 31)
    return jnp.concatenate([head, _with_fifth_bit(codes)])


Q5_0 = BlockFormat(
    "Q5_0", (Part("d", 0, "f2"), Part("qh", 2, "u4"), Part("qs", 6, "u4", 4)), groups, "(g k) -> g 1 k", {"g": 2}, quantize_0, largest=16 * F16_MAX
)
Q5_1 = BlockFormat(
    "Q5_1", (Part("d", 0, "f2"), Part("m", 2, "f2"), Part("qh", 4, "u4"), Part("qs", 8, "u4", 4)), groups, "(g k) -> g 1 k", {"g": 2}, quantize_1
)
