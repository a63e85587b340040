"""What Q4_0, Q4_1, Q5_0 and Q5_1 share: how codes and scales of 32 weights are found.

Without an importance codes are read off the furthest weight, or off the smallest and the largest, bit for bit as the reference does. With one, scales (and
minima) are searched for.
"""

from __future__ import annotations

import jax.numpy as jnp

from ..block import Array
from ..packing import as_f16
from ..search import IMPORTANCE_ATTEMPTS, affine, evenly, furthest, inverse, symmetric, weight_of


def around_zero(x: Array, importance: Array | None, row_mean_square: Array, limit: int) -> tuple[Array, Array]:
    """The scale's bytes and codes 0 .. 2 limit - 1 for x = d * (code - limit)."""
    if importance is None:
        scale = furthest(x) / -limit
        bytes_, _ = as_f16(scale)
        # One fused multiply-add: the reference's rounding is that of a product that was not rounded before.
        return bytes_, jnp.clip(jnp.trunc(x * inverse(scale) + (limit + 0.5)), 0, 2 * limit - 1)
    bytes_, scale = as_f16(symmetric(x, weight_of(x, importance, row_mean_square[None]), limit))
    return bytes_, jnp.clip(jnp.round(x * inverse(scale)), -limit, limit - 1) + limit


def from_minimum(x: Array, importance: Array | None, row_mean_square: Array, limit: int) -> tuple[Array, Array]:
    """The bytes of scale and minimum and codes 0 .. limit for x = d * code + m."""
    if importance is None:
        codes, d, m = evenly(x, limit)
        return jnp.concatenate([as_f16(d)[0], as_f16(m)[0]]), codes
    scale, minimum = affine(x, weight_of(x, importance, row_mean_square[None]), limit, IMPORTANCE_ATTEMPTS)
    (d_bytes, d), (m_bytes, m) = as_f16(scale), as_f16(-minimum)
    return jnp.concatenate([d_bytes, m_bytes]), jnp.clip(jnp.round((x - m) * inverse(d)), 0, limit)
