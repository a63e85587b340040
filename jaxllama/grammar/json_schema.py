"""JSON schemas as GBNF: what the grammar lets through validates. What a grammar cannot say is an error that names it, never left out in silence.

The grammar allows less than the schema in three ways, as llama.cpp's does: members come in the schema's order (unless `any_order`), there are no members beyond
`properties` unless `additionalProperties` or `patternProperties` ask for them, and white space is limited.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from .gbnf import Rules, literal
from .number_range import integers, numbers
from .reader import GrammarError
from .regex import read_regex, written
from .schema_members import PLAIN, Members, several
from .schema_merge import ANNOTATIONS, TYPES, Impossible, SchemaError, excluded, finite, merged, types_of, without_annotations
from .schema_types import KNOWN, implied_types, never_valid
from .string_formats import FORMATS

_SPACE = '| " " | "\\n" [ \\t]{0,20}'
_CHAR = rf'[^{PLAIN}] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{{4}})'
_PRIMITIVES = {
    "boolean": '("true" | "false") space',
    "null": '"null" space',
    "integer": '("-"? ([0-9] | [1-9] [0-9]{0,15})) space',
    "number": '("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})? space',
    "string": r'"\"" char* "\"" space',
}
_UNSAID = frozenset("idn-email idn-hostname iri iri-reference uri-template relative-json-pointer".split())
MOST_IN_ANY_ORDER = 10
_MOST_UNIQUE = 8
_MOST_REFERENCES = 200  # one after the other, with nothing between them


class Converter:
    """Turns schemas into rules of one grammar."""

    def __init__(self, rules: Rules, document: Any, *, any_order: bool = False, ignore: Collection[str] = ()):
        """
        Args:
            document: what references point into.
            any_order: members of objects come in any order.
            ignore: keywords that may be left out where a grammar cannot say them.
        """
        self._rules, self._document = rules, document
        self._any_order, self._ignore = any_order, frozenset(ignore)
        self._refs: dict[str, str] = {}
        self._write = Members(rules)
        rules.define("space", _SPACE)
        rules.define("char", _CHAR)

    def convert(self, schema: Any, name: str, path: str = "$") -> str:
        """The name of a rule for a schema.

        Raises:
            SchemaError: the schema says what a grammar cannot.
        """
        try:
            return self._convert(schema, name, path)
        except Impossible as error:
            if error.args:
                raise
            raise Impossible(f"{path}: no value is valid here: the keywords contradict each other") from None

    def _convert(self, schema: Any, name: str, path: str) -> str:
        if schema is True or schema == {}:
            return self._any()
        if schema is False:
            raise Impossible
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{path}: expected a schema, found {json.dumps(schema)[:100]}")
        schema = without_annotations(schema)
        if set(schema) == {"$ref"}:
            return self._reference(schema["$ref"], path)
        schema = self._whole(schema, path)
        for key in ("anyOf", "oneOf"):
            if isinstance(schema, Mapping) and key in schema:
                return self._options(schema, key, name, path)
        if isinstance(schema, bool) or not schema:
            return self._convert(schema, name, path)
        if not isinstance(schema.get("enum", []), list):
            raise SchemaError(f"{path}.enum: expected a list of values")
        values = finite(schema) if "const" in schema or "enum" in schema else None
        if values is not None:
            if not values:
                raise Impossible
            return self._rules.add(name, f"({' | '.join(map(self._value, values))}) space")
        kinds = types_of(schema) or self._implied(schema)
        if unknown := [k for k in kinds if k not in TYPES]:
            raise SchemaError(f"{path}.type: expected one of {', '.join(TYPES)}, found {json.dumps(unknown[0])}")
        self._check(schema, path)
        if len(kinds) > 1:
            if "number" in kinds and "integer" in kinds:
                kinds = [k for k in kinds if k != "integer"]
            made = []
            for kind in kinds:
                with suppress(Impossible):
                    made.append(self._typed({k: v for k, v in schema.items() if k in KNOWN[kind]}, kind, f"{name}-{kind}", path))
            if not made:
                raise Impossible
            return self._rules.add(name, " | ".join(made))
        return self._typed(schema, kinds[0], name, path)

    def _implied(self, schema: Mapping[str, Any]) -> list[str]:
        """The types of a schema that names none: those its keywords are about, as llama.cpp takes them; all where there are none."""
        kinds = implied_types(schema)
        if "format" in schema and not kinds:
            kinds = ["string"]
        return kinds or list(TYPES)

    def _check(self, schema: Mapping[str, Any], path: str) -> None:
        if unknown := sorted(set(schema).difference({"type"}, *KNOWN.values(), ANNOTATIONS, self._ignore)):
            raise SchemaError(f"{path}.{unknown[0]}: this keyword is not supported in a grammar; ignore (schema_ignore of a request) leaves it out")

    def _say(self, key: str, path: str, why: str) -> None:
        """Complain about a keyword, unless it may be left out."""
        if key not in self._ignore:
            raise SchemaError(f"{path}.{key}: {why}")

    # --- putting schemas together ---

    def _whole(self, schema: dict[str, Any], path: str) -> Any:
        """A schema without $ref, allOf, if and not."""
        found: Any = {k: v for k, v in schema.items() if k not in ("$ref", "allOf", "if", "then", "else", "not")}
        if "$ref" in schema:
            found = merged(found, self._followed({"$ref": schema["$ref"]}, path), path)
        for number, part in enumerate(schema.get("allOf", ())):
            inner = self._whole(without_annotations(self._followed(part, f"{path}.allOf[{number}]")), f"{path}.allOf[{number}]")
            found = merged(found, inner, path)
        if isinstance(found, Mapping) and {"allOf", "if", "not", "$ref"} & set(found):
            found = self._whole(dict(found), path)
        if "not" in schema:
            found = excluded(found if isinstance(found, Mapping) else {}, self._followed(schema["not"], f"{path}.not"), f"{path}.not")
        if "if" in schema:
            found = self._either(found, schema, path)
        return found

    def _either(self, found: Any, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
        condition = self._followed(schema["if"], f"{path}.if")
        base = found if isinstance(found, Mapping) else {}
        options = []
        for way, key in ((lambda: merged(base, condition, f"{path}.if"), "then"), (lambda: excluded(base, condition, f"{path}.if"), "else")):
            try:
                options.append(merged(way(), self._followed(schema.get(key, True), f"{path}.{key}"), f"{path}.{key}"))
            except Impossible:
                continue
        if not options:
            raise Impossible
        return {"anyOf": options}

    def _followed(self, schema: Any, path: str) -> Any:
        """A schema, or what its reference points to."""
        for _ in range(_MOST_REFERENCES):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                return schema
            target, rest = self._target(schema["$ref"], path), {k: v for k, v in schema.items() if k != "$ref" and k not in ANNOTATIONS}
            schema = merged(target, rest, path) if rest else target
        raise SchemaError(f"{path}.$ref: the references form a cycle")

    def _options(self, schema: Mapping[str, Any], key: str, name: str, path: str) -> str:
        rest = {k: v for k, v in schema.items() if k != key}
        if not isinstance(schema[key], Sequence) or not schema[key]:
            raise SchemaError(f"{path}.{key}: expected a list of schemas")
        made, given = [], []
        for number, option in enumerate(schema[key]):
            where = f"{path}.{key}[{number}]"
            try:
                whole = merged(rest, self._followed(option, where), where) if rest else option
                made.append(self.convert(whole, f"{name}-{number}", where))
                given.append(self._whole(without_annotations(option), where) if isinstance(option := self._followed(whole, where), Mapping) else option)
            except Impossible:
                continue
        if not made:
            raise Impossible
        if key == "oneOf":
            for a in range(len(given)):
                for b in range(len(given)):
                    if a != b and not never_valid(given[a], given[b], lambda s: self._followed(s, path)):
                        self._say("oneOf", path, f"what option {a} allows may also be valid under option {b}; use anyOf, or tell them apart with a const")
        return self._rules.add(name, " | ".join(made))

    # --- references ---

    def _target(self, reference: Any, path: str) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise SchemaError(f"{path}.$ref: expected a reference within the schema (#/...), found {json.dumps(reference)}")
        target: Any = self._document
        for part in reference[2:].split("/") if reference != "#" else ():
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Sequence) and not isinstance(target, str) and key.isdigit() and int(key) < len(target):
                target = target[int(key)]
            elif isinstance(target, Mapping) and key in target:
                target = target[key]
            else:
                raise SchemaError(f"{path}.$ref: the schema has no {reference}")
        return target

    def _reference(self, reference: Any, path: str) -> str:
        if not isinstance(reference, str) or reference not in self._refs:
            target = self._target(reference, path)
            name = self._refs[reference] = self._rules.reserve("ref-" + (reference.rsplit("/", 1)[1] if "/" in reference else "document"))
            self._rules.define(name, self.convert(target, f"{name}-body", reference))
        return self._refs[reference]

    # --- values ---

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

    def _typed(self, schema: Mapping[str, Any], kind: str, name: str, path: str) -> str:
        match kind:
            case "object":
                return self._object(schema, name, path)
            case "array":
                return self._array(schema, name, path)
            case "string":
                return self._string(schema, name, path)
            case "integer" | "number":
                return self._number(schema, kind, name, path)
        return self._rules.add(kind, _PRIMITIVES[kind])

    def _string(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        lengths = "minLength" in schema or "maxLength" in schema
        for key in ("pattern", "format"):
            if key not in schema or (key == "format" and schema[key] not in FORMATS):
                if key == "format" and schema.get(key) in _UNSAID:
                    self._say("format", path, f"the format {schema[key]!r} is not supported in a grammar")
                continue
            if lengths:
                self._say(next(k for k in ("minLength", "maxLength") if k in schema), path, f"a length beside {key} is not supported in a grammar")
            if key == "pattern" and schema.get("format") in FORMATS:
                self._say("format", path, "a format beside a pattern is not supported in a grammar")
            try:
                node = read_regex(schema[key] if key == "pattern" else FORMATS[schema[key]], anchored=key == "format")
            except GrammarError as error:
                if key in self._ignore:
                    continue
                raise SchemaError(f"{path}.{key}: {error}") from None
            return self._rules.add(name, f'"\\"" {written(node, quoted=True)} "\\"" space')
        if lengths:
            return self._rules.add(name, f'"\\"" char{_times(schema, "minLength", "maxLength", path)} "\\"" space')
        return self._rules.add("string", _PRIMITIVES["string"])

    def _number(self, schema: Mapping[str, Any], kind: str, name: str, path: str) -> str:
        keys = [k for k in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if k in schema]
        if not keys:
            return self._rules.add(kind, _PRIMITIVES[kind])
        for key in keys:
            if isinstance(schema[key], bool) or not isinstance(schema[key], (int, float)) or abs(schema[key]) > 10**15:
                raise SchemaError(f"{path}.{key}: expected a number up to 10^15, found {json.dumps(schema[key])}")
        exact = {k: Decimal(str(schema[k])) for k in keys}
        low = max(((exact[k], k.startswith("ex")) for k in ("minimum", "exclusiveMinimum") if k in exact), default=(None, False))
        high = min(((exact[k], not k.startswith("ex")) for k in ("maximum", "exclusiveMaximum") if k in exact), default=(None, True))
        below = not high[1]
        if kind == "number":
            body = numbers(low[0], high[0], above=low[1], below=below)
        else:
            first = None if low[0] is None else int(low[0].to_integral_value("ROUND_CEILING"))
            last = None if high[0] is None else int(high[0].to_integral_value("ROUND_FLOOR"))
            first = first + 1 if first is not None and low[1] and first == low[0] else first
            last = last - 1 if last is not None and below and last == high[0] else last
            body = integers(first, last)
        if not body:
            raise Impossible
        return self._rules.add(name, f"{body} space")

    # --- objects ---

    def _object(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        patterns = schema.get("patternProperties", {})
        if not isinstance(properties, Mapping) or not isinstance(required, Sequence) or not isinstance(patterns, Mapping):
            raise SchemaError(f"{path}: expected properties as an object and required as a list")
        if "propertyNames" in schema:
            self._say("propertyNames", path, "this keyword is not supported in a grammar; use patternProperties")
        others = schema.get("additionalProperties", not properties and not patterns)
        pairs = {}
        for key, value in properties.items():
            for pattern in patterns:
                if _matches(pattern, key):
                    value = merged(self._followed(value, path), self._followed(patterns[pattern], path), f"{path}.properties.{key}")
            if value is False:
                continue
            rule = self.convert(value, f"{name}-{key}", f"{path}.properties.{key}")
            pairs[key] = self._rules.add(f"{name}-{key}-kv", f'{self._value(key)} space ":" space {rule}')
        if missing := [r for r in required if r not in pairs]:
            if others is False or properties.get(missing[0]) is False or patterns:
                raise Impossible
            for key in missing:  # a required member that nothing else is said about
                rule = self.convert(others, f"{name}-{key}", f"{path}.additionalProperties")
                pairs[key] = self._rules.add(f"{name}-{key}-kv", f'{self._value(key)} space ":" space {rule}')
        fewest, most = _limits(schema, "minProperties", "maxProperties", path)
        names = list(pairs) + [k for k, v in properties.items() if v is False]
        extra = self._others(patterns, others, names, name, path) if most != 0 else None
        if not pairs and extra:
            if fewest > 1:  # the same key may come twice, and then counts once
                self._say("minProperties", path, "requiring more than one unnamed property is not supported in a grammar")
            return self._rules.add(name, f'"{{" space {several(extra, fewest, most)} "}}" space')
        if fewest > len(required):
            self._say("minProperties", path, "requiring more properties than those of 'required' is not supported in a grammar")
        if most is not None and (most < len(pairs) or extra):
            self._say("maxProperties", path, "fewer properties than the schema names are not supported in a grammar")
        order = self._in_any_order if self._any_order and len(pairs) > 1 else self._write.in_order
        return self._rules.add(name, f'"{{" space {order(pairs, list(required), extra, name)} "}}" space')

    def _others(self, patterns: Mapping[str, Any], others: Any, names: Sequence[str], name: str, path: str) -> str | None:
        """A rule for members beyond the named ones; None where there are none."""
        made = []
        if len(patterns) > 1 and not _told_apart(list(patterns)):
            self._say("patternProperties", path, "several patterns are supported in a grammar only if they begin with ^ and different characters")
        for number, (pattern, schema) in enumerate(patterns.items()):
            if schema is False:
                continue
            try:
                key = written(read_regex(pattern), quoted=True)
            except GrammarError as error:
                raise SchemaError(f"{path}.patternProperties: {error}") from None
            rule = self.convert(schema, f"{name}-pattern-{number}", f"{path}.patternProperties.{pattern}")
            if any(_matches(pattern, n) for n in names):
                self._say("patternProperties", path, f"the pattern {pattern!r} also matches a property; a grammar cannot tell them apart")
            made.append(self._rules.add(f"{name}-pattern-{number}-kv", f'"\\"" {key} "\\"" space ":" space {rule}'))
        if others is not False and not patterns:
            rule = self.convert(others, f"{name}-other", f"{path}.additionalProperties")
            made.append(self._rules.add(f"{name}-other-kv", f'{self._write.other_key(names, name)} space ":" space {rule}'))
        return self._rules.add(f"{name}-others", " | ".join(made)) if made else None

    def _in_any_order(self, pairs: Mapping[str, str], required: list[str], extra: str | None, name: str) -> str:
        """Members in any order, each once at most: a rule for every set of those that are left."""
        if len(pairs) > MOST_IN_ANY_ORDER:
            raise SchemaError(f"{name}: {len(pairs)} properties in any order are too many: at most {MOST_IN_ANY_ORDER} are supported")
        tail = f'{extra} ("," space {extra})*' if extra else ""
        return self._write.in_any_order(list(pairs), lambda left: not any(k in required for k in left), lambda k: pairs[k], f"{name}-left", tail)

    # --- arrays ---

    def _array(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        low, high = _limits(schema, "minItems", "maxItems", path)
        prefix = schema.get("prefixItems", schema["items"] if isinstance(schema.get("items"), list) else ())
        rest = schema.get("additionalItems" if isinstance(schema.get("items"), list) else "items", not prefix)
        if schema.get("uniqueItems"):
            return self._unique(schema, low, high, name, path)
        if high == 0:
            return self._rules.add(name, '"[" space "]" space')
        if not prefix:
            try:
                item = self.convert(rest, f"{name}-item", f"{path}.items") if rest is not False else None
            except Impossible:
                item = None
            if item is None:
                if low:
                    raise Impossible
                return self._rules.add(name, '"[" space "]" space')
            return self._rules.add(name, f'"[" space {several(item, low, high)} "]" space')
        made = [self.convert(s, f"{name}-{n}", f"{path}.prefixItems[{n}]") for n, s in enumerate(prefix)][:high]
        more = self.convert(rest, f"{name}-item", f"{path}.items") if rest is not False and (high is None or high > len(made)) else None
        if low > len(made) and more is None:
            raise Impossible
        # All of the prefix, as OpenAI and pydantic mean it, though a schema without minItems would allow fewer.
        body = ' "," space '.join(made)
        if more is not None and (low > len(made) or "items" in schema):
            body += f' ("," space {more}){{{max(low - len(made), 0)},{"" if high is None else high - len(made)}}}'
        return self._rules.add(name, f'"[" space {body} "]" space')

    def _unique(self, schema: Mapping[str, Any], low: int, high: int | None, name: str, path: str) -> str:
        values = finite(self._followed(schema.get("items", {}), path))
        if values is None or "prefixItems" in schema or len(values) > _MOST_UNIQUE:
            if high is not None and high <= 1:
                return self._array({k: v for k, v in schema.items() if k != "uniqueItems"}, name, path)
            self._say("uniqueItems", path, f"this is supported in a grammar only for items of up to {_MOST_UNIQUE} given values (enum)")
            return self._array({k: v for k, v in schema.items() if k != "uniqueItems"}, name, path)
        most = len(values) if high is None else min(high, len(values))
        if low > most:
            raise Impossible
        body = self._write.in_any_order(values, lambda left: len(values) - len(left) >= low, lambda v: f"{self._value(v)} space", f"{name}-left", most=most)
        return self._rules.add(name, f'"[" space {body} "]" space')


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.search(pattern, text) is not None


def _told_apart(patterns: Sequence[str]) -> bool:
    """Whether no text matches two of some patterns, as far as their first characters show."""
    firsts = [p[1:2] for p in patterns if p[:1] == "^"]
    return (
        len(firsts) == len(patterns)
        and all(f.isalnum() for f in firsts)
        and len(set(firsts)) == len(firsts)
        and not any(p[2:3] in "*?{|" and p[2:3] for p in patterns)
    )


def _limits(schema: Mapping[str, Any], least: str, most: str, path: str) -> tuple[int, int | None]:
    low, high = schema.get(least, 0), schema.get(most)
    if isinstance(low, bool) or not isinstance(low, int) or low < 0 or (high is not None and (not isinstance(high, int) or high < low)):
        raise SchemaError(f"{path}: expected 0 <= {least} <= {most}, found {low} and {high}")
    return low, high


def _times(schema: Mapping[str, Any], least: str, most: str, path: str) -> str:
    low, high = _limits(schema, least, most, path)
    return f"{{{low},{'' if high is None else high}}}"


def json_schema_to_gbnf(schema: Any, *, any_order: bool = False, ignore: Collection[str] = ()) -> str:
    """A grammar for the JSON that a schema describes.

    Args:
        any_order: members of objects come in any order, instead of the schema's.
        ignore: keywords that may be left out where a grammar cannot say them; what comes out may then not validate.

    Raises:
        SchemaError: the schema says what a grammar cannot; the path and the keyword are named.
    """
    rules = Rules()
    try:
        return rules.text(Converter(rules, schema, any_order=any_order, ignore=ignore).convert(schema, "document"))
    except RecursionError:
        raise SchemaError("the schema is nested too deeply") from None
