"""Strings and numbers of a JSON schema as GBNF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from .gbnf import Rules
from .intersect import intersected
from .number_range import DIGITS, EXPONENT, MOST_MULTIPLES, PLACES, integers, multiples, numbers
from .reader import GrammarError
from .regex import read_regex, written
from .schema_members import PLAIN
from .schema_merge import Impossible, SchemaError
from .string_formats import FORMATS

CHAR = rf'[^{PLAIN}] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{{4}})'
_WHOLE = f'"-"? ([0-9] | [1-9] [0-9]{{1,{DIGITS - 1}}})'
PRIMITIVES = {
    "boolean": '"true" | "false"',
    "null": '"null"',
    "integer": _WHOLE,
    "number": f'{_WHOLE} ("." [0-9]{{1,{PLACES}}})? {EXPONENT}',
    "string": r'"\"" char* "\""',
}
_UNSAID = frozenset("idn-email idn-hostname iri iri-reference uri-template".split())
_LARGEST = 2**1024  # what no double holds

Say = Callable[[str, str, str], None]
"""Complains about a keyword of a path, with a reason, unless it may be left out."""


def string_rule(rules: Rules, schema: Mapping[str, Any], name: str, path: str, say: Say) -> str:
    """A rule for the strings of a schema: their pattern, format and length."""
    low, high = limits(schema, "minLength", "maxLength")
    nodes = []
    if schema.get("format") in _UNSAID:
        say("format", path, f"the format {schema['format']!r} is not supported in a grammar")
    for key in ("pattern", "format"):
        text = FORMATS.get(schema.get(key, "")) if key == "format" else schema.get(key)
        if text is not None:
            try:
                nodes.append(read_regex(text, anchored=key == "format"))
            except GrammarError as error:
                say(key, path, str(error))
    if not nodes:
        return rules.add(name, f'"\\"" char{_times(low, high)} "\\""') if low or high is not None else rules.add("string", PRIMITIVES["string"])
    if len(nodes) == 1 and not low and high is None:
        return rules.add(name, f'"\\"" {written(nodes[0], quoted=True)} "\\""')
    try:
        text = intersected(rules, nodes, low, high, f"{name}-text")
    except GrammarError as error:
        raise SchemaError(f"{path}: {error}") from None
    if text is None:
        raise Impossible
    return rules.add(name, f'"\\"" {text} "\\""')


def number_rule(rules: Rules, schema: Mapping[str, Any], kind: str, name: str, path: str, say: Say) -> str:
    """A rule for the numbers of a schema: an "integer" or a "number" between limits, and multiples."""
    keys = [k for k in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if k in schema]
    multiple = Decimal(str(schema["multipleOf"])) if "multipleOf" in schema else None
    if not keys and multiple is None:
        return rules.add(kind, PRIMITIVES[kind])
    for key in keys:
        if not abs(schema[key]) < _LARGEST:
            raise SchemaError(f"{path}.{key}: expected a number that a double can hold, found {json.dumps(schema[key])[:100]}")
    exact = {k: Decimal(str(schema[k])) for k in keys}
    low = max(((exact[k], k.startswith("ex")) for k in ("minimum", "exclusiveMinimum") if k in exact), default=(None, False))
    high = min(((exact[k], not k.startswith("ex")) for k in ("maximum", "exclusiveMaximum") if k in exact), default=(None, True))
    below = not high[1]
    if multiple is not None:
        made = multiples(multiple, low[0], high[0], above=low[1], below=below, whole=kind == "integer")
        if made is None:
            say(
                "multipleOf",
                path,
                f"numbers between limits of which there are at most {MOST_MULTIPLES}, or 1, 0.1, 0.01 and so on, are supported in a grammar",
            )
        body = made or ""
    elif kind == "number":
        body = numbers(low[0], high[0], above=low[1], below=below)
    else:
        first = None if low[0] is None else int(low[0].to_integral_value("ROUND_CEILING"))
        last = None if high[0] is None else int(high[0].to_integral_value("ROUND_FLOOR"))
        first = first + 1 if first is not None and low[1] and first == low[0] else first
        last = last - 1 if last is not None and below and last == high[0] else last
        body = integers(first, last)
    if not body:
        raise Impossible
    return rules.add(name, body)


def limits(schema: Mapping[str, Any], least: str, most: str) -> tuple[int, int | None]:
    """The least and the most of something."""
    low, high = schema.get(least, 0), schema.get(most)
    if high is not None and high < low:
        raise Impossible
    return low, high


def _times(low: int, high: int | None) -> str:
    return f"{{{low},{'' if high is None else high}}}"
