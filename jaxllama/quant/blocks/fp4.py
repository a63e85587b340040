"""MXFP4 and NVFP4: four-bit floats (E2M1) with a scale that is itself a small float.

MXFP4, 32 weights in 17 bytes: x = 2^(e - 128) * VALUES[q]
byte  0      e    exponent (E8M0)
byte  1..16  qs   nibbles: the low nibble of qs[j] is weight j, the high nibble weight j + 16

NVFP4, 64 weights in 36 bytes, four sub-blocks of 16: x = scale / 2 * VALUES[q]
byte  0..3   d    scale of a sub-block: 4 bits of exponent (bias 7), 3 of mantissa; 0 and 127 mean zero
byte  4..35  qs   nibbles: in qs[8 s + j] of sub-block s the low nibble is weight j, the high nibble weight j + 8

VALUES are twice the numbers of E2M1; the scales have the half.

Source: ggml block_mxfp4, block_nvfp4; OCP Microscaling Formats 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from ..block import Array, BlockFormat, Group, Part, bits, nibbles_of
from ..packing import fields, nibbles
from ..search import divide

VALUES = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


def _exponent_scale(e: Array) -> Array:
    """2^(e - 128) for codes e; below 2 it is subnormal."""
    e = e.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(jnp.where(e < 2, jnp.uint32(0x200000) << e, (e - 1) << 23), jnp.float32)


def _small_float(d: Array) -> Array:
    """Half the number that a scale byte int32 of NVFP4 stands for."""
    exponent, mantissa = d >> 3 & 15, (d & 7).astype(jnp.float32)
    normal = (mantissa + 8) * jax.lax.bitcast_convert_type((exponent + 127 - 11) << 23, jnp.float32)  # (1 + m / 8) 2^(e - 7) / 2
    return jnp.where(d == 127, 0.0, jnp.where(exponent == 0, mantissa * 2.0**-10, normal))


def groups_mx(parts: Mapping[str, Array]) -> list[Group]:
    return nibbles_of(VALUES, parts["qs"][..., None, :, :], _exponent_scale(parts["e"][..., None, :]))


def groups_nv(parts: Mapping[str, Array]) -> list[Group]:
    qs = parts["qs"]
    scale = _small_float(bits(parts["d"][..., None, :], jnp.arange(4)[:, None], 0, 255))
    return nibbles_of(VALUES, qs.reshape(*qs.shape[:-2], 4, 2, qs.shape[-1]), scale)


def _nearest(x: Array, scale: Array) -> Array:
    """Codes of the nearest values; between two, the one nearer to zero, and never the negative zero."""
    size = jnp.abs(x)
    code = jnp.zeros_like(x, jnp.int32)
    for below, above in pairwise(VALUES[:8]):
        code = code + (size > (below + above) / 2 * scale).astype(jnp.int32)
    return jnp.where((x < 0) & (code > 0), code + 8, code)


def _floor_log2(x: Array) -> Array:
    """floor(log2(x)) of f32 numbers as the reference finds it: just below a power of two its logarithm is rounded up to that power's."""
    word = jax.lax.bitcast_convert_type(x, jnp.int32)
    exponent = (word >> 23) - 127
    mantissa = jax.lax.bitcast_convert_type((word & 0x7FFFFF) | 0x3F800000, jnp.float32)
    above = (exponent + 1).astype(jnp.float32)
    near = jnp.floor(above - (2 - mantissa) * np.float32(0.5 / np.log(2)))
    return jnp.where(mantissa > 1.99, near.astype(jnp.int32), exponent)


def quantize_mx(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    largest = jnp.abs(x).max(0, keepdims=True)
    e = jnp.where(largest > 0, jnp.maximum(_floor_log2(largest) - 2 + 127, 0), 0).astype(jnp.uint8)
    return jnp.concatenate([e, nibbles(_nearest(x, _exponent_scale(e)))])


def _scale_byte(x: Array) -> Array:
    """The scale byte int32 for numbers that are not negative, halves rounded up, at most 126."""
    word = jax.lax.bitcast_convert_type(x, jnp.int32)
    normal = (word >> 20) + (word >> 19 & 1) - ((127 - 7) << 3)
    small = jnp.minimum((x * 512 + 0.5).astype(jnp.int32), 7)
    return jnp.where(word >> 23 <= 127 - 7, small, jnp.minimum(normal, 126))


def quantize_nv(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    groups = rearrange(x, "(s k) n -> k s n", k=16)
    d = _scale_byte(divide(jnp.abs(groups).max(0), 6))
    codes = rearrange(_nearest(groups, _small_float(d)[None]), "(h k) s n -> h (s k) n", h=2)
    return jnp.concatenate([d.astype(jnp.uint8), fields(codes, 4)])


MXFP4 = BlockFormat("MXFP4", (Part("e", 0, "u1"), Part("qs", 1, "u4", 4)), groups_mx, "(g k) -> g 1 k", {"g": 2}, quantize_mx, largest=1.99 * 2.0**127)
NVFP4 = BlockFormat("NVFP4", (Part("d", 0, "u4"), Part("qs", 4, "u4", 8)), groups_nv, "(r g k) -> g r k", {"r": 4, "g": 2}, quantize_nv, largest=6 * 448)
