"""GBNF, llama.cpp's notation for grammars, read and checked.

What llama.cpp refuses is refused: rules that nobody defines, a missing root, left recursion, repetitions that would make more than 2,000 rules there. Two
differences: a limit above 2,000 is kept, which llama.cpp takes for none; left recursion that llama.cpp does not see, and follows without end, is refused.
Source: llama.cpp's llama-grammar.cpp and grammars/README.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .nodes import Chars, Choice, Node, Reference, Repeat, Rules, Series, TokenId
from .recursion import MOST_REPETITIONS, checked

MOST_TEXT = 2**20
_LARGEST = 2**64 - 1  # number of times
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_DIGITS = frozenset("0123456789")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}


class GrammarError(ValueError):
    """A grammar is wrong; the text says where, with the line and a caret beneath it."""


def read_gbnf(text: str, tokenize: Callable[[str], Sequence[int]] | None = None, root: str = "root") -> Rules:
    """The rules of a grammar, by name; `root` among them.

    Args:
        text: GBNF.
        tokenize: ids of a text with special tokens in it; needed where the grammar names tokens by their text.
        root: the rule that a text must follow; it must be there.

    Raises:
        GrammarError: the grammar is wrong.
    """
    if len(text) > MOST_TEXT:
        raise GrammarError(f"the grammar has {len(text)} characters: at most {MOST_TEXT} are allowed")
    reader = _Reader(text, tokenize)
    try:
        rules = reader.grammar(root)
        return checked(rules, root, reader.groups, reader.unused, lambda message, name: reader.fail(message, reader.places[name]))
    except RecursionError:
        raise GrammarError("the grammar is nested too deeply") from None


class _Reader:
    def __init__(self, text: str, tokenize: Callable[[str], Sequence[int]] | None):
        self.text, self.at, self.tokenize = text, 0, tokenize
        self.places: dict[str, int] = {}  # where each rule is first named
        self.symbols = 0  # rules that llama.cpp would have by now: names, groups and repetitions
        self.groups: set[Node] = set()  # what stood in parentheses
        self.unused: list[tuple[str, Node]] = []  # what was repeated no times, or replaced
        self.rule = ""  # that is being read

    def fail(self, message: str, at: int | None = None) -> GrammarError:
        at = self.at if at is None else at
        line = self.text.count("\n", 0, at) + 1
        start = self.text.rfind("\n", 0, at) + 1
        end = self.text.find("\n", at)
        shown = self.text[start : len(self.text) if end < 0 else end].replace("\t", " ")
        column = at - start
        cut = max(0, column - 60)
        return GrammarError(f"line {line}, column {column + 1}: {message}\n  {shown[cut : cut + 120]}\n  {' ' * (column - cut)}^")

    def peek(self, ahead: int = 0) -> str:
        return self.text[self.at + ahead : self.at + ahead + 1]

    def space(self, newlines: bool) -> None:
        """Past white space and comments."""
        skipped = " \t\r\n" if newlines else " \t"
        while (char := self.peek()) and (char in skipped or char == "#"):
            if char == "#":
                while self.peek() and self.peek() not in "\r\n":
                    self.at += 1
            else:
                self.at += 1

    def expect(self, text: str) -> None:
        if not self.text.startswith(text, self.at):
            raise self.fail(f"expected {text}")
        self.at += len(text)

    def run_of(self, chars: frozenset[str], expected: str) -> str:
        """One or more of some characters."""
        start = self.at
        while self.peek() in chars:
            self.at += 1
        if start == self.at:
            raise self.fail(f"expected {expected}")
        return self.text[start : self.at]

    def name(self) -> str:
        start = self.at
        found = self.run_of(_WORD, "the name of a rule (letters, digits and hyphens)")
        if found not in self.places:
            self.places[found] = start
            self.symbols += 1
        return found

    def grammar(self, root: str) -> Rules:
        rules: dict[str, Node] = {}
        self.space(True)
        while self.peek():
            name = self.name()
            self.space(False)
            self.expect("::=")
            self.space(True)
            self.unused += [(name, rules[name])] if name in rules else []
            self.rule = name
            rules[name] = self.choice(False)
            if self.peek() not in ("\r", "\n", ""):
                raise self.fail("expected the end of the line, or more of the rule")
            self.space(True)
        for name, place in self.places.items():
            if name not in rules:
                raise self.fail(f"there is no rule '{name}'", place)
        if root not in rules:
            raise GrammarError(f"there is no rule '{root}', with which a grammar must start")
        return rules

    def choice(self, nested: bool) -> Node:
        options = [self.series(nested)]
        while self.peek() == "|":
            self.at += 1
            self.space(True)
            options.append(self.series(nested))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def series(self, nested: bool) -> Node:
        items: list[Node] = []
        repeatable, weight = False, 1  # whether a repetition may follow, and of how many of llama.cpp's rules
        while char := self.peek():
            before, start = self.symbols, self.at
            if char == '"':
                made = self.literal()
            elif char == "[":
                made = self.characters()
            elif char in "<!":
                made = self.token()
            elif char in _WORD:
                made = Reference(self.name())
            elif char == "(":
                self.at += 1
                self.space(True)
                self.symbols += 1
                made = self.choice(True)
                made = made if made not in self.groups else Series((made,))
                self.groups.add(made)
                self.expect(")")
            elif char == ".":
                self.at += 1
                made = Chars((), negated=True)
            elif char in "*+?{":
                least, most = self.repetition(nested)
                if not repeatable:
                    raise self.fail("there is nothing to repeat before this", start)
                count = (most if most is not None and most <= MOST_REPETITIONS else least) or 1
                if weight * count > MOST_REPETITIONS:
                    raise self.fail(f"this expands to {weight * count} repetitions: at most {MOST_REPETITIONS} are allowed", start)
                weight *= count
                self.symbols += 1 if most is None or most > MOST_REPETITIONS else most - least
                repeatable = most != 0
                self.unused += [] if repeatable else [(self.rule, items[-1])]
                items[-1] = Repeat(items[-1], least, most) if repeatable else Series(())
                self.space(nested)
                continue
            else:
                break
            self.space(nested)
            repeatable = not (isinstance(made, Series) and not made.items and char != "(")
            weight = max(1, self.symbols - before) if char == "(" else 1
            items.append(made)
        items = [i for i in items if i in self.groups or not isinstance(i, Series) or i.items]
        return items[0] if len(items) == 1 else Series(tuple(items))

    def repetition(self, nested: bool) -> tuple[int, int | None]:
        start, char = self.at, self.peek()
        self.at += 1
        if char != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        self.space(nested)
        least = self.number(_LARGEST)
        most: int | None = least
        self.space(nested)
        if self.peek() == ",":
            self.at += 1
            self.space(nested)
            most = self.number(_LARGEST) if self.peek() in _DIGITS else None
            self.space(nested)
        self.expect("}")
        if least > MOST_REPETITIONS:
            raise self.fail(f"{least} repetitions are too many: at most {MOST_REPETITIONS} are allowed", start)
        if most is not None and most < least:
            raise self.fail(f"the minimum of {least} repetitions is above the maximum of {most}", start)
        return least, most

    def number(self, largest: int) -> int:
        start, digits = self.at, self.run_of(_DIGITS, "a number").lstrip("0") or "0"
        if len(digits) > len(str(largest)) or int(digits) > largest:
            raise self.fail(f"the number is too large: at most {largest} is allowed", start)
        return int(digits)

    def char(self) -> int:
        """A character, or an escape for one."""
        start, char = self.at, self.peek()
        if not char:
            raise self.fail("the grammar ends inside a literal or a character class")
        self.at += 1
        if char != "\\":
            return ord(char)
        kind = self.peek()
        self.at += 1
        if kind in _ESCAPES:
            return ord(_ESCAPES[kind])
        if kind in _HEX:
            digits = self.text[self.at : self.at + _HEX[kind]]
            try:
                code = int(digits, 16) if len(digits) == _HEX[kind] and digits.isalnum() else -1
            except ValueError:
                code = -1
            if not 0 <= code <= 0x10FFFF:
                raise self.fail(f"\\{kind} needs the {_HEX[kind]} hexadecimal digits of a character", start)
            self.at += _HEX[kind]
            return code
        raise self.fail(f"unknown escape sequence \\{kind}", start)

    def literal(self) -> Node:
        self.at += 1
        codes = []
        while self.peek() != '"':
            codes.append(self.char())
        self.at += 1
        made = tuple(Chars(((c, c),)) for c in codes)
        return made[0] if len(made) == 1 else Series(made)

    def characters(self) -> Node:
        self.at += 1
        negated = self.peek() == "^"
        self.at += negated
        ranges = []
        while self.peek() != "]":
            low = high = self.char()
            if self.peek() == "-" and self.peek(1) != "]":
                self.at += 1
                high = self.char()
            ranges.append((low, high))
        self.at += 1
        return Chars(tuple(ranges), negated) if ranges else Series(())

    def token(self) -> Node:
        start = self.at
        negated = self.peek() == "!"
        self.at += negated
        named = self.at
        self.expect("<")
        if self.peek() == "[":
            self.at += 1
            id_ = self.number(2**32 - 1)
            self.expect("]>")
            return TokenId(id_, negated)
        end = self.text.find(">", self.at)
        if end < 0:
            raise self.fail("expected > after the text of a token")
        self.at = end + 1
        name = self.text[named : self.at]
        if self.tokenize is None:
            raise self.fail(f"the token {name} needs the vocabulary of a model", start)
        ids = self.tokenize(name)
        if len(ids) != 1:
            raise self.fail(f"{name} must be one token of the vocabulary, but is encoded as {len(ids)}", start)
        return TokenId(ids[0], negated)
