"""Members of objects and items of arrays, as GBNF: in order, in any order, and with names that are none of some."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .gbnf import Rules, class_char, literal

PLAIN = r'"\\\x7F\x00-\x1F'  # what a JSON string does not hold as it is
_SHORT = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r", '"': '"', "\\": "\\"}  # escapes of one character


def _digit(digit: str) -> str:
    return digit + digit.upper() if digit.isalpha() else digit


def _hex(digits: str) -> str:
    return " ".join(f"[{_digit(d)}]" for d in digits)


class Members:
    """Writes rules for what stands between commas."""

    def __init__(self, rules: Rules):
        self._rules = rules

    def other_key(self, names: Sequence[str], name: str) -> str:
        """A key that is none of some names: a tree of their characters."""
        if not names:
            return r'"\"" char* "\""'
        tree: dict[str, Any] = {}
        for key in names:
            node = tree
            for char in key:
                node = node.setdefault(char, {})
            node[""] = {}

        def rest(node: dict[str, Any]) -> str:
            chars = [c for c in node if c]
            if not chars:
                return "char+"
            plain = [c for c in chars if c >= " " and c not in '"\\\x7f']
            options = [f"[^{PLAIN}{''.join(class_char(ord(c)) for c in plain)}] char*", f"[\\\\] {self._other_escape(chars)} char*"]
            for char in chars:
                mark = _SHORT.get(char)
                written = literal(char) if char in plain else literal("\\" + mark) if mark else f'"\\\\u" {_hex(f"{ord(char):04x}")}'
                options.append(f"{written} {rest(node[char])}")
            return f"({' | '.join(options)})" + ("" if "" in node else "?")

        return self._rules.add(f"{name}-key", f'"\\"" {rest(tree)} "\\""')

    def _other_escape(self, chars: Sequence[str]) -> str:
        """What may come after a backslash, where it stands for none of some characters."""
        marks = "".join(class_char(ord(mark)) for char, mark in _SHORT.items() if char not in chars)
        codes = sorted({f"{ord(c) if ord(c) < 0x10000 else 0xD800 + ((ord(c) - 0x10000) >> 10):04x}" for c in chars})
        options = [f"[{marks}]"] if marks else []

        def others(tails: Sequence[str]) -> list[str]:
            """Hexadecimal digits that are none of some."""
            firsts = dict.fromkeys(t[0] for t in tails)
            free = "".join(_digit(d) for d in "0123456789abcdef" if d not in firsts)
            found = [f"[{free}] [0-9a-fA-F]{{{len(tails[0]) - 1}}}" if len(tails[0]) > 1 else f"[{free}]"] if free else []
            for first in firsts if len(tails[0]) > 1 else ():
                if more := others([t[1:] for t in tails if t[0] == first]):
                    found.append(f"[{_digit(first)}] ({' | '.join(more)})")
            return found

        if more := others(codes):
            options.append(f'"u" ({" | ".join(more)})')
        return self._rules.add(f"escape-{'-'.join(codes[:4])}", " | ".join(options))

    def in_order(self, pairs: Mapping[str, str], required: Collection[str], extra: str | None, name: str) -> str:
        """Members in their order, the required ones all and of the others any, then additional ones."""
        parts = [f'"," space {rule}' if key in required else f'("," space {rule})?' for key, rule in pairs.items()]
        parts += [f'("," space {extra})*'] if extra else []
        keys, made = list(pairs), []
        first = next((n for n, key in enumerate(keys) if key in required), len(keys))  # with which the members may begin at the latest
        after = " ".join(parts[first + 1 :]) if first < len(keys) else ""
        if first < len(keys):
            made.append(f"{pairs[keys[first]]} {after}")
            after = f"{parts[first]} {after}"
        elif extra:
            made.append(f"{extra} {parts[-1]}")
            after = parts[-1]
        for number in reversed(range(first)):
            after = self._rules.add(f"{name}-after-{number}", after) if after.strip() else ""
            made.append(f"{pairs[keys[number]]} {after}".rstrip())
            after = f"{parts[number]} {after}"
        found = " | ".join(reversed(made))
        return found if first < len(keys) and len(made) == 1 else f"({found})" if first < len(keys) else f"({found})?" if found else ""

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
