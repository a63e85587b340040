"""Members of objects and items of arrays, as GBNF: in order, in any order, and with names that are none of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .gbnf import Rules, class_char, literal

PLAIN = r'"\\\x7F\x00-\x1F'  # what a JSON string does not hold as it is


class Members:
    """Writes rules for what stands between commas."""

    def __init__(self, rules: Rules):
        self._rules = rules

    def other_key(self, names: Sequence[str], name: str) -> str:
        """A key that is none of some names: a tree of their characters. Without escapes, with which a name could be written in another way."""
        if not names:
            return r'"\"" char* "\""'
        tree: dict[str, Any] = {}
        for key in names:
            node = tree
            for char in key:
                node = node.setdefault(char, {})
            node[""] = {}

        def rest(node: dict[str, Any]) -> str:
            chars = [c for c in node if c >= " " and c not in '"\\\x7f']  # the others are written with escapes
            escaped = "".join(class_char(ord(c)) for c in chars)
            options = [f"[^{PLAIN}{escaped}] [^{PLAIN}]*"]
            options += [f"{literal(c)} {rest(node[c])}" for c in chars]
            return f"({' | '.join(options)})" + ("" if "" in node else "?")

        return self._rules.add(f"{name}-key", f'"\\"" {rest(tree)} "\\""')

    def in_order(self, pairs: Mapping[str, str], required: list[str], extra: str | None, name: str) -> str:
        """Required members in order, then any of the optional ones in order, then others."""
        first = [pairs[k] for k in pairs if k in required]
        optional = [pairs[k] for k in pairs if k not in required]
        tail = f'({extra} ("," space {extra})*)' if extra else ""
        rest = self._optional(optional, tail, name)
        head = ' "," space '.join(first)
        if not head:
            return f"({rest})?" if rest else ""
        return f'{head} ("," space ({rest}))?' if rest else head

    def _optional(self, optional: list[str], tail: str, name: str) -> str:
        """Any of some members in order, one at least."""
        after = tail
        for number in reversed(range(len(optional))):
            here = f'{optional[number]} ("," space ({after}))?' if after else optional[number]
            after = self._rules.add(f"{name}-from-{number}", f"{here} | {after}" if after else here)
        return after

    def in_any_order(
        self,
        items: Sequence[Any],
        may_end: Callable[[Sequence[Any]], bool],
        written_as: Callable[[Any], str],
        name: str,
        tail: str = "",
        most: int | None = None,
    ) -> str:
        """Some of the items in any order, each once at most and `most` in all, with commas between them; nothing where that may be."""
        made: dict[tuple[int, ...], str] = {}

        def after(left: tuple[int, ...]) -> str:
            """At least one of those that are left; empty where there is none."""
            if not left or len(items) - len(left) == most:
                return tail if may_end([]) else ""
            if left not in made:
                made[left] = self._rules.reserve(f"{name}-{'-'.join(map(str, left))}")
                options = []
                for n in left:
                    others = tuple(m for m in left if m != n)
                    more = after(others)
                    ends = may_end([items[m] for m in others])
                    if more:
                        options.append(f'{written_as(items[n])} ("," space ({more})){"?" if ends else ""}')
                    elif ends:
                        options.append(written_as(items[n]))
                if tail and may_end([items[m] for m in left]):
                    options.append(tail)
                self._rules.define(made[left], " | ".join(options))
            return made[left]

        every = tuple(range(len(items)))
        found = after(every)
        return f"({found})?" if found and may_end(list(items)) else found


def several(item: str, low: int, high: int | None) -> str:
    """From `low` to `high` items with commas between them."""
    more = f'("," space {item}){{{max(low - 1, 0)},{"" if high is None else high - 1}}}' if high != 1 else ""
    return f"{item} {more}" if low else f"({item} {more})?"
