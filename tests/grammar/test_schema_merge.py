"""What schemas mean when they are put together, against a validator of schemas."""

from __future__ import annotations

import itertools
from typing import Any

import jsonschema
import pytest

from jaxllama.grammar import SchemaError
from jaxllama.grammar.schema_merge import Impossible, excluded, holds, merged
from jaxllama.grammar.schema_types import implied_types, never_valid

ENUM = {"enum": [True, 1, "ab", 2.5, None, [1], [1, 1], {"a": 1}, {"a": "x", "b": 2}]}
SCHEMAS: list[Any] = [
    {"type": "integer"},
    {"type": "number", "minimum": 1},
    {"type": ["number", "string", "null"], "maximum": 2, "maxLength": 2},
    {"type": ["integer", "string", "boolean"], "exclusiveMinimum": 0, "minLength": 1},
    {"minimum": 1, "exclusiveMaximum": 3},
    {"type": ["boolean", "null"]},
    {"const": 1},
    {"const": True},
    {"const": [True]},
    {"const": {"a": 1}},
    ENUM,
    {"enum": [False, "ab", 2, 2.5, []]},
    {"type": "string", "pattern": "b$"},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"enum": [1, True]}, "minItems": 1, "maxItems": 2, "uniqueItems": True},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": False},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"enum": ["x", 1]}], "minItems": 2},
    {"type": "array", "prefixItems": [{"minimum": 1}, {"type": "string"}], "maxItems": 2},
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": [1, "x"]}}, "required": ["a"]},
    {"type": "object", "properties": {"b": {"type": "string"}, "ab": {}}, "required": ["b"], "maxProperties": 2},
    {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False},
    {"type": "object", "properties": {"b": {"const": "x"}}, "additionalProperties": {"type": "integer"}, "minProperties": 2},
    {"type": "object", "patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    {"type": "object", "patternProperties": {"^a": {"minimum": 1}, "b": {"type": ["string", "integer"]}}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "anyOf": [{"required": ["a"]}, {"properties": {"b": {"const": 1}}, "required": ["b"]}]},
    {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 1}]},
    {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]},
    {"allOf": [{"type": "integer"}, {"minimum": 1}]},
    {"not": {"type": "string"}},
    {"not": {"enum": [1, "x"]}, "minimum": 1},
    {"if": {"type": "integer"}, "then": {"minimum": 1}, "else": {"type": "string"}},
    {"if": {"type": "string"}, "then": {"minLength": 2}},
    {"if": {"maximum": 2}, "else": {"type": "string"}},
    {"type": "string", "title": "not said", "description": "at all"},
    {},
    True,
    False,
]
UNSAID = {"prefixItems", "patternProperties", "minProperties", "maxProperties", "if"}  # beside values that are given
NAMES = [repr(schema)[:60] for schema in SCHEMAS]

KEYS = ("a", "b", "ab")
OBJECTS = [{k: v for k, v in zip(KEYS, values, strict=True) if v != ""} for values in itertools.product((1, "x", ""), (1, "x", ""), (1, ""))]
ARRAYS: list[Any] = [list(items) for n in range(3) for items in itertools.product((1, "x", True), repeat=n)]
PLAIN = [None, True, False, -1, 0, 1, 2, 3, 0.5, 2.5, 1.0, "", "x", "ab", "bab", "abcd"]
VALUES = [*PLAIN, *ARRAYS, [1, 1, "x"], [0, "x"], *OBJECTS, {"a": 0, "c": None}, {"a": [1]}, {"c": 1, "d": 2}]


def valid(schema: Any) -> list[bool]:
    validator = jsonschema.Draft202012Validator(schema)
    return [validator.is_valid(value) for value in VALUES]


VALID = [valid(schema) for schema in SCHEMAS]


def as_written(schema: Any) -> Any:
    """A schema as the grammar takes it: keywords imply a type, and objects with properties have no others."""
    if not isinstance(schema, dict) or {"anyOf", "not", "if"} & set(schema):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {**closed, **({"type": kinds} if (kinds := implied_types(schema)) else {}), **schema}


def limits(one: Any, other: Any) -> bool:
    """Whether a schema limits members for which another has patterns."""
    both = isinstance(one, dict) and isinstance(other, dict) and "additionalProperties" in one
    return both and bool(set(other.get("patternProperties", ())) - set(one.get("patternProperties", ())))


@pytest.mark.parametrize("one", range(len(SCHEMAS)), ids=NAMES)
def test_merged_schemas_hold_where_both_do(one):
    for other, schema in enumerate(SCHEMAS):
        if (one < other) == (one + other) % 2:
            continue  # each pair in one order
        if limits(SCHEMAS[one], schema) or limits(schema, SCHEMAS[one]):
            with pytest.raises(SchemaError, match=r"^\$\.patternProperties: another schema limits additionalProperties"):
                merged(SCHEMAS[one], schema, "$")
            continue
        try:
            found = valid(merged(SCHEMAS[one], schema, "$"))
        except Impossible:
            found = [False] * len(VALUES)
        assert found == [a and b for a, b in zip(VALID[one], VALID[other], strict=True)], schema


@pytest.mark.parametrize("one", range(len(SCHEMAS)), ids=NAMES)
def test_nothing_is_valid_under_schemas_that_exclude_each_other(one):
    written = valid(as_written(SCHEMAS[one]))
    for other, schema in enumerate(SCHEMAS):
        assert not never_valid(SCHEMAS[one], schema, lambda s: s) or not any(a and b for a, b in zip(written, VALID[other], strict=True)), schema


@pytest.mark.parametrize("schema", SCHEMAS, ids=NAMES)
def test_values_that_are_given_hold_where_they_are_valid(schema):
    if isinstance(schema, dict) and UNSAID & set(schema):
        with pytest.raises(SchemaError, match="together with enum or const is not supported"):
            holds([1], schema, "$")
    else:
        assert [holds(value, schema, "$") for value in VALUES] == valid(schema)


NUMBERS = {"type": ["string", "number", "array"], "minimum": 1}
OBJECT = {"type": "object", "properties": {"a": {"enum": [1, "x"]}, "b": {"type": "integer"}}, "required": ["b"]}
OBJECTS_TOO = [
    OBJECT,
    {**OBJECT, "type": ["object", "integer"]},
    {**OBJECT, "required": ["a"]},
    {**OBJECT, "required": []},
    {"properties": OBJECT["properties"]},
]
NAMED = [{"required": ["a"]}, {"required": ["b"]}, {"properties": {"a": {"const": 1}}}, {"properties": {"a": {"enum": [1, "x"]}}, "required": ["a"]}]
EXCLUDED = [
    ([ENUM, {"type": ["boolean", "null"]}, {"const": 1}], [s for s in SCHEMAS if isinstance(s, dict) and not UNSAID & set(s)]),
    ([NUMBERS, {"type": ["integer", "null", "string"]}, {}], [{"type": t} for t in ("number", ["array", "string"], ["number", "integer"], "null")]),
    (OBJECTS_TOO, [*NAMED, *({"type": "object", **n} for n in NAMED)]),
    ([{"type": "integer"}, OBJECT], [True, False, {}, {"title": "nothing is said"}]),
]


@pytest.mark.parametrize(("schemas", "excludes"), EXCLUDED, ids=range(len(EXCLUDED)))
def test_what_is_excluded_does_not_hold(schemas, excludes):
    for schema, what in itertools.product(schemas, excludes):
        try:
            found = valid(excluded(schema, what, "$"))
        except Impossible:
            found = [False] * len(VALUES)
        assert found == [a and not b for a, b in zip(valid(schema), valid(what), strict=True)], (schema, what)
