"""How a pass goes through layers that differ: what repeats is scanned, so that compiling takes time for the different layers and not for all."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Carry = TypeVar("Carry")
Body = Callable[[int, jax.Array, Carry], tuple[Carry, Any]]
"""(kind, number within its stack, carry) -> (carry, output). The kind is static, the number may be traced."""


@dataclass(frozen=True)
class Run:
    """A stretch of layers that repeats.

    Attributes:
        segments: (kind, count) each: so many layers of one kind, one after the other.
        repeats: how often the segments come.
    """

    segments: tuple[tuple[int, int], ...]
    repeats: int = 1


def runs(kinds: Sequence[Hashable]) -> tuple[Run, ...]:
    """Layers, given by their kinds, in as few segments as a greedy search finds.

    For example a a a b a a a b a a: (a 3, b 1) twice, then (a 2). Kinds are numbered in the order in which they first occur.
    """
    numbers = {kind: i for i, kind in enumerate(dict.fromkeys(kinds))}
    stretches = [(numbers[kind], len(list(same))) for kind, same in groupby(kinds)]
    found: list[Run] = []
    start = 0
    while start < len(stretches):
        length, repeats = _best(stretches, start)
        found.append(Run(tuple(stretches[start : start + length]), repeats))
        start += length * repeats
    return tuple(found)


def _best(stretches: Sequence[tuple[int, int]], start: int) -> tuple[int, int]:
    """(length, repeats) of the period that covers most from `start` on; of equals the shortest."""
    best = (1, 1)
    for length in range(2, (len(stretches) - start) // 2 + 1):
        period = stretches[start : start + length]
        repeats = 1
        while stretches[start + repeats * length : start + (repeats + 1) * length] == period:
            repeats += 1
        if repeats > 1 and repeats * length > best[0] * best[1]:
            best = (length, repeats)
    return best


def walk(layers: Sequence[Run], body: Body[Carry], carry: Carry, stacks: Sequence[int] | None = None) -> tuple[Carry, dict[int, Any]]:
    """Apply `body` to one layer after the other.

    Args:
        stacks: for each kind where its layers are counted: kinds that share a stack are counted together. By default each has its own.

    Returns:
        The carry, and by kind the outputs, with a leading axis of the kind's layers in their order.
    """
    stacks = range(1 + max((kind for run in layers for kind, _ in run.segments), default=0)) if stacks is None else stacks
    done: dict[int, int] = {}
    outputs: dict[int, list[Any]] = {}
    for run in layers:
        carry, found = _walk_run(run, body, carry, done, stacks)
        for kind, out in found.items():
            outputs.setdefault(kind, []).append(out)
        for kind, count in run.segments:
            done[stacks[kind]] = done.get(stacks[kind], 0) + run.repeats * count
    return carry, {kind: _joined(parts) for kind, parts in outputs.items()}


def _walk_run(run: Run, body: Body[Carry], carry: Carry, done: dict[int, int], stacks: Sequence[int]) -> tuple[Carry, dict[int, Any]]:
    totals: dict[int, int] = {}
    places = []  # of each segment: layers of its stack before it in the period
    for kind, count in run.segments:
        stack = stacks[kind]
        places.append(totals.get(stack, 0))
        totals[stack] = totals.get(stack, 0) + count

    def period(carry: Carry, repeat: jax.Array) -> tuple[Carry, dict[int, Any]]:
        found: dict[int, list[Any]] = {}
        for (kind, count), place in zip(run.segments, places, strict=True):
            first = done.get(stacks[kind], 0) + repeat * totals[stacks[kind]] + place

            def one(carry: Carry, index: jax.Array, kind: int = kind) -> tuple[Carry, Any]:
                return body(kind, index, carry)

            if count == 1:
                carry, out = one(carry, first)
                out = jax.tree.map(lambda leaf: leaf[None], out)
            else:
                carry, out = jax.lax.scan(one, carry, first + jnp.arange(count, dtype=jnp.int32))
            found.setdefault(kind, []).append(out)
        return carry, {kind: _joined(parts) for kind, parts in found.items()}

    if run.repeats == 1:
        return period(carry, jnp.int32(0))
    carry, found = jax.lax.scan(period, carry, jnp.arange(run.repeats, dtype=jnp.int32))
    return carry, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
