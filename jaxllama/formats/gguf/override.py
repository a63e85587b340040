"""`--override-kv KEY=TYPE:VALUE,...`: metadata given by the user instead of the file's."""

from __future__ import annotations

from .errors import GGUFError
from .reader import Field
from .types import ValueType

_TYPES = {"int": ValueType.INT64, "float": ValueType.FLOAT64, "bool": ValueType.BOOL, "str": ValueType.STRING}


def parse_overrides(text: str) -> list[Field]:
    """Fields from llama.cpp's notation; TYPE is int, float, bool or str. A comma inside a str value is written `\\,`."""
    if not isinstance(text, str):
        raise TypeError(f"expected KEY=TYPE:VALUE as a text, found {text!r}")
    found = []
    for part in text.replace("\\,", "\0").split(","):
        part = part.replace("\0", ",")
        key, equals, rest = part.partition("=")
        kind, colon, value = rest.partition(":")
        if not (key and equals and colon and kind in _TYPES):
            raise GGUFError("--override-kv", part, expected="KEY=TYPE:VALUE with TYPE int, float, bool or str", found=repr(part))
        try:
            found.append(Field(key, _TYPES[kind], _value(kind, value)))
        except ValueError:
            raise GGUFError("--override-kv", key, expected=f"a value of type {kind}", found=repr(value)) from None
    return found


def _value(kind: str, text: str) -> int | float | bool | str:
    if kind in ("int", "float") and ("_" in text or not text.isascii()):  # which Python would read
        raise ValueError(text)
    if kind == "int":
        return int(text, 0)
    if kind == "float":
        return float(text)
    if kind == "bool":
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    return text
