"""Which texts a grammar accepts, followed character by character: exact, slow, and the measure for everything faster.

Where a text may stand in a grammar is a set of stacks of what is still to come; a stack is a linked list, so what stacks have in common exists once. A
repetition carries its numbers along and is not written out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .nodes import Chars, Choice, Reference, Repeat, Rules, Series, TokenId, within
from .reader import GrammarError

MOST_STACKS = 20_000
Stack = tuple[Any, Any] | None  # (what comes next, the rest), or nothing more
Place = frozenset[Stack]


class Matcher:
    """Follows texts through the rules of a grammar. Places in it are values: keep them, go on from them twice."""

    def __init__(self, rules: Rules):
        self._rules = rules
        self._repeats: dict[tuple[int, int, int | None], Repeat] = {}
        self.start: Place = self._closed([(rules["root"], None)])

    def _fewer(self, node: Repeat) -> Repeat:
        """A repetition of which one has been seen; always the same object for the same numbers, so that stacks can be compared."""
        least, most = max(node.least - 1, 0), None if node.most is None else node.most - 1
        key = id(node.item), least, most
        return self._repeats.setdefault(key, Repeat(node.item, least, most))  # in one go: threads share matchers

    def _closed(self, stacks: Iterable[Stack]) -> Place:
        """The stacks with a character or a token on top that these stand for."""
        waiting, seen, found = list(stacks), set(), set()
        widest: dict[tuple[int, Stack], Repeat] = {}  # of repetitions of one item, the one that allows all that the others do
        while waiting:
            stack = waiting.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if len(seen) > MOST_STACKS:
                raise GrammarError(f"the grammar is ambiguous: more than {MOST_STACKS} ways to read the same text")
            if stack is None:
                found.add(stack)
                continue
            node, rest = stack
            match node:
                case Chars() | TokenId():
                    found.add(stack)
                case Reference(name):
                    waiting.append((self._rules[name], rest))
                case Series(items):
                    for item in reversed(items):
                        rest = (item, rest)
                    waiting.append(rest)
                case Choice(options):
                    waiting += [(option, rest) for option in options]
                case Repeat(item, least, most):
                    if least == 0:
                        if within(node, widest.setdefault((id(item), rest), node)):
                            continue
                        waiting.append(rest)
                    if most != 0:
                        waiting.append((item, (self._fewer(node), rest) if most != 1 else rest))
        return frozenset(found)

    def advance(self, place: Place, text: str) -> Place:
        """Where a text leads; empty where the grammar does not allow it."""
        for char in text:
            code = ord(char)
            place = self._closed(stack[1] for stack in place if stack is not None and isinstance(stack[0], Chars) and stack[0].matches(code))
        return place

    def advance_token(self, place: Place, token: int, text: str) -> Place:
        """Where a token leads: by its id, or by its text."""
        by_id = self._closed(s[1] for s in place if s is not None and isinstance(s[0], TokenId) and (s[0].id == token) != s[0].negated)
        return by_id | (self.advance(place, text) if text else frozenset())

    def accepts(self, place: Place) -> bool:
        """Whether the text may end here."""
        return None in place


def first_error(matcher: Matcher, text: str) -> int | None:
    """How many characters of a text the grammar allows before it refuses one; the length where the text is only unfinished; None where it accepts."""
    place = matcher.start
    for number, char in enumerate(text):
        place = matcher.advance(place, char)
        if not place:
            return number
    return None if matcher.accepts(place) else len(text)
