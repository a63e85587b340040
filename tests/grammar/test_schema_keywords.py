"""Every keyword of JSON schemas: the grammar accepts exactly the values that a validator accepts."""

# ruff: noqa: E501  schemas are long

from __future__ import annotations

import itertools
import json
from typing import Any

import jsonschema
import pytest

from jaxllama.grammar import Grammar

PLAIN = [None, True, False, *range(-2, 12), 25, 100, -0.5, 0.5, 1.5, 2.25, 7.75, "", "x", "b", "ab", "abc", "abcd", "é", "\n", '"', "2024-02-29", "2024-02-28"]
ARRAYS = [list(items) for n in range(4) for items in itertools.product((1, "x", None), repeat=n)]
OBJECTS = [
    {k: v for k, v in zip(("a", "b", "ab", "x_1"), values, strict=True) if v}
    for values in itertools.product((1, "x", None), (1, "x", None), (1, None), (1, "x", None))
]
VALUES = [*PLAIN, *ARRAYS, *OBJECTS, [[1]], [{"a": 1}], {"a": {"b": 1}}, {"a": [1, 1]}]

REFERRED = {"$defs": {"int": {"type": "integer"}, "a/b~c": {"enum": ["x"]}, "two": {"allOf": [{"$ref": "#/$defs/int"}, {"minimum": 1}]}}}
A, B = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"type": "object", "properties": {"b": {"type": "string"}}}
OPEN = {"additionalProperties": True}
CLOSED = {"additionalProperties": False}

EXACT: list[Any] = [
    {}, True, {"type": "object", "title": "t"}, {"type": "array"}, {"type": "string"}, {"type": "number"}, {"type": "integer"}, {"type": "boolean"}, {"type": "null"},
    {"type": ["number", "integer", "null"]}, {"type": ["array", "string"], "maxLength": 2, "maxItems": 1}, {"const": True}, {"const": "ab"}, {"enum": [1, "x", [1], {"a": 1}]},
    # numbers
    {"type": "integer", "minimum": 1, "exclusiveMaximum": 8}, {"type": "integer", "exclusiveMinimum": 0.5, "maximum": 7.5}, {"type": "integer", "exclusiveMinimum": 1}, {"type": "integer", "maximum": 3},
    {"type": "number", "minimum": 0.5, "maximum": 7.75}, {"type": "number", "exclusiveMinimum": 0.5, "exclusiveMaximum": 7.75}, {"minimum": 2}, {"exclusiveMaximum": 2}, {"type": "integer", "minimum": 1, "exclusiveMinimum": 1},
    {"type": "number", "maximum": 2, "exclusiveMaximum": 2}, {"type": "integer", "minimum": 5, "maximum": 5},
    # strings
    {"type": "string", "minLength": 2}, {"minLength": 1, "maxLength": 3}, {"maxLength": 0}, {"pattern": "b"}, {"pattern": "^ab?$"}, {"type": "string", "pattern": "^[^a]"}, {"format": "unheard-of", "type": "string"},
    # arrays
    {"items": {"type": "integer"}}, {"type": "array", "items": {"enum": [1, "x"]}, "minItems": 1, "maxItems": 2}, {"type": "array", "minItems": 2}, {"maxItems": 1}, {"maxItems": 0},
    {"type": "array", "items": False}, {"type": "array", "items": {"allOf": [{"type": "null"}, {"type": "string"}]}},
    {"type": "array", "prefixItems": [{"type": "integer"}], "minItems": 1, "items": False}, {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}, "minItems": 1}, {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}, "minItems": 3},
    {"prefixItems": [{"type": "integer"}, {}], "items": {"type": "string"}, "minItems": 2, "maxItems": 2}, {"prefixItems": [{"type": "integer"}, {}, {}, {}], "minItems": 2, "maxItems": 2, "items": {}},
    {"items": {"enum": [1, "x", None]}, "uniqueItems": True}, {"items": {"enum": [1, "x", None]}, "uniqueItems": True, "minItems": 2}, {"items": {"enum": [1, "x", None]}, "uniqueItems": True, "minItems": 1, "maxItems": 2},
    {"items": {"enum": [1, "x"]}, "uniqueItems": False}, {"type": "array", "items": False, "uniqueItems": True}, {"items": {"type": "integer"}, "uniqueItems": True, "maxItems": 1}, {"items": {"const": 1}, "uniqueItems": True, "maxItems": 0}, {"items": {"$ref": "#/$defs/v"}, "uniqueItems": True, "$defs": {"v": {"enum": [1, "x"]}}},
    # objects
    {"properties": {"a": {"type": "integer"}}, **CLOSED}, {"properties": {"a": {}, "b": {"type": "string"}, "ab": {}}, "required": ["a"], **CLOSED}, {"properties": {"a": {}, "b": {}, "ab": {}}, "required": ["a", "ab"], **CLOSED},
    {"properties": {"a": {}, "b": {}}, "additionalProperties": {"type": "integer"}}, {"properties": {"a": {}, "b": {}}, "required": ["b"], **OPEN}, {"properties": {"ab": {}}, "required": ["ab", "b"], "additionalProperties": {"const": 1}},
    {"properties": {"a": False, "b": {}}, **OPEN}, {"properties": {"a": False}, **CLOSED}, {"additionalProperties": {"type": "integer"}}, {"type": "object", **CLOSED}, {"type": "object", "required": ["a"]}, {"type": "object", "minProperties": 1}, {"maxProperties": 0},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2}, {"properties": {"a": {}, "b": {}}, "maxProperties": 2, **CLOSED}, {"properties": {"a": {}}, "required": ["a"], "minProperties": 1, **CLOSED},
    {"patternProperties": {"^x": {"type": "integer"}}, **CLOSED}, {"properties": {"a": False, "b": {}}, "patternProperties": {"^x": {"const": 1}}, **CLOSED}, {"patternProperties": {"^x": {"const": 1}, "^a": False, "^b": {"type": "string"}}, **CLOSED},
    # put together
    {"anyOf": [{"type": "integer", "maximum": 2}, {"type": "string"}]}, {"anyOf": [{"const": 1}, {"type": "null"}, False], "title": "t"}, {"type": ["integer", "null"], "anyOf": [{"minimum": 3}, {"type": "null"}]},
    {"oneOf": [{"type": "integer"}, {"type": "string"}, {"type": "array", "items": {"type": "null"}}]}, {"oneOf": [{**A, **CLOSED}, {**B, "required": ["b"], **CLOSED}]},
    {"oneOf": [{"properties": {"a": {"const": v}}, "required": ["a"], **CLOSED} for v in (1, "x")]}, {"oneOf": [{"enum": ["ab", "b"]}, {"enum": ["x"]}]}, {"oneOf": [{"type": "integer"}, {"enum": ["x", None]}]}, {"oneOf": [{**B, **CLOSED}, {**A, **CLOSED}]},
    {"oneOf": [{"const": 1, "maximum": 2}, {"type": "string", "pattern": "b"}]}, {"allOf": [{"type": "integer"}, {"minimum": 2}, {"maximum": 5}]}, {"allOf": [A, B], "properties": {"ab": {}}}, {"allOf": [{"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"anyOf": [{"minimum": 2, "type": "integer"}, {"type": "string"}]}]},
    {"allOf": [{"allOf": [{"type": "string"}, {"minLength": 1}]}, {"not": {"const": "x"}, "enum": ["x", "b", ""]}]}, {"allOf": [{"not": {"type": "string"}}, {"type": ["string", "null", "integer"]}]},
    {"type": ["integer", "string"], "if": {"type": "integer"}, "then": {"maximum": 5}, "else": {"maxLength": 1}},
    {"enum": [1, 2, 3, "x"], "if": {"type": "string"}, "else": {"minimum": 2}}, {"enum": [1, "x"], "if": {"type": "string"}, "then": False}, {"enum": [1, 2, None], "if": {"type": "null"}, "then": {"const": 3}},
    {"type": ["integer", "string"], "minimum": 5, "maximum": 4}, {"type": ["object", "integer"], "required": ["a"], "not": {"type": "object", "required": ["a"]}},
    {"not": {"type": ["object", "array"]}}, {"enum": [1, 2, "x"], "not": {"const": 2}}, {"type": "boolean", "not": {"const": True}},
    # references
    {"$ref": "#/$defs/int", **REFERRED}, {"$ref": "#/$defs/a~1b~0c", **REFERRED}, {"$ref": "#/$defs/two", "maximum": 4, **REFERRED}, {"items": {"$ref": "#/$defs/two"}, **REFERRED}, {"$ref": "#/$defs/two/allOf/1", "type": "integer", **REFERRED},
    {"anyOf": [{"$ref": "#/$defs/int"}, {"$ref": "#/$defs/a~1b~0c"}], **REFERRED}, {"properties": {"a": {"$ref": "#"}, "b": {}}, **CLOSED}, {"$ref": "#/$defs/int", "description": "said beside it", **REFERRED}, {"allOf": [{"$ref": "#/$defs/int", "maximum": 4}], "minimum": 1, **REFERRED},
    {"not": {"$ref": "#/$defs/a~1b~0c"}, "enum": ["x", "ab"], **REFERRED}, {"enum": ["x", 1], "if": {"$ref": "#/$defs/int"}, "then": {"$ref": "#/$defs/two"}, "else": {"$ref": "#/$defs/int"}, **REFERRED},
]  # fmt: skip


ABOUT = {"number": ("minimum", "exclusiveMaximum"), "string": ("minLength", "maxLength", "pattern"), "array": ("items", "maxItems", "prefixItems"), "object": ("properties", "additionalProperties", "patternProperties", "maxProperties")}  # fmt: skip


def as_written(schema: Any) -> Any:
    """A schema for a validator: a keyword implies its type, and properties that nobody names are not allowed."""
    if not isinstance(schema, dict):
        return schema
    closed = {"unevaluatedProperties": False} if "allOf" in schema else {}
    kinds = [kind for kind, keys in ABOUT.items() if set(keys) & set(schema) and "$ref" not in schema]
    return {**closed, **({"type": kinds[0]} if kinds else {}), **schema}


@pytest.mark.parametrize(
    ("schema", "any_order"), [*((s, False) for s in EXACT), *((s, True) for s in EXACT if "properties" in repr(s))], ids=lambda s: repr(s)[:60]
)
def test_exactly_the_valid_values_are_accepted(schema, any_order):
    validator = jsonschema.Draft202012Validator(as_written(schema))
    grammar = Grammar.from_json_schema(schema, any_order=any_order)
    for value in VALUES:
        orders = map(dict, itertools.permutations(value.items())) if isinstance(value, dict) else [value]
        assert any(grammar.accepts(json.dumps(v, ensure_ascii=False)) for v in orders) == validator.is_valid(value), value
