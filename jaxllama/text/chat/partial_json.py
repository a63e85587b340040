"""JSON that is still being written: where values begin and end, and where it can no longer be JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_STRING_PART = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z')
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_NUMBER_PART = re.compile(r"-?(?:0|[1-9][0-9]*)?(?:(?<=[0-9])\.[0-9]*)?(?:(?<=[0-9])[eE][+-]?[0-9]*)?\Z")  # more digits may follow
_WORD_PART = re.compile(r"(?:t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z")
_DEEPEST = 64


class Invalid(ValueError):
    """The text is no beginning of JSON."""


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
    if depth > _DEEPEST:
        raise Invalid("too deep")
    found = Span(at)
    if text[at] == "{":
        found.members = {}
        found.end = _members(text, at + 1, found.members, depth)
    elif text[at] == "[":
        found.items = []
        found.end = _items(text, at + 1, found.items, depth)
    elif text[at] == '"':
        found.end = _match_end(_STRING, _STRING_PART, text, at)
    else:
        found.end = None if _NUMBER_PART.match(text, at) else _match_end(_SCALAR, _WORD_PART, text, at)
    return found


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _match_end(whole: re.Pattern[str], part: re.Pattern[str], text: str, at: int) -> int | None:
    if match := whole.match(text, at):
        return match.end()
    if part.match(text, at):
        return None
    raise Invalid(f"at {at}")


def _members(text: str, at: int, members: dict[str, Span], depth: int) -> int | None:
    at = _space(text, at)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        at = _space(text, at)
        if at == len(text):
            return None
        if text[at] != '"':
            raise Invalid(f"at {at}")
        end = _match_end(_STRING, _STRING_PART, text, at)
        if end is None:
            return None
        key, at = json.loads(text[at:end]), _space(text, end)
        if at == len(text):
            return None
        if text[at] != ":":
            raise Invalid(f"at {at}")
        value = scan(text, at + 1, depth + 1)
        if value is None:
            return None
        members[key] = value
        end = _after(text, value, "}")
        if end is None or text[end - 1] == "}":
            return end
        at = end


def _items(text: str, at: int, items: list[Span], depth: int) -> int | None:
    at = _space(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        value = scan(text, at, depth + 1)
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
        raise Invalid(f"at {at}")
    return at + 1
