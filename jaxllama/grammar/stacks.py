"""Stacks of what is still to come, as linked lists that exist once: equal stacks have equal numbers.

A stack is a number; `heads` and `rests` say what is on it. What can be on top: a node of the grammar; `Then`, a place in a series; `Bytes`, a place in a
character; `Mark`, the end of a rule (or of a counted repetition) where the automaton may cut the stack in two. A stack that has been cut off ends with a mark
that nothing lies beneath.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .nodes import Chars, Choice, Node, Reference, Repeat, Rules, Series, within
from .reader import GrammarError
from .utf8 import Bytes, char_bytes

MOST_STACKS = 4_000_000  # that may exist at once
MOST_WAYS = 20_000  # in which one text may be read
NIL = 0


@dataclass(frozen=True, eq=False)
class Then:
    """A place within a series: one node, and those after it."""

    first: Any
    following: Then | None


@dataclass(frozen=True)
class Mark:
    """The end of something that stacks may be cut at: a rule's name; ("all", node) after a counted repetition, ("one", node) after one of its items."""

    key: Hashable


class TooAmbiguous(GrammarError):
    """There are more ways to read a text than can be followed."""


class Stacks:
    """All stacks of one grammar.

    Attributes:
        bodies: the rules' bodies as they lie on stacks.
        heads, rests: what is on top of each stack, and the stack below it.
        marks: how many marks with something beneath them each stack has.
    """

    def __init__(self, rules: Rules, framed: Iterable[str] = ()):
        """
        Args:
            framed: rules whose end is marked.
        """
        self.framed = frozenset(framed)
        self.heads: list[Any] = [None]
        self.rests: list[int] = [NIL]
        self.marks: list[int] = [0]
        self._numbers: dict[tuple[Any, int], int] = {}
        self._expanded: dict[int, tuple[int, ...]] = {}
        self._split: dict[tuple[int, int], int] = {}
        self._characters: dict[Any, Bytes] = {}
        self._repeats: dict[tuple[int, int, int | None], Repeat] = {}
        self.bodies: Mapping[str, Any] = {name: self._prepared(node) for name, node in rules.items()}

    def _prepared(self, node: Node) -> Any:
        """A node as it lies on stacks: characters as bytes, series as linked places."""
        match node:
            case Chars(ranges, negated):
                if (ranges, negated) not in self._characters:
                    self._characters[ranges, negated] = char_bytes(node)
                return self._characters[ranges, negated]
            case Series(items):
                made: Then | None = None
                for item in reversed(items):
                    made = Then(self._prepared(item), made)
                return made if made is not None else node
            case Choice(options):
                return Choice(tuple(map(self._prepared, options)))
            case Repeat(item, least, most):
                return Repeat(self._prepared(item), least, most)
        return node

    def on(self, head: Any, rest: int) -> int:
        """The stack with something more on top."""
        key = head, rest
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.heads)
            if number > MOST_STACKS:
                raise TooAmbiguous("the grammar needs too much memory: there are too many ways to go on")
            self.heads.append(head)
            self.rests.append(rest)
            self.marks.append(self.marks[rest] + (isinstance(head, Mark) and rest != NIL))
        return number

    def call(self, name: str, rest: int) -> int:
        """A rule's body above a stack. Nothing is marked where the rule is the last thing of another: then the other's mark serves for both."""
        if name in self.framed and not isinstance(self.heads[rest], Mark):
            rest = self.on(Mark(name), rest)
        return self.on(self.bodies[name], rest)

    def fewer(self, node: Repeat) -> Repeat:
        """A repetition of which one has been seen; the same object for the same numbers."""
        return self.repeat(node.item, max(node.least - 1, 0), None if node.most is None else node.most - 1)

    def repeat(self, item: Any, least: int, most: int | None) -> Repeat:
        key = id(item), least, most
        if key not in self._repeats:
            self._repeats[key] = Repeat(item, least, most)
        return self._repeats[key]

    def unfolded(self, stack: int) -> int:
        """The same stack as far as there is only one way to go: with a choice, a repetition, a byte, a token or its last mark on top."""
        while True:
            head, rest = self.heads[stack], self.rests[stack]
            match head:
                case Then(first, following):
                    stack = self.on(first, self.on(following, rest) if following is not None else rest)
                case Reference(name):
                    stack = self.call(name, rest)
                case Series() | Repeat(_, _, 0):
                    stack = rest
                case Mark() if rest != NIL:
                    stack = rest
                case _:
                    return stack

    def expanded(self, stack: int) -> tuple[int, ...]:
        """The stacks with a byte, a token or the last mark on top that this one stands for."""
        if (known := self._expanded.get(stack)) is not None:
            return known
        waiting, seen, tops = [stack], set(), []
        widest: dict[tuple[int, int], Repeat] = {}  # of repetitions of one item, the one that allows all that the others do
        while waiting:
            number = self.unfolded(waiting.pop())
            if number in seen:
                continue
            seen.add(number)
            if len(seen) > MOST_WAYS:
                raise TooAmbiguous(f"the grammar is ambiguous: more than {MOST_WAYS} ways to read the same text")
            head, rest = self.heads[number], self.rests[number]
            match head:
                case Choice(options):
                    waiting += [self.on(option, rest) for option in options]
                case Repeat(item, least, most):
                    if least == 0:
                        if within(head, widest.setdefault((id(item), rest), head)):
                            continue
                        waiting.append(rest)
                    waiting.append(self.on(item, self.on(self.fewer(head), rest) if most != 1 else rest))
                case _:
                    tops.append(number)
        self._expanded[stack] = found = tuple(tops)
        return found

    def beneath(self, stack: int, mark: int) -> tuple[int, int]:
        """A stack cut at one of its marks, counted from the bottom (1: the lowest): (what is above, with the mark at its end; what is beneath)."""
        path = []
        while not (isinstance(self.heads[stack], Mark) and self.rests[stack] != NIL and self.marks[stack] == mark):
            path.append(self.heads[stack])
            stack = self.rests[stack]
        above = self.on(self.heads[stack], NIL)
        for head in reversed(path):
            above = self.on(head, above)
        return above, self.rests[stack]
