"""Formats without blocks, one number after the other, little endian.

F32, F16, BF16   floats; BF16 is the upper half of an F32
F64              kept as two words, the lower one first
I8, I16, I32     integers
I64              kept as two words, the lower one first

Numbers of 64 bits come out as the nearest F32: that is what the engine computes with. Not a bit of them is lost on the way from and to files.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ..block import Array, BlockFormat, Part

_WORDS = (Part("low", 0, "u4"), Part("high", 4, "u4"))


def _only(parts: Mapping[str, Array]) -> Array:
    return parts["x"].astype(jnp.float32)


def _from_f64(parts: Mapping[str, Array]) -> Array:
    """The nearest f32 of doubles in two words; those beyond its range become infinite, those that would be subnormal zero."""
    low, high = parts["low"], parts["high"]
    sign = high & jnp.uint32(0x80000000)
    exponent = (high >> 20 & 0x7FF).astype(jnp.int32) - 1023 + 127
    mantissa = ((high & 0xFFFFF) << 3) | (low >> 29)
    rest = low & jnp.uint32(0x1FFFFFFF)
    up = (rest > 0x10000000) | ((rest == 0x10000000) & (mantissa & 1 == 1))
    rounded = (exponent.astype(jnp.uint32) << 23) + mantissa + up.astype(jnp.uint32)  # a carry out of the mantissa raises the exponent, as it should
    not_a_number = (high & 0x7FFFFFFF) + (low != 0).astype(jnp.uint32) > 0x7FF00000
    infinite = jnp.uint32(0x7F800000)
    word = jnp.where(not_a_number, jnp.uint32(0x7FC00000), jnp.where(exponent >= 255, infinite, jnp.where(exponent <= 0, jnp.uint32(0), rounded)))
    return jax.lax.bitcast_convert_type(sign | word, jnp.float32)


def _from_i64(parts: Mapping[str, Array]) -> Array:
    """The nearest f32 of integers in two words."""
    low, high = parts["low"], parts["high"]
    negative = high >> 31 == 1
    high = jnp.where(negative, ~high + (low == 0).astype(jnp.uint32), high)
    low = jnp.where(negative, ~low + jnp.uint32(1), low)
    spare = jax.lax.clz(high)  # the first 32 bits that count, with a bit set for the others where one of them is
    top = jnp.where(spare == 0, high, high << spare | low >> jnp.uint32(32) - spare) | (low << spare != 0).astype(jnp.uint32)
    scale = jax.lax.bitcast_convert_type(jnp.uint32(127 + 32) - spare << 23, jnp.float32)
    size = jnp.where(high == 0, low.astype(jnp.float32), top.astype(jnp.float32) * scale)
    return jnp.where(negative, -size, size)


F32 = BlockFormat("F32", (Part("x", 0, "f4"),), values=_only, largest=float(np.finfo(np.float32).max))
F16 = BlockFormat("F16", (Part("x", 0, "f2"),), values=_only)
BF16 = BlockFormat("BF16", (Part("x", 0, "bfloat16"),), values=_only, largest=float(jnp.finfo(jnp.bfloat16).max))
F64 = BlockFormat("F64", _WORDS, values=_from_f64, largest=np.inf)
I8 = BlockFormat("I8", (Part("x", 0, "i1"),), values=_only)
I16 = BlockFormat("I16", (Part("x", 0, "i2"),), values=_only)
I32 = BlockFormat("I32", (Part("x", 0, "i4"),), values=_only)
I64 = BlockFormat("I64", _WORDS, values=_from_i64)
