"""JSON that is still being written: where values begin and end, and where it can no longer be JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_ESCAPE_PART = re.compile(r"(?:\\(?:u[0-9a-fA-F]{0,3})?)?")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NUMBER_PART = re.compile(r"-?(?:0|[1-9][0-9]*)?(?:(?<=[0-9])\.[0-9]*)?(?:(?<=[0-9])[eE][+-]?[0-9]*)?")
_WORDS = ("true", "false", "null")
_DEEPEST = 64


class Invalid(ValueError):
    """The text is no beginning of JSON.

    Attributes:
        at: where it stops being one; everything before is.
        span: what was there until then.
    """

    def __init__(self, at: int, span: Span | None = None):
        super().__init__(f"no JSON at {at}")
        self.at, self.span = at, span


@dataclass
class Span:
    """A value in a text.

    Attributes:
        start: where it begins.
        end: where it ends; None while it is being written.
        members: of an object: key -> its value, in order.
        items: of a list.
    """

    start: int
    end: int | None = None
    members: dict[str, Span] | None = None
    items: list[Span] | None = None

    def text(self, whole: str) -> str:
        """What of the value is there."""
        return whole[self.start : self.end]


def scan(text: str, start: int = 0, depth: int = 0) -> Span | None:
    """The value that begins at or after a place, past white space; None where none has begun yet.

    Raises:
        Invalid: the text there is no beginning of JSON.
    """
    at = _space(text, start)
    if at == len(text):
        return None
    found = Span(at)
    if depth > _DEEPEST:
        raise Invalid(at)
    try:
        if text[at] == "{":
            found.members = {}
            found.end = _members(text, at + 1, found.members, depth)
        elif text[at] == "[":
            found.items = []
            found.end = _items(text, at + 1, found.items, depth)
        else:
            found.end = _scalar(text, at)
    except Invalid as error:
        error.span = found
        raise
    return found


def _scalar(text: str, at: int) -> int | None:
    """Where a string, a number or a word ends; None while it is being written."""
    if text[at] == '"':
        end = _end(_STRING, text, at)
        if text[end : end + 1] == '"':
            return end + 1
        end = _end(_ESCAPE_PART, text, end)
    elif text[at] in "-0123456789":
        end = _end(_NUMBER_PART, text, at)
        if end < len(text) and end == _end(_NUMBER, text, at):
            return end  # before the text's end, since more digits may follow there
    else:
        word = next((w for w in _WORDS if w[0] == text[at]), "")
        same = next((n for n, c in enumerate(word) if text[at + n : at + n + 1] != c), len(word))
        end = at + same
        if word and same == len(word):
            return end
    if end < len(text):
        raise Invalid(end)
    return None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _space(text: str, at: int) -> int:
    return _end(_SPACE, text, at)


def _members(text: str, at: int, members: dict[str, Span], depth: int) -> int | None:
    at = _space(text, at)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        at = _space(text, at)
        if at == len(text):
            return None
        if text[at] != '"':
            raise Invalid(at)
        end = _scalar(text, at)
        if end is None:
            return None
        key, at = json.loads(text[at:end]), _space(text, end)
        if at == len(text):
            return None
        if text[at] != ":":
            raise Invalid(at)
        try:
            value = scan(text, at + 1, depth + 1)
        except Invalid as error:
            if error.span is not None:
                members.setdefault(key, error.span)
            raise
        if value is None:
            return None
        members.setdefault(key, value)  # the first of a key counts: it may have been shown already
        end = _after(text, value, "}")
        if end is None or text[end - 1] == "}":
            return end
        at = end


def _items(text: str, at: int, items: list[Span], depth: int) -> int | None:
    at = _space(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        try:
            value = scan(text, at, depth + 1)
        except Invalid as error:
            if error.span is not None:
                items.append(error.span)
            raise
        if value is None:
            return None
        items.append(value)
        end = _after(text, value, "]")
        if end is None or text[end - 1] == "]":
            return end
        at = end


def _after(text: str, value: Span, close: str) -> int | None:
    """Past the comma or the closing bracket after a value; None where the text ends before."""
    if value.end is None:
        return None
    at = _space(text, value.end)
    if at == len(text):
        return None
    if text[at] not in ("," + close):
        raise Invalid(at)
    return at + 1
