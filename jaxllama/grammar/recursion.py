"""Left recursion: rules that can begin with themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from .nodes import Choice, Node, Reference, Repeat, Rules, Series

MOST_REPETITIONS = 2000


def checked(rules: Rules, root: str, groups: Collection[Node], unused: Iterable[tuple[str, Node]], fail: Callable[[str, str], Exception]) -> Rules:
    """The rules that the root leads to, with fewer ways to read the same text: how often something comes at least says nothing where it may be empty.

    Rules that llama.cpp refuses are refused, and those that it follows without end. llama.cpp takes only that for empty which has an alternative with nothing
    in it: `"a"?` and `("a" | "")`, but neither `("a"?)` nor a rule `x ::= "a"?`. What it does not see there (`root ::= x root`) is a circle that may be left,
    unless every turn leaves something to do (`root ::= x root "b"`).

    Args:
        groups: nodes that stand in parentheses.
        unused: what the rules of some names also said, in parts that do not count.
        fail: the error for a message about a rule.
    """
    shallow = _Shallow(rules, groups)
    for name, node in [*rules.items(), *unused]:
        if shallow.repeats_nothing(node):
            raise fail(f"left recursion: the rule '{name}' repeats something that may be empty without a limit", name)
    _refuse_circles({name: _first(node, shallow.may_be_empty) for name, node in rules.items()}, False, fail)
    refers = {name: _first(node, lambda _: True) for name, node in rules.items()}
    inner_first = list(_circles(refers, [root]))
    deep = _Deep(rules, inner_first)
    _refuse_circles({name: _first(rules[name], deep.may_be_empty) for name in inner_first}, True, fail)
    return {name: deep.loosened(rules[name]) for name in reversed(inner_first)}


class _Emptiness:
    """What may be empty, but for the nodes that are seen in different ways."""

    _empty: set[str]  # rules that may be

    def may_be_empty(self, node: Node) -> bool:
        match node:
            case Reference(name):
                return name in self._empty
            case Series(items):
                return all(map(self.may_be_empty, items))
            case Repeat(item, least, _):
                return least == 0 or self.may_be_empty(item)
        return False


class _Shallow(_Emptiness):
    """What may be empty as llama.cpp sees it: as its rules say it themselves. There every group, and every repetition, is a rule."""

    def __init__(self, rules: Rules, groups: Collection[Node]):
        self._groups = groups
        self._empty = {name for name, node in rules.items() if node not in groups and self._has_empty_alternative(node)}

    def _has_empty_alternative(self, node: Node) -> bool:
        """Whether one of a rule's or a group's alternatives has nothing in it; a group has something, whatever that says."""
        options = node.options if isinstance(node, Choice) else (node,)
        return any(isinstance(o, Series) and not o.items and (o is node or o not in self._groups) for o in options)

    def may_be_empty(self, node: Node) -> bool:
        return self._has_empty_alternative(node) if node in self._groups else super().may_be_empty(node)

    def repeats_nothing(self, node: Node) -> bool:
        """Whether there is a repetition without a limit, for llama.cpp, of what may be empty."""
        match node:
            case Series(parts) | Choice(parts):
                return any(map(self.repeats_nothing, parts))
            case Repeat(item, _, most):
                return ((most is None or most > MOST_REPETITIONS) and self.may_be_empty(item)) or self.repeats_nothing(item)
        return False


class _Deep(_Emptiness):
    """What may be empty indeed."""

    def __init__(self, rules: Rules, inner_first: Iterable[str]):
        self._empty = set()
        count = -1
        while count < len(self._empty):
            count = len(self._empty)
            for name in inner_first:
                if self.may_be_empty(rules[name]):
                    self._empty.add(name)

    def may_be_empty(self, node: Node) -> bool:
        return any(map(self.may_be_empty, node.options)) if isinstance(node, Choice) else super().may_be_empty(node)

    def loosened(self, node: Node) -> Node:
        match node:
            case Series(items):
                return Series(tuple(map(self.loosened, items)))
            case Choice(options):
                return Choice(tuple(map(self.loosened, options)))
            case Repeat(item, least, most):
                return Repeat(self.loosened(item), 0 if self.may_be_empty(item) else least, most)
        return node


def _first(node: Node, may_be_empty: Callable[[Node], bool]) -> dict[str, bool]:
    """The rules that what a node stands for can begin with, and whether something may be left to do after one of them."""
    found: dict[str, bool] = {}

    def visit(node: Node, more: bool) -> None:
        match node:
            case Reference(other):
                found[other] = found.get(other, False) or more
            case Series(items):
                for number, item in enumerate(items):
                    visit(item, more or number < len(items) - 1)
                    if not may_be_empty(item):
                        break
            case Choice(options):
                for option in options:
                    visit(option, more)
            case Repeat(item, _, most):
                visit(item, more or most != 1)

    visit(node, False)
    return found


def _refuse_circles(begins: Mapping[str, Mapping[str, bool]], growing: bool, fail: Callable[[str, str], Exception]) -> None:
    """Complain about a rule that leads to itself; with `growing` only if something is left to do on the way."""
    part_of = _circles(begins, begins)
    for name, following in begins.items():
        for other, more in following.items():
            if part_of[name] == part_of[other] and (more or not growing):
                raise fail(f"left recursion: the rule '{other}' can begin with itself", other)


def _circles(edges: Mapping[str, Mapping[str, bool]], starts: Iterable[str]) -> dict[str, int]:
    """A number for each name that some lead to, the same for those that lead to each other; the innermost come first (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    found: dict[str, int] = {}
    open_: list[str] = []
    for start in starts:
        path = [(start, iter(edges[start]))] if start not in order else []
        if path:
            order[start] = low[start] = len(order)
            open_.append(start)
        while path:
            name, left = path[-1]
            for other in left:
                if other not in order:
                    order[other] = low[other] = len(order)
                    open_.append(other)
                    path.append((other, iter(edges[other])))
                    break
                if other not in found:
                    low[name] = min(low[name], order[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[name])
                if low[name] == order[name]:
                    while True:
                        other = open_.pop()
                        found[other] = order[name]
                        if other == name:
                            break
    return found
