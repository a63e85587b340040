"""Grammars and schemas that tests walk through, and that llama.cpp's sets of allowed tokens are recorded for (`tests/reference/record_grammars.py`)."""

# ruff: noqa: E501  schemas are long

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "examples" / "grammars"
JSON, ARITHMETIC, LIST, CHESS, PROGRAM = ((FOLDER / f"{name}.gbnf").read_text() for name in ("json", "arithmetic", "list", "chess", "program"))

GBNF: dict[str, str] = {
    "json": JSON,
    "json-array": JSON.replace("root   ::= ws value ws", "root   ::= array"),
    "arithmetic": ARITHMETIC,
    "list": LIST,
    "chess": CHESS,
    "program": PROGRAM,
    "anything": "root ::= .*",
    "one-character": "root ::= .",
    "words": 'root ::= word ([,;]? " " word){0,8} [.!?]\nword ::= [A-Z]? [a-z]+ ("-" [a-z]+)?',
    "japanese": "root ::= [ぁ-んァ-ン一-龯、。]{1,30}",
    "not-latin": 'root ::= [^a-zA-Z]{2,30} "x" [äöü€]* "."',
    "emoji": 'root ::= ("a" | [😀-🙏]){3,20}',
    "parentheses": 'root ::= p\np ::= "(" p ")" p | ""',
    "right-recursion": 'root ::= "item " [a-z]+ "\\n" root | "end"',
    "two-readings": 'root ::= a\na ::= "x" a | "x" a "y" | "z"',
    "shared-beginnings": 'root ::= v "x" | v "y"\nv ::= "(" v ")" | "q"+',
    "counted": 'root ::= ("a" [b-d]* ";"?){3,40} "e" x{9} y{2,200}\nx ::= [k-l] | [m-n] "(" x ")"\ny ::= [0-9] "-" | "+"',
    "unclear-count": 'root ::= [ab]{3,12} "c" ([de] [a-z]?){0,15} "f"',
    "within-and-after": 'root ::= n ("," n)*\nn ::= [a-c]+ ("(" n? ")")? [a-c]*',
    "csv": 'root ::= (cell ("," cell){2} "\\n"){1,5}\ncell ::= [^,"\\n]* | "\\"" ([^"] | "\\"\\"")* "\\""',
    "hexadecimal": 'root ::= ("0x" [0-9A-F]{2} " "?){4,16}',
    "optional-parts": 'root ::= "a"? "b"? "c"? "d"? "e"? "f"? "g"? "."',
    "long-literal": 'root ::= "The quick brown fox jumps over the lazy dog. " ("Again? " | "Never. ")* "Done"',
    "greedy": 'root ::= [a-z]* "stop" | "go" [a-z]*',
    "calls": 'root ::= call+\ncall ::= "<tool_call>" [ \\n]* name "(" (arg ("," " "? arg)*)? ")" [ \\n]* "</tool_call>"\nname ::= [a-z_]+\narg ::= [0-9]+ | "\\"" [^"]* "\\""',
    "nested-choices": 'root ::= (("a" | "b" | ("c" | "d")+) " ")+ ("x" | ("y" "z"?)?)',
}

SCHEMAS: dict[str, Any] = {
    "person": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "age"],
    },
    "numbers": {
        "type": "object",
        "properties": {"a": {"type": "number", "minimum": -1.5, "maximum": 20.25}, "k": {"type": "integer", "exclusiveMinimum": 3}},
        "required": ["a"],
    },
    "pattern": {"type": "object", "properties": {"a": {"type": "string", "pattern": "b+c"}}, "required": ["a"]},
    "others": {"type": "object", "properties": {"a": {"type": "integer"}, "ab": {"type": "boolean"}}, "additionalProperties": {"type": "string"}},
    "unique": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 1},
    "unique-two": {"type": "array", "items": {"enum": ["a", "b", "c", "d"]}, "uniqueItems": True, "minItems": 1, "maxItems": 2},
    "pattern-properties": {"type": "object", "patternProperties": {"^x_[a-z]{1,3}$": {"type": "integer"}, "^y": {"type": "null"}}},
    "all-of": {
        "allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}]
    },
    "if-then": {
        "type": "object",
        "properties": {"kind": {"enum": ["x", "y", "z"]}, "v": {"type": ["integer", "null"]}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "x"}}},
        "then": {"required": ["v"]},
        "else": {"properties": {"v": {"type": "null"}}},
    },
    "not": {
        "type": "object",
        "properties": {"kind": {"enum": ["x", "y", "z"]}, "w": {"type": "integer"}},
        "not": {"properties": {"kind": {"enum": ["y", "z"]}}, "required": ["kind"]},
    },
    "one-of": {
        "oneOf": [
            {"type": "object", "properties": {"t": {"const": "a"}, "x": {"type": "integer"}}, "required": ["t"]},
            {"type": "object", "properties": {"t": {"const": "b"}, "y": {"type": "string"}}, "required": ["t", "y"]},
            {"type": "null"},
        ]
    },
    "tree": {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 3}},
                "required": ["v"],
            }
        },
    },
    "formats": {
        "type": "object",
        "properties": {"d": {"format": "date"}, "t": {"type": "string", "format": "date-time"}, "e": {"format": "email"}, "i": {"format": "ipv4"}},
        "required": ["d", "t"],
    },
    "lengths": {"type": "string", "minLength": 3, "maxLength": 7},
    "long": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 10000}}, "required": ["text"]},
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "items": {"type": "null"}, "minItems": 3, "maxItems": 5},
    "values": {"enum": [1, "a", None, {"x": [1, 2]}]},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3, "minProperties": 1},
    "anything-within": {"type": "object", "properties": {"a": {}, "b": {"not": {"type": ["object", "array", "number"]}}}, "required": ["b"]},
    "types": {"type": ["string", "integer"], "minimum": 5},
    "thirty": {
        "type": "object",
        "properties": {
            f"property_{n}": [
                {"type": "string"},
                {"type": "integer"},
                {"type": "array", "items": {"type": "number"}},
                {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "boolean"}}, "required": ["x"]},
                {"enum": ["red", "green", "blue"]},
            ][n % 5]
            for n in range(30)
        },
        "required": [f"property_{n}" for n in range(0, 30, 2)],
    },
}

# Schemas whose texts may go on for ever.
UNLIMITED = {
    "thirty",
    "long",
    "tree",
    "anything-within",
    "others",
    "pattern-properties",
    "map",
    "person",
    "pattern",
    "formats",
    "one-of",
    "all-of",
    "types",
    "numbers",
}
