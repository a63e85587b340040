"""What the IQ2 and IQ3 formats share: points of a grid of magnitudes, and a sign for every weight.

A code is a magnitude from the grid with its sign, in a byte. Formats with seven signs for eight weights leave out the last one: an even number of weights is
negative.
"""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from ..block import Array, bits, lift, shift_right
from ..grid_search import fit, split_signs
from ..packing import fields
from ..search import mean_square, weight_of
from .grids import grid


def words_of(points: np.ndarray) -> np.ndarray:
    """Points [M, P] of numbers below 128 as words uint32[P / 4, M] of four bytes."""
    return np.ascontiguousarray(np.ascontiguousarray(points.astype(np.int8)).view("<u4").T)


def take_words(table: np.ndarray, index: Array) -> Array:
    """The words u32[..., C, 16] of points with indices int32 [..., 16]."""
    return jnp.moveaxis(jnp.asarray(table)[:, index], 0, -2)


def complete_signs(seven: Array) -> Array:
    """Eight sign bits u32 from seven."""
    return seven | (jax.lax.population_count(seven & jnp.uint32(127)) & jnp.uint32(1)) << 7


def with_signs(words: Array, signs: Array) -> Array:
    """Bytes of the words u32[..., C, 16] negated where the signs, bit b of u32[..., C, 16] for byte b, say so. No magnitude is zero."""
    mask = jnp.zeros_like(words)
    for byte in range(4):
        mask = mask | ((signs >> byte & jnp.uint32(1)) * jnp.uint32(0xFF << 8 * byte))
    return (words ^ mask) + (mask & jnp.uint32(0x01010101))


def nibbles_of_signs(signs: Array) -> Array:
    """Eight sign bits [..., 16] as the signs of two words [..., 2, 16]."""
    return shift_right(signs[..., None, :], jnp.asarray([0, 4])[:, None]) & jnp.uint32(15)


def bytes_of(words: Array) -> Array:
    """The bytes in order, int32[..., 4 * count, 16], of words [..., count, 16]."""
    found = bits(words[..., None, :], jnp.arange(4)[:, None], 0, 255)
    return found.reshape(*words.shape[:-2], -1, words.shape[-1])


def fields_of(codes: Array, width: int) -> Array:
    """The fields of `width` bits in order, the lowest first, of bytes int32[..., count, 16]."""
    found = codes[..., None, :] >> column(range(0, 8, width), codes) & 2**width - 1
    return found.reshape(*codes.shape[:-2], -1, codes.shape[-1])


def column(values: Iterable[int], codes: Array) -> Array:
    """Numbers along the last axis but one, with as many axes as codes[..., None, :] has."""
    return lift(jnp.asarray([*values], codes.dtype)[:, None], codes[..., None, :])


def pairs(codes: Array) -> Array:
    """Bytes of codes [2 K, N] below 16, two in order to a byte."""
    return fields(rearrange(codes, "(b f) n -> f b n", f=2), 4)


_SEVENS = (0, 7, 14, 21)


def split_word(words: Array) -> tuple[Array, Array]:
    """For words [..., R, 16] of four times seven signs and a scale: eight signs u32[..., 4 R, 16] and the scale + 1/2, f32[..., R, 16]."""
    seven = shift_right(words[..., None, :], jnp.asarray(_SEVENS)[:, None]) & jnp.uint32(127)
    return complete_signs(rearrange(seven, "... r e n -> ... (r e) n")), (words >> 28).astype(jnp.float32) + 0.5


def join_word(signs: Array, scales: Array) -> Array:
    """The inverse, from signs int32[4 R, N] and scale codes int32[R, N]."""
    seven = rearrange(signs & 127, "(r e) n -> r e n", e=4).astype(jnp.uint32)
    return (seven << jnp.asarray(_SEVENS, jnp.uint32)[None, :, None]).sum(1, dtype=jnp.uint32) | scales.astype(jnp.uint32) << 28


def magnitudes(name: str, levels: tuple[int, ...]) -> np.ndarray:
    """The grid with its magnitudes int32[M, P]."""
    return np.asarray(levels, np.int32)[grid(name)]


def grid_weight(x: Array, importance: Array | None, factor: float) -> Array:
    """`weight_of` for points of a grid. Where no importance is known a number's own square would leave small numbers to chance: they share its points."""
    return 0.5 * mean_square(x) + x * x if importance is None else weight_of(x, importance, factor * mean_square(x))


def quantize(x: Array, weight: Array, points: np.ndarray, group: int, *, even: bool) -> tuple[Array, Array, Array, Array]:
    """Fit a block of numbers [256, N] with groups of `group` weights that share a scale.

    Args:
        weight: how much the square of each error counts.
        points: f32[M, P], as multiples of d * (2 * scale code + 1).

    Returns:
        d f32[1, N], scale codes int32[groups, N], indices int32[256 / P, N], signs int32[32, N] of eight weights each.
    """
    eights = rearrange(x, "(e k) n -> k e n", k=8)
    size, signs = split_signs(eights, rearrange(weight, "(e k) n -> k e n", k=8), even=even)
    size = rearrange(size, "k e n -> (e k) n")
    pattern, sizes = "(s g p) n -> g p s n", {"s": 256 // group, "p": points.shape[1]}
    size, weight = (rearrange(v, pattern, **sizes) for v in (size, weight))
    d, codes, index, _ = fit(size, weight, [points], 16)
    return d, codes, rearrange(index, "g s n -> (s g) n"), signs
