"""What people's schemas showed: each with values that its grammar takes, and values that it does not."""

# ruff: noqa: E501  schemas are long

from __future__ import annotations

import json
from typing import Any

import pytest

from jaxllama.grammar import Grammar, SchemaError


def members(*names: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "integer"} for name in names}, **more}


NOTHING = {"allOf": [{"type": "string"}, {"type": "integer"}]}
NULLS = {name: {"type": "null"} for name in "bac"}
OTHERS = {"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
SAFE, INT64 = 2**53 - 1, 2**63
LISTED = {"type": "array", "items": {"type": "integer"}, "contains": {"const": 1}}
ELSEWHERE = {"$id": "http://e.x/s", "$defs": {"o": {"$id": "other", "$ref": "#/$defs/i", "$defs": {"i": {"type": "integer"}}}}}
# A schema, what is taken, and what is not: texts, or values that are written as Python writes JSON.
CASES: list[tuple[Any, list[Any], list[Any]]] = [
    # numbers
    ({"type": "number"}, ["1e100", "1e-05", "-1.5E+20", "0.000001234567890123456", "123456789012345678901", "-0.0"], ["01", "1.", ".5", "1e"]),
    ({"type": "number", "minimum": 0, "maximum": 1}, ["0", "-0", "0.0", "-0.00", "0e5", "-0.0E-12", "1", "1.0", "1.000", "0.5"], ["1.01", "-0.1", "00"]),
    ({"type": "integer", "minimum": -5}, ["-0", "-5", "0", "123456789012345678901"], ["-6", "5.0"]),
    ({"type": "integer", "minimum": -SAFE, "maximum": SAFE}, [SAFE, -SAFE, 0], [SAFE + 1, -SAFE - 1]),
    ({"type": "integer", "minimum": -INT64, "maximum": INT64 - 1}, [INT64 - 1, -INT64], [INT64, -INT64 - 1]),
    ({"type": "number", "exclusiveMinimum": -INT64, "maximum": 1e308}, [INT64, "1" + "0" * 308, "-9223372036854775807.5"], [-INT64, "1" + "0" * 309]),
    ({"type": "number", "minimum": 5e-324, "maximum": 1}, ["0." + "0" * 323 + "5", "0.1"], ["0", "0." + "0" * 323 + "4"]),
    ({"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100}, [0, 5, 100], [4, 105]),
    ({"type": "number", "multipleOf": 0.01}, ["5", "0.12", "-3.1"], ["0.123"]),
    ({"type": "number", "minimum": 0, "exclusiveMinimum": 0, "maximum": 1, "multipleOf": 0.01}, ["0.05", "0.10", "1", "0.01"], ["0", "0.00", "0.001", "1.01"]),
    ({"type": "number", "multipleOf": 0.5, "minimum": -1, "exclusiveMaximum": 1}, ["0.5", "0.0", "-1.0"], ["0.25", "1.0"]),
    ({"type": "integer", "multipleOf": 0.5, "minimum": 2.5}, [3], [2]),
    ({"type": "integer", "multipleOf": 1.5, "minimum": 0, "maximum": 9}, [0, 3, 9], [1, 12]),
    ({"enum": [1, 1.5, 3], "multipleOf": 1.5}, [1.5, 3], [1]),
    ({"enum": [1, 2], "const": 2}, [2], [1]),
    # white space
    (members("a"), ['{\n\n  "a" : 1\n}', '{ "a":1 }', "{}", "{ }"], ['{"a":1} ', '{"a":1}\n', '{  "a":1}', '{\n\n\n"a":1}', '{"a"  :1}']),
    ({}, ['[1,\n 2 ]'], ["[1 , 2]", "[1]\n", "{\"a\" : 1}"]),
    ({"enum": [{"a": [1, {}], "b": "x y"}]}, ['{"a":[1,{}],"b":"x y"}', '{ "a" : [1, {\n}\n ],\n\n\t"b": "x y"}'], ['{"b":"x y","a":[1,{}]}', '{"a":[1,{}] ,"b":"x y"}']),
    # order
    ({"properties": NULLS, "required": ["a"]}, ['{"b":null,"a":null,"c":null}', '{"a":null}', '{"a":null,"c":null}'], ['{"a":null,"b":null}', '{"b":null}', "{}"]),
    ({"properties": NULLS, "required": ["b", "c"]}, ['{"b":null,"a":null,"c":null}', '{"b":null,"c":null}'], ['{"b":null}', '{"c":null,"b":null}']),
    ({"properties": NULLS, "additionalProperties": {"const": 1}}, ['{"b":null,"c":null,"x":1,"y":1}', '{"c":null,"x":1}', '{"x":1,"y":1}', "{}"], ['{"x":1,"b":null}', '{"x":1,}']),
    # keys
    (OTHERS, ['{"a": 1, "x\\ny": "v"}', '{"\\u0062":"x"}', '{"\\u00e9\\"":"x"}', '{"\\\\":"x"}'], ['{"\\u0061":"x"}', '{"a":"x"}', '{"\\x":"x"}']),
    ({"properties": {"a\n": {}, "\x01": {"const": 3}, "🦙": {}}, "additionalProperties": {"const": 1}}, ['{"a\\t":1}', '{"\\u0001x":1}', '{"\\ud83f":1}'], ['{"a\\u000a":1}', '{"\\u0001":2}', '{"\\ud83e\\udd99":1}']),
    ({"type": "object", "propertyNames": {"type": "string"}}, [{"b": None}, {}], []),
    ({"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}}, [{"b": 1}, {}], [{"c": 1}, {"b": "x"}]),
    ({"propertyNames": {"pattern": "^x"}, "additionalProperties": {"type": "integer"}}, [{"xb": 1}, {}], [{"c": 1}]),
    ({"propertyNames": {"maxLength": 2}, "additionalProperties": {"type": "integer"}}, [{"xb": 1}, {}], [{"xbc": 1}]),
    ({"propertyNames": {"pattern": "^x"}, "properties": {"xa": {"type": "integer"}, "b": {}}}, [{"xa": 1}, {}], [{"b": 1}]),
    ({"propertyNames": {"enum": ["a", "b"]}, "properties": {"a": {"type": "integer"}}, "additionalProperties": {"const": 2}}, [{"a": 1, "b": 2}], [{"a": "x"}, {"c": 2}]),
    ({"type": "object", "propertyNames": False}, [{}], [{"a": 1}]),
    ({"type": "object", "propertyNames": NOTHING}, [{}], [{"a": 1}]),
    ({"type": "object", "propertyNames": NOTHING, "properties": {"a": {}}}, [{}], [{"a": 1}]),
    ({"anyOf": [{"type": "object", "propertyNames": NOTHING}, {"type": "array"}]}, [{}, [1]], [{"a": 1}]),
    ({"oneOf": [{"required": ["a"], "properties": {"a": False}}, {"type": "object"}]}, [{}, {"b": 1}], [[]]),
    ({"oneOf": [{"required": ["a"], "properties": {"a": False}}, {"enum": [{"b": 1}]}]}, [{"b": 1}], [[]]),
    # together
    ({"allOf": [members("a"), {"anyOf": [members("c"), members("d")]}]}, [{"a": 1, "c": 1, "d": 2}, {"a": 1, "d": 1}, {"c": 1}], [{"a": 1, "x": 1}, {"c": "x"}]),
    ({"allOf": [members("a"), {"anyOf": [members("c", required=["c"]), members("d", required=["d"])]}]}, [{"c": 1, "d": 2}, {"a": 1, "d": 1}], [{"a": 1}]),
    ({"properties": {"a": {}}, "required": ["a", "b"]}, [{"a": 1, "b": [1]}], [{"a": 1}, {"b": 1}]),
    ({"patternProperties": {"^b": {"type": "integer"}}, "required": ["a"]}, [{"a": "x", "b": 1}, {"a": 1}], [{"a": 1, "b": "x"}, {}]),
    ({"properties": {"a": {}}, "additionalProperties": {"not": {}}}, [{"a": 1}, {}], [{"b": 1}]),
    ({"properties": {"a": {"not": {}}, "b": {"type": "null"}}}, [{"b": None}, {}], [{"a": 1}]),
    ({"properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 1}, {"b": 1}, {}], [{"a": 1}]),
    ({"properties": {"a": {}, "b": {}}, "dependentSchemas": {"a": {"properties": {"b": {"const": 1}}}}}, [{"a": 1, "b": 1}, {"b": 2}], [{"a": 1, "b": 2}]),
    ({"properties": {"a": {}}, "unevaluatedProperties": False}, [{"a": 1}, {}], [{"b": 1}]),
    ({"type": "object", "unevaluatedProperties": False}, [{}], [{"b": 1}]),
    ({"allOf": [members("a")], "properties": {"b": {}}, "unevaluatedProperties": False}, [{"b": 2, "a": 1}], [{"c": 1}]),
    ({"type": "string", "nullable": True}, [None, '"x"'], [1]),
    ({"$ref": "#/$defs/i", "nullable": True, "$defs": {"i": {"type": "integer", "nullable": False}}}, [None, 1], ['"x"']),
    (LISTED, [[1], [2, 1], [2, 1, 3]], [[], [2]]),
    ({**LISTED, "minItems": 2, "maxItems": 3}, [[1, 1], [2, 1], [2, 3, 1]], [[1], [2, 2], [1, 2, 3, 4]]),
    ({**LISTED, "minItems": 3}, [[1, 1, 2], [2, 3, 3, 1]], [[1], [2, 2, 2], [1, 2]]),
    ({**LISTED, "minContains": 0}, [[], [2]], ["[true]"]),
    ({"type": "string", "contentMediaType": "x", "contentEncoding": "base64", "x-a": 1, "$comment": "", "examples": []}, ['"x"'], [1]),
    # references
    ({"$ref": "#/$defs/e%20f", "$defs": {"e f": {"type": "integer"}}}, [1], ['"x"']),
    ({"$ref": "#x", "$defs": {"e": {"$anchor": "x", "type": "integer"}}}, [1], ['"x"']),
    ({"$ref": "other", **ELSEWHERE}, [1], ['"x"']),
    ({"$ref": "http://e.x/other#/$defs/i", **ELSEWHERE}, [1], ['"x"']),
    ({"$ref": "#/$defs/o/$defs/i", **ELSEWHERE}, [1], ['"x"']),
    ({"properties": {"$ref": {"type": "integer"}, "$id": {}}, "enum": [{"$ref": 1}]}, [{"$ref": 1}], [{"$id": 1}]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), CASES, ids=lambda v: repr(v)[:70])
def test_what_schemas_take(schema, good, bad):
    grammar = Grammar.from_json_schema(schema)
    for values, fits in ((good, True), (bad, False)):
        for value in values:
            assert grammar.accepts(value if isinstance(value, str) else json.dumps(value)) == fits, value


WRONG = [
    ({"not": 0}, r"\$\.not: expected a schema \(an object, true or false\), found 0"),
    ({"anyOf": "x"}, r'\$\.anyOf: expected a list of schemas, found "x"'),
    ({"allOf": []}, r"\$\.allOf: expected a list of schemas"),
    ({"if": []}, r"\$\.if: expected a schema"),
    ({"format": []}, r"\$\.format: expected a text"),
    ({"required": [[]]}, r"\$\.required: expected a list of texts"),
    ({"prefixItems": {}}, r"\$\.prefixItems: expected a list of schemas"),
    ({"items": [{"type": "no"}]}, r"\$\.items\[0\]\.type: expected one of boolean,"),
    ({"type": []}, r"\$\.type: expected one of"),
    ({"maxItems": 10**30}, r"\$\.maxItems: expected a whole number from 0 to 2\^64 - 1"),
    ({"const": float("nan")}, r"\$\.const: expected a JSON value, found NaN"),
    ({"const": b"x"}, r"\$\.const: expected a JSON value"),
    ({"const": {1: "a"}}, r"\$\.const: expected a JSON value"),
    ({"enum": [1, [float("inf")]]}, r"\$\.enum: expected a list of JSON values"),
    ({"enum": [{1, 2}]}, r"\$\.enum: expected a list of JSON values"),
    ({"$defs": {"x": {"minLength": -1}}}, r"\$\.\$defs\.x\.minLength: expected a whole number from 0 to 2\^64 - 1"),
    ({"properties": {"a": 3}}, r"\$\.properties\.a: expected a schema"),
    ({"minimum": float("nan")}, r"\$\.minimum: expected a number"),
    ({"maximum": True}, r"\$\.maximum: expected a number"),
    ({"minimum": 2**1024}, r"\$\.minimum: expected a number that a double can hold"),
    ({"multipleOf": 0}, r"\$\.multipleOf: expected a number above 0"),
    ({"uniqueItems": 1}, r"\$\.uniqueItems: expected true or false"),
    ({"dependentRequired": {"a": "b"}}, r"\$\.dependentRequired: expected an object of lists of texts"),
    ({"minItems": 3, "maxItems": 2}, r"\$: expected minItems <= maxItems, found 3 and 2"),
    ({1: 2}, r"\$: expected texts as keywords"),
    ({"type": "object", "patternProperties": {"(?P<a>b)(?P<a>c)": {}}, "required": ["b"]}, r"\$\.patternProperties: "),
    ({"$ref": "#"}, "the references go in a circle: # stands for itself"),
    ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}, {}]}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}, "go in a circle"),
    (
        {"$defs": {"a": {"anyOf": [{"items": {"$ref": "#/$defs/b"}}, {"$ref": "#/$defs/b"}]}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        "the references go in a circle: #/\\$defs/a stands for itself",
    ),
    ({"patternProperties": {"^b": {"type": "integer"}}, "required": ["b"]}, r"\$\.patternProperties: the pattern '\^b' also matches a property"),
    ({"$ref": "#nowhere"}, "the schema has no #nowhere"),
    ({"$id": "http://[", "$ref": "#"}, "is no address"),
    ({"type": "integer", "multipleOf": 3}, r"\$\.multipleOf: numbers between limits of which there are at most 1000"),
    ({**LISTED, "maxItems": 21}, r"\$\.contains: this is supported in a grammar only for one of up to 20 items"),
    ({**LISTED, "maxItems": 0}, "no value is valid"),
    ({"oneOf": [{"type": "object", "propertyNames": NOTHING}, {"type": "object", "properties": {"a": {}}}]}, r"\$\.oneOf: what option 0 allows"),
    ({"oneOf": [{"required": ["a"], "properties": {"a": False}}, {"type": "array"}]}, r"\$\.oneOf: an option is about values of one type, .* add its type"),
    ({"propertyNames": {"pattern": "^x"}, "patternProperties": {"a": {}}}, r"\$\.propertyNames: this keyword beside patternProperties"),
    ({"propertyNames": {"pattern": "^x"}, "properties": {"x": {}}, "additionalProperties": True}, r"\$\.propertyNames: this keyword also allows a property"),
    ({"propertyNames": {"pattern": "^x"}, "required": ["a"], "type": "object"}, "no value is valid"),
]


@pytest.mark.parametrize(("schema", "message"), WRONG, ids=lambda v: repr(v)[:70])
def test_what_is_no_schema_is_named(schema, message):
    with pytest.raises(SchemaError, match=message):
        Grammar.from_json_schema(schema)


def test_what_may_be_ignored_is_not_looked_at():
    assert Grammar.from_json_schema({**LISTED, "maxItems": 21}, ignore=["contains"]).accepts("[2]")
    assert Grammar.from_json_schema({"type": "object", "propertyNames": False}, ignore=["propertyNames"]).accepts('{"a": 1}')
