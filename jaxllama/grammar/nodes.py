"""What a grammar consists of, once it is read: a tree for each rule. Nodes are compared by identity."""

from __future__ import annotations

from collections.abc import Mapping
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


Node = Chars | TokenId | Reference | Series | Choice | Repeat
Rules = Mapping[str, Node]
