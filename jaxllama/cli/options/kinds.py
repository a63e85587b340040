"""The values that options take: how each kind is read from the command line or a variable, and what an error says of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_WHOLE = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LEAST, _MOST = -(2**31), 2**31 - 1
_SMALLEST, _LARGEST = 1.1754944e-38, 3.4028235e38  # of float32, beside 0


class Explained(ValueError):
    """A value cannot be; the text says why."""


class NotYet(ValueError):
    """A value asks for a capability that is still to come; the text is the capability, with its verb: "speculative decoding is"."""


@dataclass(frozen=True)
class Kind:
    """The values that an option takes.

    Attributes:
        read: makes one of its text; a ValueError or NotYet where it is none.
        expected: what they are, for errors.
        metavar: what `--help` shows in a value's place.
        files: whether they are paths, for a shell's completion.
        empty: whether a variable that is set to nothing counts as not set; elsewhere it is a value that cannot be.
    """

    read: Callable[[str], Any]
    expected: str
    metavar: str = "N"
    files: bool = False
    empty: bool = False


def whole_number(text: str) -> int:
    """A whole number as it is written in C: `int` alone also takes underscores, white space and the digits of all scripts.

    Raises:
        ValueError: it is none.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def real_number(text: str) -> float:
    """A finite number that float32 can hold, likewise.

    Raises:
        ValueError: it is none.
    """
    if not _REAL.fullmatch(text):
        raise ValueError(text)
    size = abs(value := float(text))
    if size > _LARGEST or 0 < size < _SMALLEST:
        raise Explained(f"expected a finite number that float32 can hold (0, or {_SMALLEST:g} to {_LARGEST:g} in size), found {text!r}")
    return value


def whole(least: int = _LEAST, most: int = _MOST) -> Kind:
    """Whole numbers from `least` to `most`."""
    exactly = f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        if not least <= (number := whole_number(text)) <= most:
            raise Explained(f"expected {exactly}, found {text!r}")
        return number

    limit = f" of at least {least}" if least > _LEAST else ""
    return Kind(read, f"a whole number{limit}" if most >= _MOST else exactly)


def real(least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf) -> Kind:
    """Finite numbers of float32, from `least` to `most`, above `above`."""

    def read(text: str) -> float:
        if not (least <= (value := real_number(text)) <= most and value > above):
            raise ValueError(text)
        return value

    limit = f" of at least {least:g}" if least > -math.inf else ""
    limit = f" from {least:g} to {most:g}" if most < math.inf else f" above {above:g}" if above > -math.inf else limit
    return Kind(read, f"a finite number{limit}")


def one_of(*names: str, later: Mapping[str, str] = {}, metavar: str | None = None, others: str = "") -> Kind:
    """Some words.

    Args:
        later: words of llama.cpp's, and the capability that each waits for.
        others: words that are taken too, without being shown.
    """

    def read(text: str) -> str:
        if text in later:
            raise NotYet(later[text])
        if text not in names and text not in others.split():
            raise ValueError(text)
        return text

    return Kind(read, f"one of {', '.join(names)}", metavar or "|".join(names))


def matching(pattern: str, expected: str) -> Kind:
    """Texts of a form that nothing here reads further."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Kind(read, expected)


def text(metavar: str) -> Kind:
    """Any text."""
    return Kind(str, "a text", metavar, empty=True)


def path(metavar: str = "FNAME") -> Kind:
    """A file's path."""
    return Kind(str, "a path", metavar, files=True, empty=True)


def _truth(text: str) -> bool:
    if text.lower() in ("1", "on", "true", "yes", "enabled"):
        return True
    if text.lower() in ("0", "off", "false", "no", "disabled"):
        return False
    raise ValueError(text)


SWITCH = Kind(_truth, "on or off", "")
