"""What may come after the end of a rule, whoever called it: where references stand, and which bytes can follow. Too much rather than too little."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from .nodes import Choice, Reference, Repeat, Rules, Series, TokenId
from .stacks import NIL, Mark, Stacks, Then
from .utf8 import Bytes

ANY_TOKEN = 256  # among bytes: some token may follow
MANY = 64  # bytes
WORTH = 150  # nodes that it saves, from which on a rule of which there would be copies becomes a frame
LARGE = 8  # repetitions beyond this are worth counting


def recursive_rules(rules: Rules) -> set[str]:
    """Rules at which every circle of rules that makes stacks grow is cut open: those that a search in depth, from the root, meets again on its way. A rule that
    only ends with itself makes nothing grow."""
    refers = {name: _references(node) for name, node in rules.items()}
    found, done = set(), set()
    path: list[tuple[str, list[str]]] = [("root", sorted(refers["root"]))]
    entered = {"root"}
    while path:
        name, left = path[-1]
        if not left:
            path.pop()
            entered.discard(name)
            done.add(name)
            continue
        other = left.pop()
        if other in entered:
            found.add(other)
        elif other not in done:
            entered.add(other)
            path.append((other, sorted(refers[other])))
    return {name for name in found if _grows(name, refers)}


def _grows(start: str, refers: dict[str, dict[str, bool]]) -> bool:
    """Whether a rule leads back to itself with something left to do afterwards."""
    waiting, seen = [(start, False)], set()
    while waiting:
        name, more = waiting.pop()
        for other, within in refers[name].items():
            following = other, more or within
            if following == (start, True):
                return True
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return False


def _references(node: object) -> dict[str, bool]:
    """The rules that a node refers to, and whether something may come after one of them within it."""
    found: dict[str, bool] = {}
    waiting: list[tuple[object, bool]] = [(node, False)]
    while waiting:
        node, more = waiting.pop()
        match node:
            case Reference(name):
                found[name] = found.get(name, False) or more
            case Series(items):
                waiting += [(item, more or n < len(items) - 1) for n, item in enumerate(items)]
            case Choice(options):
                waiting += [(option, more) for option in options]
            case Repeat(item, _, most):
                waiting.append((item, more or most != 1))
    return found


class Follow:
    """Where things are referred to, and what follows them.

    Attributes:
        sites: for each key of a `Mark` the stacks that lie beneath it somewhere; they end with the mark of the rule they stand in.
        loops: rules in which many characters are repeated often, as in a text in quotes: many tokens are possible there, and to find them takes time.
        has_tokens: whether tokens are named.
    """

    def __init__(self, stacks: Stacks):
        self._stacks = stacks
        self.sites: dict[Hashable, list[int]] = {}
        self.loops: set[str] = set()
        self.has_tokens = False
        self._bytes: dict[Hashable, frozenset[int]] = {}
        for name, body in stacks.bodies.items():
            self._visit(name, body, stacks.on(Mark(name), NIL))

    def _visit(self, name: str, body: object, rest: int) -> None:
        waiting = [(body, rest)]
        while waiting:
            node, rest = waiting.pop()
            match node:
                case Then(first, following):
                    waiting.append((first, rest if following is None else self._stacks.on(following, rest)))
                    if following is not None:
                        waiting.append((following, rest))
                case Reference(other):
                    self.sites.setdefault(other, []).append(rest)
                case TokenId():
                    self.has_tokens = True
                case Choice(options):
                    waiting += [(option, rest) for option in options]
                case Repeat(item, _, most):
                    if (most is None or most > LARGE) and len(self.first([self._stacks.on(item, NIL)])) > MANY:
                        self.loops.add(name)
                    again = self._stacks.repeat(item, 0, None if most is None else max(most - 1, 0))
                    self.sites.setdefault(("all", item), []).append(rest)
                    self.sites.setdefault(("one", item), []).append(self._stacks.on(again, self._stacks.on(Mark(("all", item)), NIL)))
                    waiting.append((item, self._stacks.on(again, rest)))

    def worth_framing(self) -> set[str]:
        """Rules that stand in several places and are large, and whose end is told apart from what comes after it."""
        found = set()
        for name, sites in self.sites.items():
            if not isinstance(name, str) or len(sites) < 2:
                continue
            if (name in self.loops or self._weight(name) * (len(sites) - 1) >= WORTH) and not self.going_on(name) & self.after(name):
                found.add(name)
        return found

    def _weight(self, name: str) -> int:
        """Nodes of a rule and of the rules it refers to, as far as it matters."""
        count, waiting, seen = 0, [self._stacks.bodies[name]], {name}
        while waiting and count < WORTH:
            count += 1
            match waiting.pop():
                case Then(first, following):
                    waiting += [first] if following is None else [first, following]
                case Choice(options):
                    waiting += options
                case Repeat(item, _, _):
                    waiting.append(item)
                case Reference(other) if other not in seen:
                    seen.add(other)
                    waiting.append(self._stacks.bodies[other])
        return count

    def going_on(self, name: str) -> frozenset[int]:
        """The bytes with which a rule may go on where it might also end, as far as its last parts show."""
        found: set[int] = set()
        waiting, seen = [self._stacks.bodies[name]], {name}
        while waiting:
            node = waiting.pop()
            match node:
                case Then():
                    parts = []
                    while node is not None:
                        parts.append(node)
                        node = node.following
                    for part in reversed(parts):
                        waiting.append(part.first)
                        if NIL not in self._stacks.expanded(self._stacks.on(part.first, NIL)):
                            break
                        found |= self.first([self._stacks.on(part.first, NIL)])
                case Choice(options):
                    waiting += options
                case Repeat(item, _, most):
                    waiting.append(item)
                    if most != 1:
                        found |= self.first([self._stacks.on(item, NIL)])
                case Reference(other) if other not in seen:
                    seen.add(other)
                    waiting.append(self._stacks.bodies[other])
        return frozenset(found)

    def closed(self, stacks: Iterable[int]) -> frozenset[int]:
        """The stacks with a byte or a token on top that some stacks stand for, whatever lies beneath them."""
        found, waiting, seen = set(), list(stacks), set()
        while waiting:
            for stack in self._stacks.expanded(waiting.pop()):
                head = self._stacks.heads[stack]
                if not isinstance(head, Mark):
                    found.add(stack)
                elif head.key not in seen:
                    seen.add(head.key)
                    waiting += self.sites.get(head.key, ())
        return frozenset(found)

    def after(self, key: Hashable) -> frozenset[int]:
        """The bytes that may follow a mark; `ANY_TOKEN` among them where a token may."""
        if key not in self._bytes:
            self._bytes[key] = self.first([self._stacks.on(Mark(key), NIL)])
        return self._bytes[key]

    def first(self, stacks: Iterable[int]) -> frozenset[int]:
        """The bytes with which stacks may begin."""
        found: set[int] = set()
        for stack in self.closed(stacks):
            head = self._stacks.heads[stack]
            if isinstance(head, TokenId):
                found.add(ANY_TOKEN)
            elif isinstance(head, Bytes):
                for low, high, _ in head.edges:
                    found.update(range(low, high + 1))
        return frozenset(found)
