"""Writing GBNF, llama.cpp's notation for grammars."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPACE = '| " " | "\\n"{1,2} [ \\t]{0,20}'  # white space, as much as llama.cpp allows: a model may not spend its budget on it


def literal(text: str) -> str:
    """A text as a GBNF literal."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(c, c if c.isprintable() else f"\\x{ord(c):02X}" if ord(c) < 256 else f"\\U{ord(c):08X}") for c in text) + '"'


def class_char(code: int) -> str:
    """A character as it stands in a GBNF class; `\\^` is no escape there."""
    char = chr(code)
    if char in "\\]^-[":
        return "\\" + char if char != "^" else "\\x5E"
    if char.isprintable() and code < 0xD800:
        return char
    return f"\\x{code:02X}" if code < 256 else f"\\U{code:08X}"


def _one_of(chars: str, *, negated: bool = False) -> str:
    return f"[{'^' if negated else ''}{''.join(class_char(ord(c)) for c in chars)}]"


def _named(name: str) -> str:
    """A name of a rule: letters, digits and hyphens."""
    return re.sub(r"[^a-zA-Z0-9-]+", "-", name).strip("-") or "rule"


class Rules:
    """Rules by name, each written once."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}

    def add(self, name: str, body: str) -> str:
        """Keep a rule; returns its name, with a number where another rule has it already."""
        name = _named(name)
        unique, number = name, 1
        while unique in self._rules and self._rules[unique] != body:
            unique, number = f"{name}-{number}", number + 1
        self._rules[unique] = body
        return unique

    def reserve(self, name: str) -> str:
        """A name for a rule that refers to itself; `define` gives its body."""
        return self.add(name, f"# {len(self._rules)}")

    def define(self, name: str, body: str) -> None:
        self._rules[name] = body

    def until(self, name: str, end: str) -> str:
        """The name of a rule for any text up to and with the first place where `end` stands: one rule for each character that has been seen of it."""
        states = [f"{_named(name)}-{n}" for n in range(len(end))]
        for n in range(len(end)):
            ways = {}
            for char in dict.fromkeys(end[: n + 1]):
                seen = end[:n] + char
                ways[char] = next(k for k in range(len(seen), -1, -1) if seen.endswith(end[:k])) if seen != end[: n + 1] else n + 1
            parts = [f"{_one_of(char)}{'' if to == len(end) else f' {states[to]}'}" for char, to in ways.items() if to]
            parts.append(f"{_one_of(''.join(c for c, to in ways.items() if to), negated=True)} {states[0]}")
            self._rules[states[n]] = " | ".join(parts)
        return states[0]

    def without(self, name: str, words: Sequence[str]) -> str:
        """The name of a rule for any text in which none of some words stands: one rule for everything that has been seen of them."""
        prefixes = list(dict.fromkeys(word[:n] for word in words for n in range(len(word))))
        names = {prefix: f"{_named(name)}-{n}" for n, prefix in enumerate(prefixes)}
        chars = list(dict.fromkeys("".join(words)))
        for prefix in prefixes:
            ways: dict[str, list[str]] = {}
            for char in chars:
                seen = prefix + char
                if not any(seen.endswith(word) for word in words):
                    to = next(seen[n:] for n in range(len(seen) + 1) if seen[n:] in names)
                    ways.setdefault(to, []).append(char)
            parts = [f"{_one_of(''.join(found))} {names[to]}" for to, found in ways.items() if to]
            parts.append(f"{_one_of(''.join(c for c in chars if c not in ways.get('', ())), negated=True)} {names['']}")
            self._rules[names[prefix]] = " | ".join(['""', *parts])
        return names[""]

    def text(self, root: str) -> str:
        """The grammar, its root first."""
        return "\n".join([f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]) + "\n"
