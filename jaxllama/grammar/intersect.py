"""Texts that several expressions match at once, of a limited length: their automata are walked side by side, and written down as rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .gbnf import Rules
from .matcher import Matcher, Place
from .nodes import Chars, Choice, Node, Repeat, Series
from .regex import RegexError, written

MOST_STATES = 2000
_LAST = 0x10FFFF
State = tuple[tuple[Place, ...], int]  # where the text stands in each expression, and how long it is as far as that matters


def intersected(rules: Rules, nodes: Sequence[Node], low: int, high: int | None, name: str) -> str | None:
    """The name of a rule for the texts that all expressions match, in a JSON string; None where there are none.

    Args:
        low, high: how many characters there are; high None: any number.

    Raises:
        RegexError: that takes too many rules.
    """
    matchers = [Matcher({"root": node}) for node in nodes]
    pieces = _pieces(nodes)
    start: State = tuple(m.start for m in matchers), 0
    steps: dict[State, dict[State, list[tuple[int, int]]]] = {}
    following: dict[tuple[Place, ...], list[tuple[Place, ...]]] = {}
    waiting = [start]
    while waiting:
        state = waiting.pop()
        places, length = state
        if state in steps:
            continue
        if len(steps) == MOST_STATES:
            raise RegexError(f"expressions together, or with a length, need more than {MOST_STATES} rules")
        steps[state] = found = {}
        if length == high:
            continue
        if places not in following:
            following[places] = [tuple(m.advance(p, chr(first)) for m, p in zip(matchers, places, strict=True)) for first, _ in pieces]
        for piece, to in zip(pieces, following[places], strict=True):
            if all(to):
                found.setdefault((to, min(length + 1, low) if high is None else length + 1), []).append(piece)
        waiting += found
    accepting = {s for s in steps if s[1] >= low and all(m.accepts(p) for m, p in zip(matchers, s[0], strict=True))}
    useful = _leading_to(accepting, steps)
    if start not in useful:
        return None
    numbers = {s: rules.reserve(f"{name}-{n}") for n, s in enumerate(s for s in steps if s in useful)}
    for state, rule in numbers.items():
        ways = [f"{written(Chars(tuple(ranges)), quoted=True)} {numbers[to]}" for to, ranges in steps[state].items() if to in useful]
        rules.define(rule, " | ".join([*ways, '""'] if state in accepting else ways))
    return numbers[start]


def _leading_to(ends: Iterable[State], steps: dict[State, dict[State, list[tuple[int, int]]]]) -> set[State]:
    before: dict[State, list[State]] = {}
    for state, found in steps.items():
        for to in found:
            before.setdefault(to, []).append(state)
    waiting, seen = list(ends), set(ends)
    while waiting:
        for state in before.get(waiting.pop(), ()):
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return seen


def _pieces(nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """All characters in ranges of those that no expression tells apart."""
    cuts = sorted({0, *(cut for low, high in _ranges(nodes) for cut in (low, high + 1) if cut <= _LAST)})
    return list(zip(cuts, [cut - 1 for cut in cuts[1:]] + [_LAST], strict=True))


def _ranges(nodes: Iterable[Node]) -> Iterator[tuple[int, int]]:
    for node in nodes:
        match node:
            case Chars(ranges, _):
                yield from ranges
            case Series(parts) | Choice(parts):
                yield from _ranges(parts)
            case Repeat(item, _, _):
                yield from _ranges([item])
