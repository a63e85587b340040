"""Regular expressions as GBNF: the part of Python's and JavaScript's syntax that says which texts there are.

Groups, alternatives, classes, quantifiers (how greedy they are does not matter), escapes and anchors. What looks around or back is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from .gbnf import class_char, literal
from .nodes import Chars, Choice, Node, Repeat, Series
from .reader import GrammarError

_MOST_TEXT = 65536
_DIGITS = ((48, 57),)
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE = ((9, 13), (32, 32))
_CLASSES = {"d": (_DIGITS, False), "D": (_DIGITS, True), "w": (_WORD, False), "W": (_WORD, True), "s": (_SPACE, False), "S": (_SPACE, True)}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0, "a": 7}
_HEX = {"x": 2, "u": 4, "U": 8}
_LAST = 0x10FFFF
_NEWLINE = ((10, 10),)
NOTHING = r"[^\x00-\U0010FFFF]"  # a class without characters
ANYTHING = Repeat(Chars((), negated=True), 0, None)


class RegexError(GrammarError):
    """An expression is malformed, or is not what a grammar can say; the text says where."""


def read_regex(pattern: str, *, anchored: bool = False) -> Node:
    """The texts that an expression matches.

    Args:
        anchored: it matches the whole text; otherwise anything may stand before and after it, but for where it is anchored by ^ and $.

    Raises:
        RegexError: the expression is malformed, or is not what a grammar can say.
    """
    if len(pattern) > _MOST_TEXT:
        raise RegexError(f"the regular expression has {len(pattern)} characters: at most {_MOST_TEXT} are allowed")
    reader = _Reader(pattern, anchored)
    try:
        return reader.whole()
    except RecursionError:
        raise RegexError("the regular expression is nested too deeply") from None


class _Reader:
    def __init__(self, text: str, anchored: bool):
        self.text, self.at, self.anchored = text, 0, anchored
        self.depth = 0

    def fail(self, message: str, at: int | None = None) -> RegexError:
        at = self.at if at is None else at
        return RegexError(f"{message}, at character {at + 1} of the expression {self.text[:100]!r}")

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def take(self, text: str) -> bool:
        found = self.peek(text)
        self.at += len(text) * found
        return found

    def whole(self) -> Node:
        found = self.alternatives()
        if self.at < len(self.text):
            raise self.fail("there is no open group that this closes")
        return found

    def alternatives(self) -> Node:
        options = [self.series()]
        while self.take("|"):
            options.append(self.series())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def series(self) -> Node:
        items: list[Node] = []
        outermost = self.depth == 0
        begins = ends = self.anchored or not outermost
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            at = self.at
            if self.peek("^") or self.peek("\\A"):
                self.at += 1 if self.peek("^") else 2
                if not outermost or at != start:
                    raise self.fail("^ is only supported at the beginning", at)
                begins = True
                continue
            if self.peek("$") or self.peek("\\Z") or self.peek("\\z"):
                self.at += 1 if self.peek("$") else 2
                if not outermost or (self.at < len(self.text) and self.text[self.at] != "|"):
                    raise self.fail("$ is only supported at the end", at)
                ends = True
                continue
            items.append(self.quantified(self.item()))
        made: Node = items[0] if len(items) == 1 else Series(tuple(items))
        if begins and ends:
            return made
        return Series((*([] if begins else [ANYTHING]), made, *([] if ends else [ANYTHING])))

    def quantified(self, item: Node) -> Node:
        while self.at < len(self.text):
            at = self.at
            if self.take("*"):
                limits: tuple[int, int | None] = 0, None
            elif self.take("+"):
                limits = 1, None
            elif self.take("?"):
                limits = 0, 1
            elif self.peek("{"):
                found = self.braces()
                if found is None:
                    return item  # a brace as it is; `item` reads it
                limits = found
            else:
                return item
            if limits[1] is not None and limits[1] < limits[0]:
                raise self.fail("the minimum of repetitions is above the maximum", at)
            if not self.take("?"):
                self.take("+")  # possessive: it matches the same texts where it matches
            item = Repeat(item, *limits)
            if limits[1] is None and _may_be_empty(item.item):
                item = _without_empty(item)
        return item

    def braces(self) -> tuple[int, int | None] | None:
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : end].partition(",")
        if (
            end < 0
            or not (low + high).isascii()
            or not (low.isdigit() or (comma and not low and high.isdigit()))
            or (high and not high.isdigit())
            or len(low + high) > 12
        ):
            return None
        self.at = end + 1
        return int(low or 0), (int(high) if high else None) if comma else int(low)

    def item(self) -> Node:
        char = self.text[self.at]
        if char == "(":
            return self.group()
        if char == "[":
            return self.characters()
        if char == ".":
            self.at += 1
            return Chars(_NEWLINE, negated=True)
        if char in "*+?":
            raise self.fail("there is nothing to repeat before this")
        if char == "\\":
            ranges, negated = self.escape()
            return Chars(ranges, negated)
        self.at += 1
        return Chars(((ord(char), ord(char)),))

    def group(self) -> Node:
        start = self.at
        self.at += 1
        if self.take("?"):
            if self.take("P<") or (self.peek("<") and not self.peek("<=") and not self.peek("<!") and self.take("<")):
                end = self.text.find(">", self.at)
                if end < 0:
                    raise self.fail("the group's name is not closed", start)
                self.at = end + 1
            elif not self.take(":"):
                raise self.fail("lookaround, flags and other (?...) extensions are not supported in a grammar", start)
        self.depth += 1
        found = self.alternatives()
        self.depth -= 1
        if not self.take(")"):
            raise self.fail("the group is not closed", start)
        return found

    def escape(self) -> tuple[tuple[tuple[int, int], ...], bool]:
        start = self.at
        self.at += 1
        if self.at >= len(self.text):
            raise self.fail("the regular expression ends inside an escape sequence", start)
        kind = self.text[self.at]
        self.at += 1
        if kind in _CLASSES:
            return _CLASSES[kind]
        if kind in _CONTROLS:
            return ((_CONTROLS[kind], _CONTROLS[kind]),), False
        if kind in _HEX:
            braced = kind == "u" and self.take("{")
            end = self.text.find("}", self.at) if braced else self.at + _HEX[kind]
            digits = self.text[self.at : max(end, 0)]  # none where a brace is not closed
            if not digits or not all(c in "0123456789abcdefABCDEF" for c in digits) or (not braced and len(digits) < _HEX[kind]) or int(digits, 16) > _LAST:
                raise self.fail(f"\\{kind} needs the hexadecimal digits of a character", start)
            self.at = end + braced
            return ((int(digits, 16), int(digits, 16)),), False
        if kind.isalnum():
            raise self.fail(f"\\{kind} is not supported in a grammar", start)
        return ((ord(kind), ord(kind)),), False

    def characters(self) -> Node:
        start = self.at
        self.at += 1
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self.peek("]"):
            first = False
            if self.at >= len(self.text):
                raise self.fail("the class does not end", start)
            low = self.one_of_class()
            if self.peek("-") and not self.peek("-]") and len(low) == 1 and low[0][0] == low[0][1]:
                self.at += 1
                if self.at >= len(self.text):
                    raise self.fail("the class does not end", start)
                high = self.one_of_class()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self.fail("the ends of a range must be two characters in order", start)
                ranges.append((low[0][0], high[0][0]))
            else:
                ranges += low
        self.at += 1
        return Chars(tuple(ranges), negated)

    def one_of_class(self) -> tuple[tuple[int, int], ...]:
        if not self.peek("\\"):
            self.at += 1
            code = ord(self.text[self.at - 1])
            return ((code, code),)
        if self.take("\\b"):
            return ((8, 8),)
        ranges, negated = self.escape()
        return complement(ranges) if negated else ranges


def complement(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """All other characters."""
    found, at = [], 0
    for low, high in sorted(ranges):
        if low > at:
            found.append((at, low - 1))
        at = max(at, high + 1)
    return (*found, (at, _LAST)) if at <= _LAST else tuple(found)


def _may_be_empty(node: Node) -> bool:
    match node:
        case Series(items):
            return all(map(_may_be_empty, items))
        case Choice(options):
            return any(map(_may_be_empty, options))
        case Repeat(item, least, _):
            return least == 0 or _may_be_empty(item)
    return False


def _without_empty(node: Repeat) -> Node:
    """An unlimited repetition of what may be empty, as one of what is not."""
    return Repeat(_filled(node.item), 0, None)


def _filled(node: Node) -> Node:
    """The texts of a node but for the empty one."""
    match node:
        case Choice(options):
            return Choice(tuple(_filled(o) if _may_be_empty(o) else o for o in options if o != Series(())))
        case Repeat(item, _, most):
            inner = _filled(item) if _may_be_empty(item) else item
            return Repeat(inner, 1, most)
        case Series(items) if items and _may_be_empty(node):
            return Choice(tuple(Series((_filled(item), *items[n + 1 :])) for n, item in enumerate(items)))
    return node if not _may_be_empty(node) else Choice(())


def written(node: Node, *, quoted: bool = False) -> str:
    """A node as GBNF, to be put into a rule.

    Args:
        quoted: the text stands in a JSON string: what JSON has to escape is escaped.
    """
    match node:
        case Chars(ranges, negated):
            return _quoted_class(ranges, negated) if quoted else _class(ranges, negated)
        case Series(items):
            return " ".join(written(i, quoted=quoted) for i in items) if items else '""'
        case Choice(options):
            return "(" + " | ".join(written(o, quoted=quoted) for o in options) + ")" if options else NOTHING
        case Repeat(item, least, most):
            inner = written(item, quoted=quoted)
            inner = inner if isinstance(item, (Chars, Choice)) else f"({inner})"
            times = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
            return inner + (times or (f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"))
    raise TypeError(node)


def _class(ranges: Sequence[tuple[int, int]], negated: bool) -> str:
    if negated and not ranges:
        return "."
    if not negated and len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return literal(chr(ranges[0][0]))
    inner = "".join(class_char(a) if a == b else f"{class_char(a)}-{class_char(b)}" for a, b in ranges)
    return f"[{'^' if negated else ''}{inner}]"


def _quoted_class(ranges: Sequence[tuple[int, int]], negated: bool) -> str:
    """Characters as they stand in a JSON string: quotes, backslashes and control characters are escaped."""
    wanted = complement(ranges) if negated else tuple(ranges)

    def has(code: int) -> bool:
        return any(low <= code <= high for low, high in wanted)

    options = []
    plain: list[tuple[int, int]] = []
    for low, high in wanted:
        for a, b in ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, _LAST)):
            if max(low, a) <= min(high, b):
                plain.append((max(low, a), min(high, b)))
    if plain:
        options.append(_class(plain, False))
    short = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}
    options += [literal("\\" + mark) for code, mark in short.items() if has(code)]
    options += [literal(f"\\u{code:04x}") for code in (*range(32), 127) if code not in short and has(code)]
    return options[0] if len(options) == 1 else "(" + " | ".join(options) + ")" if options else NOTHING


def gbnf_of_regex(pattern: str) -> str:
    """GBNF for the texts that a regular expression matches as a whole.

    Raises:
        RegexError: the expression is malformed, or is not what a grammar can say.
    """
    return f"root ::= {written(read_regex(pattern, anchored=True))}\n"


def gbnf_of_choices(choices: Sequence[str]) -> str:
    """GBNF for one of some texts."""
    if isinstance(choices, str) or not choices or not all(isinstance(c, str) for c in choices):
        raise GrammarError("choice: expected a list of at least one string")
    return f"root ::= {' | '.join(map(literal, choices))}\n"
