"""Which types keywords are about, and whether two schemas exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .schema_merge import Schema, SchemaError, finite, holds, type_of, types_of

KNOWN = {
    "object": {
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "minProperties",
        "maxProperties",
        "propertyNames",
        "unevaluatedProperties",
    },
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "additionalItems", "contains", "minContains", "unevaluatedItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format"},
    "boolean": set(),
    "null": set(),
}


def never_valid(a: Any, b: Any, followed: Callable[[Any], Any]) -> bool:
    """Whether nothing that the grammar of `a` writes is valid under `b`, as far as that is easy to see. `followed` follows references."""
    if not isinstance(a, Mapping) or not isinstance(b, Mapping):
        return a is False or b is False
    values = finite(a)
    if values is not None:
        with suppress(SchemaError):
            return not any(holds(v, b, "$") for v in values)
    plain = not set(a) & {"$ref", "allOf", "anyOf", "oneOf", "not", "if"}
    kinds, others = types_of(a) or (implied_types(a) if plain else []), types_of(b)
    if kinds and others and not any(k == o or {k, o} == {"integer", "number"} for k in kinds for o in others):
        return True
    if (allowed := finite(b)) is not None:
        return bool(kinds) and not any(type_of(v) in kinds or (type_of(v) == "integer" and "number" in kinds) for v in allowed)
    if kinds == ["object"]:
        mine, theirs = a.get("properties", {}), b.get("properties", {})
        closed = a.get("additionalProperties", not mine) is False and "patternProperties" not in a and plain
        if closed and any(r not in mine for r in b.get("required", ())):
            return True
        if b.get("additionalProperties") is False and "patternProperties" not in b and any(r not in theirs for r in a.get("required", ())):
            return True
        return any(never_valid(followed(mine[r]), followed(theirs[r]), followed) for r in a.get("required", ()) if r in mine and r in theirs)
    return False


def implied_types(schema: Schema) -> list[str]:
    """The types that a schema's keywords are about."""
    return [k for k in ("object", "array", "string", "number") if (KNOWN[k] - {"format"}) & set(schema)]


def kinds_of(schema: Any) -> set[str]:
    """The types of the values that a grammar writes for a schema; empty where that is not easy to see."""
    if not isinstance(schema, Mapping):
        return set()
    values = finite(schema)
    return {type_of(v) for v in values} if values is not None else set(types_of(schema) or implied_types(schema))
