"""What a grammar consists of, once it is read: a tree for each rule. Nodes are compared by identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Chars:
    """One character: of some ranges, ends included, or of none of them. `.` is none of no ranges."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def matches(self, code: int) -> bool:
        return any(low <= code <= high for low, high in self.ranges) != self.negated


@dataclass(frozen=True, eq=False)
class TokenId:
    """One token of the vocabulary, or any other."""

    id: int
    negated: bool = False


@dataclass(frozen=True, eq=False)
class Reference:
    """What another rule says."""

    name: str


@dataclass(frozen=True, eq=False)
class Series:
    """One after the other; nothing at all where there are none."""

    items: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """One of several."""

    options: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Repeat:
    """Several times: at least, and at most (None: any number)."""

    item: Node
    least: int
    most: int | None


def within(one: Repeat, other: Repeat) -> bool:
    """Whether a repetition says no more than another of the same item, neither of which needs one."""
    return one is not other and (other.most is None or (one.most is not None and one.most <= other.most))


Node = Chars | TokenId | Reference | Series | Choice | Repeat
Rules = Mapping[str, Node]


def renamed(node: Node, name_of: Callable[[str], str]) -> Node:
    """A node in which rules have other names."""
    match node:
        case Reference(name):
            return Reference(name_of(name))
        case Series(items):
            return Series(tuple(renamed(item, name_of) for item in items))
        case Choice(options):
            return Choice(tuple(renamed(option, name_of) for option in options))
        case Repeat(item, least, most):
            return Repeat(renamed(item, name_of), least, most)
    return node
