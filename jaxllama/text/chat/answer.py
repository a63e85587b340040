"""What an answer consists of, and how the marks in it are found while it is being written.

A reader of a part says where that part ends, or None where that is not known yet. Text that may still turn out to be (part of) a mark is held back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from .partial_json import Invalid, Span, scan


@dataclass
class Call:
    """A call of a tool: its name, its arguments as JSON text (which may be unfinished), and an id where the model wrote one."""

    name: str
    arguments: str = ""
    id: str = ""


@dataclass
class Parsed:
    """What an answer consists of."""

    content: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)


def past_space(text: str, at: int) -> int:
    """Where white space ends."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def past_mark(text: str, at: int, mark: str) -> int | None:
    """Where a mark at a place ends, with any white space between its parts; 0 where it does not stand there, None where the text ends before that is known."""
    for number, part in enumerate(mark.split()):
        at = past_space(text, at) if number else at
        if not text.startswith(part, at):
            return None if part.startswith(text[at:]) else 0
        at += len(part)
    return at


@lru_cache(maxsize=256)
def _patterns(marks: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Expressions for any of some marks, and for the beginning of one at the end of a text."""
    whole, begun = [], []
    for mark in sorted(filter(None, marks), key=len, reverse=True):
        parts = mark.split()
        whole.append(r"\s*".join(map(re.escape, parts)))
        letters = [r"\s*" * (not n and number > 0) + re.escape(c) for number, part in enumerate(parts) for n, c in enumerate(part)]
        begun.append("(?:".join(letters) + ")?" * (len(letters) - 1))
    nothing = ["(?!)"]
    return re.compile("|".join(whole or nothing)), re.compile(rf"(?:{'|'.join(begun or nothing)})\s*\Z")


def find_mark(text: str, at: int, marks: Iterable[str], *, final: bool) -> tuple[int, int | None]:
    """Where the first of some marks begins and ends; where there is none, from where on the text may still be one, and None."""
    whole, begun = _patterns(tuple(marks))
    if found := whole.search(text, at):
        return found.span()
    maybe = None if final else begun.search(text, at)
    return maybe.start() if maybe else len(text), None


def held(text: str, marks: Sequence[str], *, final: bool) -> str:
    """The text that is certain to come before marks that have not come yet."""
    return text if final else text[: find_mark(text, 0, marks, final=False)[0]].rstrip()


def scanned(text: str, at: int) -> tuple[Span | None, int | None]:
    """The value that begins at a place, whole or not; and where it stops being JSON, if it does."""
    try:
        return scan(text, at), None
    except Invalid as error:
        return error.span, error.at


def read_arguments(text: str, at: int, marks: Sequence[str], *, final: bool) -> tuple[str, int | None]:
    """Arguments, which are JSON up to one of some marks, and where they end.

    Where they are no JSON, or not all of it, whoever runs the tool is shown what it was given. While a string is open, the mark may still be a part of it.
    """
    span, bad = scanned(text, at)
    if span is not None and span.end is not None:
        return span.text(text), span.end
    at = past_space(text, at)
    stop, end = find_mark(text, at, marks, final=final)
    if end is None:
        return text[at:stop] if final else text[at:stop].rstrip(), None
    return text[at:stop], stop if final or bad is not None else None


def as_json(value: object) -> str:
    """JSON with all letters as they are."""
    return json.dumps(value, ensure_ascii=False)
