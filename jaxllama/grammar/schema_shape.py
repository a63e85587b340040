"""Whether a JSON schema is one: every keyword's value has the shape that its meaning needs.

A table of its own, and no validator of meta-schemas: it costs no dependency, and says the keyword and the place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .schema_merge import TYPES, SchemaError

_SCHEMA = frozenset("additionalItems additionalProperties contains else if items not propertyNames then unevaluatedItems unevaluatedProperties".split())
_SCHEMAS = frozenset("allOf anyOf oneOf prefixItems".split())
_NAMED = frozenset("$defs definitions dependentSchemas patternProperties properties".split())


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and (isinstance(value, int) or math.isfinite(value))


_MOST = 2**64 - 1  # repetitions that GBNF can say


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _json(value: Any) -> bool:
    """Whether a value can be written as JSON: no NaN, no bytes, no key that is no text."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _json(part) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_json, value))
    return value is None or isinstance(value, (str, bool)) or _number(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), ("a number", _number)),
    "multipleOf": ("a number above 0", lambda v: _number(v) and v > 0),
    **{f"{m}{of}": ("a whole number from 0 to 2^64 - 1", _count) for m in ("min", "max") for of in ("Length", "Items", "Properties", "Contains")},
    **dict.fromkeys(("uniqueItems", "nullable"), ("true or false", lambda v: isinstance(v, bool))),
    **dict.fromkeys(("pattern", "format", "$ref", "$id", "$anchor"), ("a text", lambda v: isinstance(v, str))),
    "required": ("a list of texts", _texts),
    "enum": ("a list of JSON values", lambda v: isinstance(v, list) and _json(v)),
    "const": ("a JSON value", _json),
    "dependentRequired": ("an object of lists of texts", lambda v: isinstance(v, Mapping) and all(map(_texts, v.values()))),
    "type": (f"one of {', '.join(TYPES)}, or a list of some", lambda v: v in TYPES if isinstance(v, str) else _texts(v) and v and set(v) <= set(TYPES)),
}


def check_shape(schema: Any, path: str = "$") -> None:
    """Complain about keywords whose value has the wrong type.

    Raises:
        SchemaError: with the place, the keyword and what it takes.
    """
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise SchemaError(f"{path}: expected a schema (an object, true or false), found {_shown(schema)}")
    for key, value in schema.items():
        where = f"{path}.{key}"
        if not isinstance(key, str):
            raise SchemaError(f"{path}: expected texts as keywords, found {_shown(key)}")
        if key in _KINDS and not _KINDS[key][1](value):
            raise SchemaError(f"{where}: expected {_KINDS[key][0]}, found {_shown(value)}")
        if key in _SCHEMA and not (key == "items" and isinstance(value, list)):
            check_shape(value, where)
        elif key in _SCHEMAS or key == "items":
            if not isinstance(value, Sequence) or isinstance(value, str) or (not value and key in ("allOf", "anyOf", "oneOf")):
                raise SchemaError(f"{where}: expected a list of schemas, found {_shown(value)}")
            for number, part in enumerate(value):
                check_shape(part, f"{where}[{number}]")
        elif key in _NAMED:
            if not isinstance(value, Mapping):
                raise SchemaError(f"{where}: expected an object of schemas, found {_shown(value)}")
            for name, part in value.items():
                check_shape(part, f"{where}.{name}")
    for least, most in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties"), ("minContains", "maxContains")):
        if {least, most} <= set(schema) and schema[least] > schema[most]:
            raise SchemaError(f"{path}: expected {least} <= {most}, found {schema[least]} and {schema[most]}")


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:100]
