"""Searches for the points of a grid and the scales with which they fit a block of numbers best: the quantizers of the IQ1, IQ2 and IQ3 formats.

A group of numbers shares a scale; it falls into sub-groups, each of which becomes one point of the grid. For a scale s and a point q, the weighted error of a
sub-group x is s^2 A(q) - 2 s B(q) plus what does not depend on them, with A(q) = sum of w q^2 and B(q) = sum of w x q. A and B are two matrix products, made
once for all scales that are tried, and every point is looked at. (llama.cpp looks at the neighbours of the rounded numbers only.)

Letters: M points of the grid, P numbers of a sub-group, G sub-groups with one scale, S groups of a block, N blocks; L = S * N groups side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import gcd

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .block import Array
from .packing import nearest_f16
from .search import inverse

# How many A and B are in memory at a time: they are read again for every scale and should stay in the cache. The loops over them start from numbers that other
# loops have left in memory, lest XLA computes those numbers anew for every A and B.
_PRODUCTS = 2**18
COARSE = np.geomspace(0.35, 1.25, 18).astype(np.float32)  # scales to try, as multiples of the one that maps the largest number to the largest level
# Least squares shrinks: the fitted numbers are smaller than the real ones by the share of the error. A model feels that more than the error (a divergence of
# 0.107 instead of 0.070 on the embedded model in IQ1_S), so d goes half of the way back; the error is then still below llama.cpp's.
STRETCH = 0.5
FINE = np.asarray([0.86, 0.9, 0.935, 0.97, 1.0, 1.03, 1.065, 1.1, 1.14], np.float32)  # then around the best one


def _error(square: Array, dot: Array, scale: Array) -> Array:
    return scale * (scale * square - 2 * dot)


def _chosen(square: Array, dot: Array, scale: Array) -> tuple[Array, Array, Array]:
    """The best point of each sub-group for scales [L], its A and its B: int32[G, L], f32[G, L], f32[G, L]."""
    error = _error(square, dot, scale[None, None])
    least = error.min(0, keepdims=True)
    # XLA vectorises this, and would not an argmin. It may compute the errors twice, and round them differently: hence the margin.
    numbers = jnp.arange(len(error), dtype=jnp.int32)[:, None, None]
    index = jnp.where(error <= least + 1e-6 * jnp.abs(least), numbers, len(error) - 1).min(0)
    a, b = (jnp.take_along_axis(v, index[None], axis=0)[0] for v in (square, dot))
    return index, a, b


def _best_of(ratios: np.ndarray, around: Array, error_of: Callable[[Array], Array]) -> tuple[Array, Array]:
    """The best of the scales `around` times the ratios, and its error."""
    table = jnp.asarray(ratios)

    def better(i: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        scale = around * table[i]
        found = error_of(scale)
        return jnp.where(found < best[1], scale, best[0]), jnp.minimum(found, best[1])

    return lax.fori_loop(0, len(ratios), better, (around, jnp.full_like(around, jnp.inf)))


def _rough_scale(x: Array, weight: Array, levels: np.ndarray) -> Array:
    """A scale f32[L] for numbers [G, P, L], were each of them free to take any level of the grid."""

    def error(scale: Array) -> Array:
        multiples = x * inverse(scale)[None, None]
        value = jnp.full_like(x, levels[0])
        for below, above in pairwise(levels.tolist()):
            value = jnp.where(multiples > (below + above) / 2, above, value)
        return _error(weight * value * value, weight * x * value, scale[None, None]).sum((0, 1))

    largest = jnp.abs(x).max((0, 1)) / float(np.abs(levels).max())
    return _best_of(COARSE, largest, error)[0]


def _products(x: Array, weight: Array, points: np.ndarray) -> tuple[Array, Array]:
    """A and B, f32[M, G, L]."""
    a = jnp.einsum("mp,gpl->mgl", jnp.asarray(points**2, jnp.float32), weight, precision=lax.Precision.HIGHEST)
    b = jnp.einsum("mp,gpl->mgl", jnp.asarray(points, jnp.float32), weight * x, precision=lax.Precision.HIGHEST)
    return lax.optimization_barrier((a, b))


def _fit(x: Array, weight: Array, alternatives: Sequence[np.ndarray], steps: int) -> tuple[Array, ...]:
    """`fit` for few blocks."""
    groups, blocks = x.shape[2:]
    x, weight = (v.reshape(*v.shape[:2], -1) for v in (x, weight))
    found = []
    for points in alternatives:
        square, dot = _products(x, weight, points)

        def error(scale: Array, square: Array = square, dot: Array = dot) -> Array:
            return _error(square, dot, scale[None, None]).min(0).sum(0)

        scale, _ = _best_of(FINE, _rough_scale(x, weight, np.unique(points)), error)
        _, a, b = _chosen(square, dot, scale)
        scale, least = _best_of(np.ones(1, np.float32), jnp.maximum(b.sum(0) * inverse(a.sum(0)), 0.0), error)
        found.append((least, scale, square, dot))
    _, scale, square, dot = found[0]
    second = jnp.zeros_like(scale, bool)
    if len(found) > 1:
        second = found[1][0] < found[0][0]
        scale, square, dot = (jnp.where(second if v.ndim == 1 else second[None, None], w, v) for v, w in zip(found[0][1:], found[1][1:], strict=True))
    scale = scale.reshape(groups, blocks)
    d = scale.max(0, keepdims=True) / (2 * steps - 1)
    codes = jnp.clip(jnp.round(0.5 * (scale * inverse(d) - 1)), 0, steps - 1)
    factors = 2 * codes + 1
    energy = (weight * x * x).reshape(-1, groups, blocks).sum((0, 1))[None]

    def refine(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        """The points for the scales as the block holds them, and the best d for those."""
        index, a, b = _chosen(square, dot, (carry[0] * factors).reshape(-1))
        a, b = (v.sum(0).reshape(groups, blocks) for v in (a, b))
        with_x, alone = (b * factors).sum(0, keepdims=True), (a * factors * factors).sum(0, keepdims=True)
        d = with_x * inverse(alone)
        explained = d * with_x * inverse(energy)
        d = d * (1 + STRETCH * (inverse(explained) - 1))
        return nearest_f16(jnp.maximum(d, 0.0)).astype(jnp.float32), index

    d, index = lax.fori_loop(0, 2, refine, (d, jnp.zeros((x.shape[0], groups * blocks), jnp.int32)))
    return d, codes.astype(jnp.int32), index.reshape(-1, groups, blocks), second.reshape(groups, blocks).astype(jnp.int32)


def fit(x: Array, weight: Array, alternatives: Sequence[np.ndarray], steps: int) -> tuple[Array, ...]:
    """Fit blocks of numbers.

    Args:
        x: numbers f32[G, P, S, N].
        weight: how much the square of each error counts, of the same shape.
        alternatives: one or two grids f32[M, P], of which each group uses one; as multiples of d * (2 * scale code + 1).
        steps: how many scale codes there are.

    Returns:
        d f32[1, N], an f16; scale codes int32[S, N]; points int32[G, S, N]; which grid, int32[S, N].
    """
    blocks = x.shape[-1]
    step = gcd(blocks, max(1, _PRODUCTS // (len(alternatives[0]) * x.shape[0] * x.shape[2])))  # both are powers of two
    pieces = tuple(jnp.moveaxis(v.reshape(*v.shape[:-1], -1, step), -2, 0) for v in (x, weight))
    found = lax.map(lambda piece: _fit(piece[0], piece[1], alternatives, steps), pieces)
    return tuple(jnp.moveaxis(v, 0, -2).reshape(*v.shape[1:-1], blocks) for v in found)


def split_signs(x: Array, weight: Array, *, even: bool) -> tuple[Array, Array]:
    """Magnitudes of numbers [8, ...] and their signs, bit j of int32[...] for number j.

    With `even` the number of set bits is even, as in formats that store seven of eight signs: where it is not, the number that matters least changes sides,
    and its magnitude is negative.
    """
    negative = x < 0
    if even:
        cost = weight * x * x
        least = jax.nn.one_hot(jnp.argmin(cost, axis=0), 8, axis=0, dtype=bool)
        negative = negative ^ (least & (negative.sum(0, keepdims=True) % 2 == 1))
    bits = (negative.astype(jnp.int32) << jnp.arange(8).reshape(8, *(1,) * (x.ndim - 1))).sum(0)
    return jnp.where(negative, -x, x), bits
