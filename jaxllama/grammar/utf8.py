"""Sets of characters as automata over the bytes of UTF-8. Only valid UTF-8 is accepted: no surrogates, no overlong forms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from .nodes import Chars

LAST = 0x10FFFF
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Bytes:
    """One byte of a character.

    Attributes:
        edges: (first byte, last byte, what follows; None: the character is complete), disjoint and in order.
    """

    edges: tuple[tuple[int, int, Bytes | None], ...]


def char_bytes(chars: Chars) -> Bytes:
    """The automaton of a class of characters."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted((low, high) for low, high in chars.ranges if low <= high):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    if chars.negated:
        ends = [-1, *(end for pair in merged for end in pair), LAST + 1]
        merged = [(low + 1, high - 1) for low, high in zip(ends[::2], ends[1::2], strict=True) if low + 1 <= high - 1]
    return _first(_cut(tuple(merged), 0, LAST))


def _cut(ranges: Ranges, low: int, high: int) -> Ranges:
    return tuple((max(a, low), min(b, high)) for a, b in ranges if a <= high and b >= low)


@lru_cache(4096)
def _first(ranges: Ranges) -> Bytes:
    edges: list[tuple[int, int, Bytes | None]] = [(a, b, None) for a, b in _cut(ranges, 0, 0x7F)]
    wide = (
        (0xC0, 1, _cut(ranges, 0x80, 0x7FF)),
        (0xE0, 2, _cut(ranges, 0x800, 0xD7FF) + _cut(ranges, 0xE000, 0xFFFF)),
        (0xF0, 3, _cut(ranges, 0x10000, LAST)),
    )
    for lead, more, within in wide:
        edges += [(lead + a, lead + b, node) for a, b, node in _split(more, within)]
    return Bytes(tuple(edges))


@lru_cache(65536)
def _split(more: int, ranges: Ranges) -> tuple[tuple[int, int, Bytes | None], ...]:
    """Edges over the highest digit (to the base of 64) of numbers of `more` digits below it."""
    unit, found = 64**more, []
    starts = sorted({c for a, b in ranges for c in (a // unit, a // unit + 1, b // unit, b // unit + 1)})
    for start, end in pairwise(starts):
        inside = tuple((a - start * unit, b - start * unit) for a, b in _cut(ranges, start * unit, start * unit + unit - 1))
        if inside:
            node = _rest(more, inside)
            if found and found[-1][1] == start - 1 and found[-1][2] is node:
                found[-1] = found[-1][0], end - 1, node
            else:
                found.append((start, end - 1, node))
    return tuple(found)


@lru_cache(65536)
def _rest(more: int, ranges: Ranges) -> Bytes | None:
    if more == 0:
        return None
    return Bytes(tuple((0x80 + a, 0x80 + b, node) for a, b, node in _split(more - 1, ranges)))
