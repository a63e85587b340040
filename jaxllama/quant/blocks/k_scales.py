"""What Q4_K and Q5_K share: the twelve bytes that hold eight 6-bit scales and eight 6-bit minima, and how these are found.

byte j    (0..3)   low 6 bits: scale j            high 2 bits: upper bits of scale j + 4
byte j+4  (0..3)   low 6 bits: minimum j          high 2 bits: upper bits of minimum j + 4
byte j+8  (0..3)   low nibble: scale j + 4        high nibble: minimum j + 4

Source: ggml get_scale_min_k4, quantize_row_q4_K_ref, quantize_row_q4_K_impl.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from einops import rearrange

from ..block import Array, shift_right
from ..packing import as_f16
from ..search import IMPORTANCE_ATTEMPTS, affine, by_group, inverse, mean_square, positive, weight_of


def scales_and_minima(words: Array) -> tuple[Array, Array]:
    """Both as f32[..., 8, 16] from the three words u32[..., 3, 16]."""
    number = jnp.arange(8)[:, None]  # a selection and not a concatenation of two halves, which XLA would compute number by number
    first, second, third = (shift_right(words[..., i : i + 1, :], 8 * (number % 4)) for i in range(3))
    six, four, two = jnp.uint32(63), jnp.uint32(15), jnp.uint32(48)
    scales = jnp.where(number < 4, first & six, (third & four) | ((first >> 2) & two))
    minima = jnp.where(number < 4, second & six, ((third >> 4) & four) | ((second >> 2) & two))
    return scales.astype(jnp.float32), minima.astype(jnp.float32)


def pack(scales: Array, minima: Array) -> Array:
    """The twelve bytes uint8[12, N] of codes below 64, [8, N] each."""
    scales, minima = scales.astype(jnp.int32), minima.astype(jnp.int32)
    first = scales[:4] | (scales[4:] >> 4 << 6)
    second = minima[:4] | (minima[4:] >> 4 << 6)
    third = (scales[4:] & 15) | ((minima[4:] & 15) << 4)
    return jnp.concatenate([first, second, third]).astype(jnp.uint8)


def shared_scale(scales: Array, limit: int) -> tuple[Array, Array]:
    """d f32[1, N] and codes 0 .. limit for scales f32[S, N] that are not negative: the largest one gets the largest code."""
    largest = scales.max(0, keepdims=True)
    return largest / limit, jnp.clip(jnp.round(limit * inverse(largest) * scales), 0, limit)


def scales_with_minima(
    groups: Array, plain: Array, weight: Array | None, *, limit: int, top: int, attempts: Sequence[float], absolute: bool = False
) -> tuple[Array, Array, Array, Array, Array]:
    """Fit groups of numbers [K, S, N] whose scales and minima share a scale each, x = d * scale * code - dmin * minimum.

    Args:
        plain: how much an error counts where no importance is known; `weight` where one is, else None.
        limit: the highest code; `top` the highest code of a scale or minimum.
        attempts, absolute: of `affine`, where no importance is known.

    Returns:
        The bytes of d and of dmin, uint8[2, N] each; codes of scales and minima [S, N]; codes of the numbers [K, S, N].
    """
    if weight is None:
        scale, minimum = affine(groups, plain, limit, attempts, absolute=absolute)
        (d, scales), (dmin, minima) = shared_scale(scale[0], top), shared_scale(minimum[0], top)
    else:
        scale, minimum = affine(groups, weight, limit, IMPORTANCE_ATTEMPTS)
        (d, scales), (dmin, minima) = (positive(v[0], weight.sum(0), top) for v in (scale, minimum))
    (d_bytes, d), (dmin_bytes, dmin) = as_f16(d), as_f16(dmin)
    codes = jnp.clip(jnp.round((groups + (dmin * minima)[None]) * inverse(d * scales)[None]), 0, limit)
    return d_bytes, dmin_bytes, scales, minima, codes


def quantize_256(x: Array, importance: Array | None, limit: int, attempts: Sequence[float]) -> tuple[Array, Array]:
    """The first 16 bytes of a block and its codes [256, N], 0 .. limit, of numbers [256, N]."""
    groups = by_group(x, 32)
    plain = jnp.sqrt(mean_square(groups)) + jnp.abs(groups)
    weight = None if importance is None else by_group(weight_of(x, importance, 2 * mean_square(x)), 32)
    d_bytes, dmin_bytes, scales, minima, codes = scales_with_minima(groups, plain, weight, limit=limit, top=63, attempts=attempts)
    return jnp.concatenate([d_bytes, dmin_bytes, pack(scales, minima)]), rearrange(codes, "k s n -> (s k) n")
