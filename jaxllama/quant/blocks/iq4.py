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
from itertools import pairwise

import jax.numpy as jnp
from einops import rearrange

from ..block import F16_MAX, Array, BlockFormat, Group, Part, nibbles_of, shift_right
from ..packing import as_f16, fields, nibbles, to_bytes
from ..search import TINY, best_fit, by_group, furthest, inverse, mean_square, weight_of

VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def groups_nl(parts: Mapping[str, Array]) -> list[Group]:
    return nibbles_of(VALUES, parts["qs"][..., None, :, :], parts["d"][..., None, :].astype(jnp.float32))


def groups_xs(parts: Mapping[str, Array]) -> list[Group]:
    qs, number = parts["qs"], jnp.arange(8)[:, None]
    low = shift_right(parts["scales_l"][..., None, :], 4 * number) & jnp.uint32(15)
    high = shift_right(parts["scales_h"][..., None, :].astype(jnp.uint32), 2 * number) & jnp.uint32(3)
    scale = ((low | (high << 4)).astype(jnp.int32) - 32).astype(jnp.float32) * parts["d"].astype(jnp.float32)[..., None, :]
    return nibbles_of(VALUES, qs.reshape(*qs.shape[:-2], 8, 4, qs.shape[-1]), scale)


def _nearest(y: Array) -> tuple[Array, Array]:
    """The numbers of the nearest VALUES (the higher one when between two), int32, and the values."""
    code, value = jnp.zeros_like(y, jnp.int32), jnp.full_like(y, VALUES[0])
    for below, above in pairwise(VALUES):
        beyond = y >= (below + above) / 2
        code, value = code + beyond.astype(jnp.int32), jnp.where(beyond, float(above), value)
    return code, value


def _scale(x: Array, weight: Array) -> Array:
    """The best of sixteen scales for groups [32, ...]."""
    largest = furthest(x)

    def attempt(level: Array) -> tuple[Array, Array]:
        value = _nearest(level * inverse(largest) * x)[1]
        return (weight * value * x).sum(0, keepdims=True), (weight * value * value).sum(0, keepdims=True)

    scale = best_fit(attempt, -float(VALUES[0]), lambda i: (i - 7 + VALUES[0]).astype(jnp.float32), 15)
    return jnp.where(jnp.abs(largest) < TINY, 0.0, scale)


def quantize_nl(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    weight = weight_of(x, importance, 2 * mean_square(x))
    d_bytes, d = as_f16(_scale(x, weight))
    return jnp.concatenate([d_bytes, nibbles(_nearest(x * inverse(d))[0])])


def quantize_xs(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    groups = by_group(x, 32)
    weight = by_group(weight_of(x, importance, 2 * mean_square(x)), 32)
    scale = _scale(groups, weight)[0]
    d_bytes, d = as_f16(furthest(scale) / -32)
    scales = jnp.clip(jnp.round(scale * inverse(d)), -32, 31)
    codes, _ = _nearest(groups * inverse(d * scales)[None])
    codes = fields(rearrange(codes, "(h k) s n -> h s k n", h=2), 4)
    scales = scales.astype(jnp.int32) + 32
    high = ((scales >> 4) << 2 * jnp.arange(8)[:, None]).sum(0).astype(jnp.uint16)
    low = fields(rearrange(scales & 15, "(j h) n -> h j n", h=2), 4)
    return jnp.concatenate([d_bytes, to_bytes(high[None]), low, rearrange(codes, "s k n -> (s k) n")])


IQ4_NL = BlockFormat("IQ4_NL", (Part("d", 0, "f2"), Part("qs", 2, "u4", 4)), groups_nl, "(g k) -> g 1 k", {"g": 2}, quantize_nl, largest=VALUES[-1] * F16_MAX)
IQ4_XS = BlockFormat(
    "IQ4_XS",
    (Part("d", 0, "f2"), Part("scales_h", 2, "u2"), Part("scales_l", 4, "u4"), Part("qs", 8, "u4", 32)),
    groups_xs,
    "(r g k) -> g r k",
    {"r": 8, "g": 2},
    quantize_xs,
    largest=32 * VALUES[-1] * F16_MAX,
)
