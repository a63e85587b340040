"""Searches for the points of a grid and the scale with which they fit a group of numbers best: the quantizers of the IQ1, IQ2 and IQ3 formats.

A group of numbers shares a scale; it falls into sub-groups, each of which becomes one point of the grid. For a scale s and a point q, the weighted error of a
sub-group x is s^2 A(q) - 2 s B(q) plus what does not depend on them, with A(q) = sum of w q^2 and B(q) = sum of w x q. A and B are two matrix products, made
once for all scales that are tried, and every point is looked at. (llama.cpp looks at the neighbours of the rounded numbers only.)

Letters: M points of the grid, P numbers of a sub-group, G sub-groups with one scale, L groups side by side.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .block import Array
from .search import inverse

_PRODUCTS = 2**16  # how many A and B are in memory at a time: they are read again for every scale and should stay in the cache
COARSE = np.geomspace(0.35, 1.25, 14).astype(np.float32)  # scales to try, as multiples of the one that maps the largest number to the largest level
FINE = np.linspace(0.955, 1.045, 7).astype(np.float32)  # then around the best one


def _by_lanes(run: Callable[..., tuple[Array, ...]], points: np.ndarray, *arrays: Array) -> tuple[Array, ...]:
    """run(A, B, *arrays[2:]) for few lanes at a time, of arrays [..., L] of which the first two are x and the weight."""
    groups, lanes = arrays[0].shape[0], arrays[0].shape[-1]
    step = max(1, min(lanes, _PRODUCTS // (len(points) * groups)))
    while lanes % step:
        step -= 1
    squares, levels = jnp.asarray(points**2, jnp.float32), jnp.asarray(points, jnp.float32)

    def piece(pieces: tuple[Array, ...]) -> tuple[Array, ...]:
        x, weight, *rest = pieces
        square = jnp.einsum("mp,gpl->mgl", squares, weight, precision=lax.Precision.HIGHEST)
        dot = jnp.einsum("mp,gpl->mgl", levels, weight * x, precision=lax.Precision.HIGHEST)
        return run(*lax.optimization_barrier((square, dot)), *rest)

    split = tuple(jnp.moveaxis(a.reshape(*a.shape[:-1], -1, step), -2, 0) for a in arrays)
    found = lax.map(piece, split)
    return tuple(jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], lanes) for a in found)


def _error(square: Array, dot: Array, scale: Array) -> Array:
    return scale[None, None] * (scale[None, None] * square - 2 * dot)


def _chosen(square: Array, dot: Array, scale: Array) -> tuple[Array, Array, Array]:
    """The best point of each sub-group for scales [L], its A and its B: int32[G, L], f32[G, L], f32[G, L]."""
    index = jnp.argmin(_error(square, dot, scale), axis=0).astype(jnp.int32)
    a, b = (jnp.take_along_axis(v, index[None], axis=0)[0] for v in (square, dot))
    return index, a, b


def best_points(x: Array, weight: Array, points: np.ndarray, scale: Array) -> tuple[Array, Array, Array]:
    """For given scales f32[L] and numbers and weights [G, P, L]: the points int32[G, L], and for each group A f32[L] and B f32[L], summed over sub-groups."""

    def run(square: Array, dot: Array, scale: Array) -> tuple[Array, ...]:
        index, a, b = _chosen(square, dot, scale)
        return index, a.sum(0), b.sum(0)

    index, a, b = _by_lanes(run, points, x, weight, scale)
    return index, a, b


def best_scale(x: Array, weight: Array, points: np.ndarray) -> tuple[Array, Array]:
    """For numbers and weights [G, P, L]: the scale f32[L] whose best points fit best, not negative, and the error that is left (but for a constant)."""
    largest = jnp.abs(x).max((0, 1)) / float(np.abs(points).max())

    def run(square: Array, dot: Array, largest: Array) -> tuple[Array, ...]:
        def attempt(scale: Array) -> Array:
            return _error(square, dot, scale).min(0).sum(0)

        def narrow(ratios: np.ndarray, around: Array) -> Array:
            table = jnp.asarray(ratios)

            def better(i: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
                scale = around * table[i]
                found = attempt(scale)
                return jnp.where(found < best[1], scale, best[0]), jnp.minimum(found, best[1])

            return lax.fori_loop(0, len(ratios), better, (around, jnp.full_like(around, jnp.inf)))[0]

        def refit(_: int, scale: Array) -> Array:
            _, a, b = _chosen(square, dot, scale)
            return jnp.maximum(b.sum(0) * inverse(a.sum(0)), 0.0)

        scale = narrow(FINE, narrow(COARSE, largest))
        scale = lax.fori_loop(0, 2, refit, scale)
        return scale, attempt(scale)

    scale, error = _by_lanes(run, points, x, weight, largest)
    return scale, error


def scales_of_block(scale: Array, levels: int) -> tuple[Array, Array]:
    """Codes 0 .. levels - 1 for the scales [S, N] of a block's groups, which stand for d * (2 code + 1), and d f32[1, N]."""
    d = scale.max(0, keepdims=True) / (2 * levels - 1)
    return jnp.clip(jnp.round(0.5 * (scale * inverse(d) - 1)), 0, levels - 1), d


def least_squares(dot: Array, square: Array, factors: Array) -> Array:
    """The d f32[1, N], an f16, for which d * factors fits best, from the A and B of all groups [S, N]."""
    d = (dot * factors).sum(0, keepdims=True) * inverse((square * factors * factors).sum(0, keepdims=True))
    return jnp.maximum(d, 0.0).astype(jnp.float16).astype(jnp.float32)


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
