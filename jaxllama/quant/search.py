"""Searches for the scale (and minimum) with which rounded codes fit a group of numbers best.

The first axis of every array holds the numbers of a group (and has size 1 where there is one for the group); the other axes are groups side by side, which
is what the compiler vectorises. `weight` says how much the square of each number's error counts. The candidates are those of llama.cpp, so the results are
too, but for near ties.

Source: ggml's make_qx_quants, make_qkx2_quants, make_qkx3_quants, make_qp_quants, make_q3_quants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

from .block import Array

IMPORTANCE_ATTEMPTS = tuple(-0.9 + 0.05 * i for i in range(37))  # for `affine`, where an importance is given
TINY = 1e-15  # a group whose largest number is smaller counts as zeros


def inverse(x: Array) -> Array:
    """1 / x, and 0 where x is 0."""
    return jnp.where(x == 0, 0.0, 1 / jnp.where(x == 0, 1.0, x))


def divide(x: Array, count: float) -> Array:
    """x / count, rounded once. XLA would multiply by the reciprocal of a number that is the same for all, and round twice."""
    return x / lax.optimization_barrier(jnp.full_like(x, count))


def weight_of(x: Array, importance: Array | None, mean_square: Array) -> Array:
    """How much the square of an error counts: its importance, and more where numbers are large; the number's own square where no importance is known."""
    return x * x if importance is None else importance * jnp.sqrt(mean_square + x * x)


def mean_square(x: Array) -> Array:
    return (x * x).mean(0, keepdims=True)


def by_group(x: Array, size: int) -> Array:
    """Numbers [weights, N] by group: [size, groups, N], and so in memory. XLA would only relabel the axes, and not vectorise sums over a group."""
    return with_layout_constraint(rearrange(x, "(s k) n -> k s n", k=size), Layout((0, 1, 2)))


def _one_by_one(x: Array) -> list[Array]:
    """x[0:1], x[1:2] and so on."""
    return [x[i : i + 1] for i in range(len(x))]


def round_away(x: Array) -> Array:
    """Whole numbers, halves rounded away from zero, exactly: adding a half first would round twice."""
    size = jnp.abs(x)
    whole = jnp.floor(size)
    return jnp.sign(x) * (whole + (size - whole >= 0.5).astype(x.dtype))


def total(x: Array) -> Array:
    """The sum over a group in order, as the reference adds."""
    found = x[:1]
    for value in _one_by_one(x[1:]):
        found = found + value
    return found


def evenly(x: Array, limit: int) -> tuple[Array, Array, Array]:
    """Codes 0 .. limit spread evenly from the smallest to the largest number: codes, scale, minimum."""
    low = x.min(0, keepdims=True)
    scale = divide(x.max(0, keepdims=True) - low, limit)
    steps = jnp.clip((x - low) * inverse(scale), 0, limit)  # clipped before the half is added, lest the compiler fuse product and sum and round but once
    return jnp.trunc(steps + 0.5), scale, low


def furthest(x: Array) -> Array:
    """The number with the largest magnitude, with its sign; the first of equals, as in the reference."""
    found = x[:1]
    for value in _one_by_one(x[1:]):
        found = jnp.where(jnp.abs(value) > jnp.abs(found), value, found)
    return found


def best_fit(attempt: Callable[[Array], tuple[Array, Array]], first: float, others: Callable[[Array], Array], count: int) -> Array:
    """The least-squares scale of the attempt that fits best.

    Args:
        attempt: what is tried -> sums of weight * x * value and of weight * value^2, for the values that x is rounded to then.
        first: what is tried first; another must be better to take its place.
        others: number 0 .. count - 1 -> what else is tried.
    """

    def better(i: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        dot, square = attempt(others(i))
        found = dot * inverse(square)
        improved = (square > 0) & (dot * dot > best[1] * square)
        return jnp.where(improved, found, best[0]), jnp.where(improved, found * dot, best[1])

    dot, square = attempt(jnp.float32(first))
    scale = dot * inverse(square)
    return lax.fori_loop(0, count, better, (scale, scale * dot))[0]


def symmetric(x: Array, weight: Array, limit: int) -> Array:
    """The scale s for codes -limit .. limit - 1, from the largest number's own and eighteen scales around it."""
    largest = furthest(x)
    inverted, weighted = -inverse(largest), weight * x

    def attempt(offset: Array) -> tuple[Array, Array]:
        codes = jnp.clip(jnp.round((limit + offset) * inverted * x), -limit, limit - 1)
        return (weighted * codes).sum(0, keepdims=True), (weight * codes * codes).sum(0, keepdims=True)

    scale = best_fit(attempt, 0.0, lambda i: 0.1 * (i - 9).astype(jnp.float32), 19)
    return jnp.where(jnp.abs(largest) < TINY, 0.0, scale)


def affine(x: Array, weight: Array, limit: int, attempts: Sequence[float], *, absolute: bool = False) -> tuple[Array, Array]:
    """Scale s and minimum m >= 0 for x = s * code - m with codes 0 .. limit.

    Args:
        attempts: numbers added to `limit` for the candidates: the codes are those of the scale (max - m) / (limit + attempt), with scale and minimum then
            fitted to them. m is the smallest number at first and then the best minimum so far, as in the reference, which so descends a little.
        absolute: judge by absolute instead of squared errors.
    """
    low, high = jnp.minimum(x.min(0, keepdims=True), 0.0), x.max(0, keepdims=True)
    total, sum_x = weight.sum(0, keepdims=True), (weight * x).sum(0, keepdims=True)

    def codes_of(levels: Array | int, minimum: Array) -> Array:
        return jnp.clip(jnp.round(levels * inverse(high - minimum) * (x - minimum)), 0, limit)

    def error(codes: Array, scale: Array, minimum: Array) -> Array:
        off = scale * codes + minimum - x
        return (weight * (jnp.abs(off) if absolute else off * off)).sum(0, keepdims=True)

    def better(attempt: Array, best: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        codes = codes_of(attempt + limit, best[1])
        weighted = weight * codes
        sum_l, sum_ll, sum_xl = weighted.sum(0, keepdims=True), (weighted * codes).sum(0, keepdims=True), (weighted * x).sum(0, keepdims=True)
        determinant = total * sum_ll - sum_l * sum_l
        scale = (total * sum_xl - sum_x * sum_l) * inverse(determinant)
        minimum = (sum_ll * sum_x - sum_l * sum_xl) * inverse(determinant)
        scale = jnp.where(minimum > 0, sum_xl * inverse(sum_ll), scale)
        minimum = jnp.minimum(minimum, 0.0)
        found = error(codes, scale, minimum)
        # A group with one far number is fitted as well by a lower code and a larger scale; but then the other groups of the block lose their scales.
        slack = jnp.where(scale < 0.75 * best[0], 1.001, 1.0)
        improved = (determinant > 0) & (found < slack * best[2])
        return jnp.where(improved, scale, best[0]), jnp.where(improved, minimum, best[1]), jnp.where(improved, found, best[2])

    first = (high - low) / limit
    offsets = jnp.asarray(np.asarray(attempts, np.float32))
    best = (first, low, error(codes_of(limit, low), first, low))
    scale, minimum, _ = lax.fori_loop(0, len(attempts), lambda i, best: better(offsets[i], best), best)
    flat = high <= low
    return jnp.where(flat, 0.0, scale), -jnp.where(flat, low, minimum)


def positive(x: Array, weight: Array, limit: int) -> tuple[Array, Array]:
    """Scale and codes 0 .. limit (as floats) for numbers that are not negative, such as the scales and minima of the groups of a block."""
    largest = x.max(0, keepdims=True)

    def codes_of(offset: Array | float) -> tuple[Array, Array]:
        inverted = (limit + offset) * inverse(largest)
        return jnp.minimum(jnp.round(inverted * x), limit), inverse(inverted)

    def error(offset: Array | float) -> Array:
        codes, scale = codes_of(offset)
        off = x - scale * codes
        return (weight * off * off).sum(0, keepdims=True)

    def better(i: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        offset = 0.1 * (i - 4).astype(jnp.float32)
        found = error(offset)
        return jnp.where(found < best[1], offset, best[0]), jnp.minimum(found, best[1])

    best, _ = lax.fori_loop(0, 9, better, (jnp.zeros_like(largest), error(0.0)))
    scale, codes = descend(x, weight, codes_of(best)[0], 0, limit)
    nothing = largest < TINY
    return jnp.where(nothing, 0.0, scale), jnp.where(nothing, 0.0, codes)


def descend(x: Array, weight: Array, codes: Array, low: int, high: int, sweeps: int = 5) -> tuple[Array, Array]:
    """Change one code at a time wherever that improves the fit, and return the best scale for the codes, and the codes."""

    def adjust(sums: tuple[Array, Array], one: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (dot, square), (value, w, code) = sums, one
        dot_rest, square_rest = dot - w * value * code, square - w * code * code
        other = jnp.clip(jnp.round(value * square_rest * inverse(dot_rest)), low, high)
        dot_new, square_new = dot_rest + w * value * other, square_rest + w * other * other
        improved = (dot_rest > 0) & (square_new > 0) & (dot_new * dot_new * square > dot * dot * square_new)
        return (jnp.where(improved, dot_new, dot), jnp.where(improved, square_new, square)), jnp.where(improved, other, code)

    def sweep(_: int, carry: tuple[Array, tuple[Array, Array]]) -> tuple[Array, tuple[Array, Array]]:
        codes, sums = carry
        sums, codes = lax.scan(adjust, sums, (x, weight, codes))
        return codes, sums

    weighted = weight * codes
    sums = (weighted * x).sum(0), (weighted * codes).sum(0)
    codes, (dot, square) = lax.fori_loop(0, sweeps, sweep, (codes, sums))
    return (dot * inverse(square))[None], codes
