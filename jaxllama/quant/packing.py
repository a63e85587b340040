"""Codes and scales to the bytes of a block, for quantizers. The first axis is the place in the block, the last one counts blocks side by side."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange

from .block import F16_MAX, Array


def to_bytes(values: Array) -> Array:
    """Little-endian bytes uint8[size * count, ..., N] of values [count, ..., N] of any type."""
    if values.dtype.itemsize == 1:
        return jax.lax.bitcast_convert_type(values, jnp.uint8)
    parts = jax.lax.bitcast_convert_type(values, jnp.uint8)  # [count, ..., N, size]
    return rearrange(parts, "c ... n b -> (c b) ... n")


def nearest_f16(scale: Array) -> Array:
    """Scales rounded to f16. Those beyond its range become its largest: a search may try a scale that is a little larger than the numbers need."""
    return jnp.clip(scale, -F16_MAX, F16_MAX).astype(jnp.float16)


def as_f16(scale: Array) -> tuple[Array, Array]:
    """Scales f32[..., N], one a block, rounded to f16: their bytes uint8[2, N], and the numbers they stand for, f32[..., N]."""
    rounded = nearest_f16(scale)
    return to_bytes(rounded.reshape(1, -1)), rounded.astype(jnp.float32)


def fields(codes: Array, width: int) -> Array:
    """Bytes uint8[...] with codes [8 / width, ...] of `width` bits side by side, the first one lowest."""
    shifts = jnp.arange(0, 8, width, dtype=jnp.int32).reshape(-1, *(1,) * (codes.ndim - 1))
    return (codes.astype(jnp.int32) << shifts).sum(0).astype(jnp.uint8)


def nibbles(codes: Array) -> Array:
    """Bytes [K / 2, N] of codes [K, N] below 16: the low nibbles are the first half of the codes."""
    return fields(codes.reshape(2, -1, codes.shape[-1]), 4)


def nibbles_by_32(codes: Array) -> Array:
    """The same for each 64 codes in turn, as the K-quants have it."""
    return rearrange(fields(rearrange(codes, "(r g k) n -> g r k n", g=2, k=32), 4), "r k n -> (r k) n")


def bitmap(codes: Array) -> Array:
    """Bytes [K / 8, N] of bits [K, N] in order."""
    return fields(rearrange(codes, "(r k) n -> k r n", k=8), 1)
