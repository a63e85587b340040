"""IQ4_NL and IQ4_XS: four bits that pick one of sixteen unevenly spaced values.

IQ4_NL, 32 weights in 18 bytes: x = d * VALUES[q]
byte  0..1   d    f16
byte  2..17  qs   nibbles: the low nibble of qs[j] is weight j, the high nibble weight j + 16

IQ4_XS, 256 weights in 136 bytes, eight sub-blocks of 32: x = d * (scale - 32) * VALUES[q]
byte  0..1    d         f16
byte  2..3    scales_h  bits 2 j and 2 j + 1: upper bits of scale j
byte  4..7    scales_l  nibble j: lower bits of scale j
byte  8..135  qs        nibbles of sub-block j in qs[16 j ...], as in IQ4_NL

Source: ggml block_iq4_nl, block_iq4_xs.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import Array, BlockFormat, Group, Part, nibbles_of, shift_right

VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def groups_nl(parts: Mapping[str, Array]) -> list[Group]:
    return nibbles_of(VALUES, parts["qs"][..., None, :, :], parts["d"][..., None, :].astype(jnp.float32))


def groups_xs(parts: Mapping[str, Array]) -> list[Group]:
    qs, number = parts["qs"], jnp.arange(8)[:, None]
    low = shift_right(parts["scales_l"][..., None, :], 4 * number) & jnp.uint32(15)
    high = shift_right(parts["scales_h"][..., None, :].astype(jnp.uint32), 2 * number) & jnp.uint32(3)
    scale = ((low | (high << 4)).astype(jnp.int32) - 32).astype(jnp.float32) * parts["d"].astype(jnp.float32)[..., None, :]
    return nibbles_of(VALUES, qs.reshape(*qs.shape[:-2], 8, 4, qs.shape[-1]), scale)


IQ4_NL = BlockFormat("IQ4_NL", (Part("d", 0, "f2"), Part("qs", 2, "u4", 4)), groups_nl, "(g k) -> g 1 k", {"g": 2})
IQ4_XS = BlockFormat(
    "IQ4_XS",
    (Part("d", 0, "f2"), Part("scales_h", 2, "u2"), Part("scales_l", 4, "u4"), Part("qs", 8, "u4", 32)),
    groups_xs,
    "(r g k) -> g r k",
    {"r": 8, "g": 2},
)
