"""JSON schemas as GBNF: what validates is what the grammar lets through. What a grammar cannot say is an error that names it, never left out in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .gbnf import Rules, literal

_SPACE = '| " " | "\\n" [ \\t]{0,20}'
_CHAR = r'[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})'
_PRIMITIVES = {
    "boolean": '("true" | "false") space',
    "null": '"null" space',
    "integer": '("-"? ([0-9] | [1-9] [0-9]{0,15})) space',
    "number": '("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})? space',
    "string": r'"\"" char* "\"" space',
}
_ANNOTATIONS = frozenset("title description default examples $schema $id $defs definitions deprecated readOnly writeOnly $comment strict".split())
_KNOWN = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
}


class SchemaError(ValueError):
    """A schema says what a grammar cannot, or is none."""


class Converter:
    """Turns schemas into rules of one grammar."""

    def __init__(self, rules: Rules, document: Mapping[str, Any]):
        self._rules, self._document = rules, document
        self._refs: dict[str, str] = {}
        rules.define("space", _SPACE)
        rules.define("char", _CHAR)

    def convert(self, schema: Any, name: str, path: str = "$") -> str:
        """The name of a rule for a schema.

        Raises:
            SchemaError: the schema says what a grammar cannot.
        """
        if schema is True or schema == {}:
            return self._any()
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{path}: expected a schema, found {json.dumps(schema)}")
        if "$ref" in schema:
            return self._reference(schema["$ref"], path)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                self._check(schema, {key, "type"}, path)
                return self._rules.add(name, " | ".join(self.convert(s, f"{name}-{n}", f"{path}.{key}[{n}]") for n, s in enumerate(schema[key])))
        if "const" in schema:
            self._check(schema, {"const", "type"}, path)
            return self._rules.add(name, self._value(schema["const"]) + " space")
        if "enum" in schema:
            self._check(schema, {"enum", "type"}, path)
            if not isinstance(schema["enum"], Sequence) or not schema["enum"]:
                raise SchemaError(f"{path}.enum: expected a list of values")
            return self._rules.add(name, f"({' | '.join(map(self._value, schema['enum']))}) space")
        kind = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else None)
        if isinstance(kind, list):
            rest = {k: v for k, v in schema.items() if k != "type"}
            made = [self.convert({"type": k} | {key: v for key, v in rest.items() if key in _KNOWN.get(k, set())}, f"{name}-{k}", path) for k in kind]
            return self._rules.add(name, " | ".join(made))
        if kind is None:
            self._check(schema, set(), path)
            return self._any()
        if kind not in (*_PRIMITIVES, "object", "array"):
            raise SchemaError(f"{path}.type: expected one of {', '.join([*_PRIMITIVES, 'object', 'array'])}, found {json.dumps(kind)}")
        self._check(schema, {"type"} | _KNOWN.get(kind, set()), path)
        if kind == "object":
            return self._object(schema, name, path)
        if kind == "array":
            return self._array(schema, name, path)
        if kind == "string" and ("minLength" in schema or "maxLength" in schema):
            return self._rules.add(name, f'"\\"" char{_times(schema, "minLength", "maxLength", path)} "\\"" space')
        return self._rules.add(kind, _PRIMITIVES[kind])

    def _check(self, schema: Mapping[str, Any], known: set[str], path: str) -> None:
        if unknown := sorted(set(schema) - known - _ANNOTATIONS):
            raise SchemaError(f"{path}.{unknown[0]}: this keyword cannot be turned into a grammar yet")

    def _value(self, value: Any) -> str:
        return literal(json.dumps(value, ensure_ascii=False))

    def _any(self) -> str:
        if "value" not in self._refs:
            self._refs["value"] = "value"
            pair = 'string ":" space value'
            for kind, body in _PRIMITIVES.items():
                self._rules.define(kind, body)
            self._rules.define("any-object", f'"{{" space ({pair} ("," space {pair})*)? "}}" space')
            self._rules.define("any-array", '"[" space (value ("," space value)*)? "]" space')
            self._rules.define("value", "any-object | any-array | string | number | boolean | null")
        return "value"

    def _reference(self, reference: Any, path: str) -> str:
        if reference in self._refs:
            return self._refs[reference]
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise SchemaError(f"{path}.$ref: expected a reference within the schema (#/...), found {json.dumps(reference)}")
        target: Any = self._document
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                raise SchemaError(f"{path}.$ref: there is no {reference}")
            target = target[key]
        name = self._refs[reference] = self._rules.reserve("ref-" + reference.rsplit("/", 1)[1])
        self._rules.define(name, self.convert(target, f"{name}-body", reference))
        return name

    def _object(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, Sequence):
            raise SchemaError(f"{path}: expected properties as an object and required as a list")
        pairs = {}
        for key, value in properties.items():
            rule = self.convert(value, f"{name}-{key}", f"{path}.properties.{key}")
            pairs[key] = self._rules.add(f"{name}-{key}-kv", f'{self._value(key)} space ":" space {rule}')
        if missing := [r for r in required if r not in properties]:
            raise SchemaError(f"{path}.required: '{missing[0]}' is no property")
        others = schema.get("additionalProperties", not properties)
        extra = None
        if others is not False:
            rule = self.convert(others, f"{name}-other", f"{path}.additionalProperties")
            string = self._rules.add("string", _PRIMITIVES["string"])
            extra = self._rules.add(f"{name}-other-kv", f'{string} ":" space {rule}')
        return self._rules.add(name, f'"{{" space {self._members(pairs, list(required), extra, name)} "}}" space')

    def _members(self, pairs: Mapping[str, str], required: list[str], extra: str | None, name: str) -> str:
        """Required members in order, then any of the optional ones in order, then others."""
        first = [pairs[k] for k in pairs if k in required]
        optional = [pairs[k] for k in pairs if k not in required]
        tail = f'({extra} ("," space {extra})*)' if extra else ""
        rest = self._optional(optional, tail, name)
        head = ' "," space '.join(first)
        if not head:
            return f"({rest})?" if rest else ""
        return f'{head} ("," space ({rest}))?' if rest else head

    def _optional(self, optional: list[str], tail: str, name: str) -> str:
        """Any of some members in order, one at least."""
        after = tail
        for number in reversed(range(len(optional))):
            here = f'{optional[number]} ("," space ({after}))?' if after else optional[number]
            after = self._rules.add(f"{name}-from-{number}", f"{here} | {after}" if after else here)
        return after

    def _array(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        if "prefixItems" in schema:
            made = [self.convert(s, f"{name}-{n}", f"{path}.prefixItems[{n}]") for n, s in enumerate(schema["prefixItems"])]
            items = ' "," space '.join(made)
            return self._rules.add(name, f'"[" space {items} "]" space')
        item = self.convert(schema.get("items", True), f"{name}-item", f"{path}.items")
        low, high = _limits(schema, "minItems", "maxItems", path)
        if high == 0:
            return self._rules.add(name, '"[" space "]" space')
        more = f'("," space {item}){{{max(low - 1, 0)},{"" if high is None else high - 1}}}'
        inner = f"{item} {more}" if low else f"({item} {more})?"
        return self._rules.add(name, f'"[" space {inner} "]" space')


def _limits(schema: Mapping[str, Any], least: str, most: str, path: str) -> tuple[int, int | None]:
    low, high = schema.get(least, 0), schema.get(most)
    if not isinstance(low, int) or low < 0 or (high is not None and (not isinstance(high, int) or high < low)):
        raise SchemaError(f"{path}: expected 0 <= {least} <= {most}, found {low} and {high}")
    return low, high


def _times(schema: Mapping[str, Any], least: str, most: str, path: str) -> str:
    low, high = _limits(schema, least, most, path)
    return f"{{{low},{'' if high is None else high}}}"


def json_schema_to_gbnf(schema: Mapping[str, Any]) -> str:
    """A grammar for the JSON that a schema describes, objects' members in the schema's order.

    Raises:
        SchemaError: the schema says what a grammar cannot; the path and the keyword are named.
    """
    rules = Rules()
    return rules.text(Converter(rules, schema).convert(schema, "document"))
