"""JSON schemas as GBNF: what the grammar lets through validates. What a grammar cannot say is an error that names it, never left out in silence.

The grammar allows less than the schema in three ways, as llama.cpp's does: members come in the schema's order (unless `any_order`), there are no members beyond
`properties` unless `additionalProperties` or `patternProperties` ask for them, and white space is limited. How numbers are written says `number_range`, and how
strings of a format do `string_formats`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from .gbnf import SPACE, Rules, literal
from .reader import GrammarError
from .regex import read_regex, written
from .schema_members import Members, several
from .schema_merge import (
    ANNOTATIONS,
    TYPES,
    Impossible,
    SchemaError,
    finite,
    holds,
    merged,
    types_of,
    without_annotations,
)
from .schema_references import References
from .schema_scalars import CHAR, PRIMITIVES, limits, number_rule, string_rule
from .schema_shape import check_shape
from .schema_together import Cases, Together
from .schema_types import KNOWN, implied_types, kinds_of, never_valid

MOST_IN_ANY_ORDER = 10
_MOST_UNIQUE = 8
_MOST_CONTAINING = 20


class Converter:
    """Turns schemas into rules of one grammar."""

    def __init__(self, rules: Rules, document: Any, *, any_order: bool = False, ignore: Collection[str] = ()):
        """
        Args:
            document: what references point into.
            any_order: members of objects come in any order.
            ignore: keywords that may be left out where a grammar cannot say them.
        """
        self._rules, self._ignore = rules, frozenset(ignore)
        self._any_order = any_order
        check_shape(document)
        self._references = References(document)
        together = Together(self._references)
        self._whole, self._followed = together.whole, together.followed
        self._refs: dict[str, str] = {}
        self._begins: dict[str, set[str]] = {}  # the references with which what a reference stands for may begin
        self._within: str | None = None  # the reference that is being converted, as long as nothing stands before
        self._write = Members(rules)
        rules.define("space", SPACE)
        rules.define("char", CHAR)

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
        if schema.pop("nullable", False):
            return self._convert({"anyOf": [schema, {"type": "null"}]}, name, path)
        if set(schema) == {"$ref"}:
            return self._reference(schema["$ref"], path)
        schema = self._whole(schema, path)
        if isinstance(schema, Mapping) and "nullable" in schema:  # said by a part of an allOf
            return self._convert(schema, name, path)
        for key in ("anyOf", "oneOf"):
            if isinstance(schema, Mapping) and key in schema:
                return self._options(schema, key, name, path)
        if isinstance(schema, bool) or not schema:
            return self._convert(schema, name, path)
        values = finite(schema) if "const" in schema or "enum" in schema else None
        if values is not None:
            if not values:
                raise Impossible
            return self._rules.add(name, " | ".join(map(self._value, values)))
        kinds = types_of(schema) or self._implied(schema)
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

    # --- options ---

    def _options(self, schema: Mapping[str, Any], key: str, name: str, path: str) -> str:
        rest = {k: v for k, v in schema.items() if k != key}
        made, given, beside = [], [], []
        shared = self._shared(schema[key], path) if key == "anyOf" and "properties" in rest and not isinstance(schema[key], Cases) else {}
        for number, option in enumerate(schema[key]):
            where = f"{path}.{key}[{number}]"
            try:
                option = self._with_members_of_others(option, shared, where)
                whole = merged(rest, self._followed(option, where), where) if rest else option
                made.append(self.convert(whole, f"{name}-{number}", where))
                given.append(self._whole(without_annotations(option), where) if isinstance(option := self._followed(whole, where), Mapping) else option)
            except Impossible:
                beside += self._kinds_beside(option, where)
        if not made:
            raise Impossible
        if key == "oneOf":
            if beside and any(not (kinds := kinds_of(a)) or kinds & set(beside) for a in given):
                self._say("oneOf", path, "an option is about values of one type, and those of others are valid under it; add its type")
            for a in range(len(given)):
                for b in range(len(given)):
                    if a != b and not never_valid(given[a], given[b], lambda s: self._followed(s, path)):
                        self._say("oneOf", path, f"what option {a} allows may also be valid under option {b}; use anyOf, or tell them apart with a const")
        return self._rules.add(name, " | ".join(made))

    def _kinds_beside(self, option: Any, path: str) -> list[str]:
        """The types that an option for which nothing is written says nothing about: all their values are valid under it."""
        with suppress(Impossible):
            option = self._followed(option, path)
            whole = self._whole(without_annotations(option), path) if isinstance(option, Mapping) else option
            if isinstance(whole, Mapping) and not types_of(whole) and finite(whole) is None and (kinds := implied_types(whole)):
                return [kind for kind in TYPES if kind not in kinds and (kind, kinds) != ("integer", ["number"])]
        return []

    def _shared(self, options: Sequence[Any], path: str) -> dict[str, Any]:
        """The members that open options of an anyOf name: an object may have those of several."""
        found: dict[str, Any] = {}
        for option in options:
            option = self._followed(option, path)
            if isinstance(option, Mapping) and option.get("additionalProperties") is not False:
                found = {**found, **{k: v for k, v in option.get("properties", {}).items() if k not in found}}
        return found

    def _with_members_of_others(self, option: Any, shared: Mapping[str, Any], path: str) -> Any:
        option = self._followed(option, path) if shared else option
        if not isinstance(option, Mapping) or "properties" not in option or "additionalProperties" in option:
            return option
        return {**option, "properties": {**shared, **option["properties"]}}

    # --- references ---

    @property
    def document(self) -> Any:
        """The schema that references point into, with whole addresses where it gives itself any."""
        return self._references.document

    def _reference(self, reference: str, path: str) -> str:
        outer, self._within = self._within, reference
        if outer is not None:
            self._begins.setdefault(outer, set()).add(reference)
        if reference not in self._refs:
            target = self._references.target(reference, path)
            name = self._refs[reference] = self._rules.reserve("ref-" + (reference.rsplit("/", 1)[1] if "/" in reference else "document"))
            self._rules.define(name, self.convert(target, f"{name}-body", reference))
            if self._leads_to_itself(reference):
                raise SchemaError(f"{path}.$ref: the references go in a circle: {reference} stands for itself")
        self._within = outer
        return self._refs[reference]

    def _leads_to_itself(self, reference: str) -> bool:
        waiting, seen = [reference], set()
        while waiting:
            for other in self._begins.get(waiting.pop(), ()):
                if other == reference:
                    return True
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return False

    # --- values ---

    def _value(self, value: Any) -> str:
        """A given value: its members in its own order, with the white space that any value may have."""
        if isinstance(value, Mapping):
            return self._around("{}", ' "," space '.join(f'{self._key(k)} space ":" space {self._value(v)}' for k, v in value.items()))
        if isinstance(value, list):
            return self._around("[]", ' "," space '.join(map(self._value, value)))
        return literal(json.dumps(value, ensure_ascii=False))

    def _key(self, name: str) -> str:
        return literal(json.dumps(name, ensure_ascii=False))

    def _around(self, brackets: str, inner: str) -> str:
        """An object or a list of what stands within it."""
        return f"{literal(brackets[0])} space {inner}{' space' if inner else ''} {literal(brackets[1])}"

    def _any(self) -> str:
        if "value" not in self._refs:
            self._refs["value"] = "value"
            pair = 'string ":" space value'
            for kind, body in PRIMITIVES.items():
                self._rules.define(kind, body)
            self._rules.define("any-object", self._around("{}", f'({pair} ("," space {pair})*)?'))
            self._rules.define("any-array", self._around("[]", '(value ("," space value)*)?'))
            self._rules.define("value", "any-object | any-array | string | number | boolean | null")
        return "value"

    def _typed(self, schema: Mapping[str, Any], kind: str, name: str, path: str) -> str:
        match kind:
            case "object" | "array":
                outer, self._within = self._within, None
                made = self._object(schema, name, path) if kind == "object" else self._array(schema, name, path)
                self._within = outer
                return made
            case "string":
                return string_rule(self._rules, schema, name, path, self._say)
            case "integer" | "number":
                kept = {k: v for k, v in schema.items() if k not in self._ignore}
                return number_rule(self._rules, kept, kind, name, path, self._say)
        return self._rules.add(kind, PRIMITIVES[kind])

    # --- objects ---

    def _object(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        required, patterns = schema.get("required", []), schema.get("patternProperties", {})
        properties = self._properties(schema, path)
        closed = schema.get("additionalProperties", schema.get("unevaluatedProperties", not properties and not patterns))
        pairs = {}
        for key, value in properties.items():
            try:
                rule = self.convert(value, f"{name}-{key}", f"{path}.properties.{key}")
            except Impossible:
                if key in required:
                    raise
                continue
            pairs[key] = self._rules.add(f"{name}-{key}-kv", f'{self._key(key)} space ":" space {rule}')
        for key in (r for r in required if r not in pairs):  # that nothing else is said about
            others = schema.get("additionalProperties", schema.get("unevaluatedProperties", True))
            rule = self._convert(others, f"{name}-{key}", f"{path}.additionalProperties")
            pairs[key] = self._rules.add(f"{name}-{key}-kv", f'{self._key(key)} space ":" space {rule}')
        fewest, most = limits(schema, "minProperties", "maxProperties")
        extra = self._others(schema, closed, [*properties, *pairs], name, path) if most != 0 else None
        if not pairs and extra:
            if fewest > 1:  # the same key may come twice, and then counts once
                self._say("minProperties", path, "requiring more than one unnamed property is not supported in a grammar")
            return self._rules.add(name, self._around("{}", several(extra, fewest, most)))
        if fewest > len(required):
            self._say("minProperties", path, "requiring more properties than those of 'required' is not supported in a grammar")
        if most is not None and (most < len(pairs) or extra):
            self._say("maxProperties", path, "fewer properties than the schema names are not supported in a grammar")
        order = self._in_any_order if self._any_order and len(pairs) > 1 else self._write.in_order
        return self._rules.add(name, self._around("{}", order(pairs, list(required), extra, name)))

    def _properties(self, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The named members with all that is said about them; False where there may be none of that name."""
        patterns, names = schema.get("patternProperties", {}), self._names(schema, path)
        found = {}
        for key in dict.fromkeys([*schema.get("properties", {}), *schema.get("required", ())]):
            matching = [p for p in patterns if _matches(p, key, path)]
            if key not in schema.get("properties", {}) and not matching:
                if not holds(key, names, path):
                    raise Impossible
                continue
            value = schema.get("properties", {}).get(key, True) if holds(key, names, path) else False
            with_patterns: Any = value
            for pattern in matching:
                try:
                    with_patterns = merged(self._followed(with_patterns, path), self._followed(patterns[pattern], path), f"{path}.properties.{key}")
                except Impossible:
                    with_patterns = False
            found[key] = with_patterns
        return found

    def _names(self, schema: Mapping[str, Any], path: str) -> Any:
        """What the names of members must be, as a schema of texts."""
        if "propertyNames" in self._ignore:
            return True
        try:
            names = self._followed(schema.get("propertyNames", True), f"{path}.propertyNames")
            return self._whole(without_annotations(names), f"{path}.propertyNames") if isinstance(names, Mapping) else names
        except Impossible:  # no name is valid; an object without members still is
            return False

    def _others(self, schema: Mapping[str, Any], others: Any, names: Sequence[str], name: str, path: str) -> str | None:
        """A rule for members beyond the named ones; None where there are none."""
        made, patterns = [], schema.get("patternProperties", {})
        if len(patterns) > 1 and not _told_apart(list(patterns)):
            self._say("patternProperties", path, "several patterns are supported in a grammar only if they begin with ^ and different characters")
        if patterns and self._names(schema, path) not in (True, {}):
            self._say("propertyNames", path, "this keyword beside patternProperties is not supported in a grammar")
        for number, (pattern, value) in enumerate(patterns.items()):
            key = self._expression(pattern, f"{path}.patternProperties")
            with suppress(Impossible):
                rule = self._convert(value, f"{name}-pattern-{number}", f"{path}.patternProperties.{pattern}")
                if any(_matches(pattern, n, path) for n in names):
                    self._say("patternProperties", path, f"the pattern {pattern!r} also matches a property; a grammar cannot tell them apart")
                made.append(self._rules.add(f"{name}-pattern-{number}-kv", f'"\\"" {key} "\\"" space ":" space {rule}'))
        if not patterns:
            with suppress(Impossible):
                rule = self._convert(others, f"{name}-other", f"{path}.additionalProperties")
                key = self._other_key(self._names(schema, path), names, name, path)
                made.append(self._rules.add(f"{name}-other-kv", f'{key} space ":" space {rule}'))
        return self._rules.add(f"{name}-others", " | ".join(made)) if made else None

    def _other_key(self, allowed: Any, names: Sequence[str], name: str, path: str) -> str:
        """A rule for the names of additional members: what propertyNames allows, and none of some."""
        if allowed in (True, {}, {"type": "string"}):
            return self._write.other_key(names, name)
        allowed = merged(allowed, {"type": "string"}, f"{path}.propertyNames")
        values = finite(allowed)
        if values is not None:
            if not (left := [v for v in values if v not in names]):
                raise Impossible
            return self._rules.add(f"{name}-key", " | ".join(map(self._key, left)))
        if any(holds(n, allowed, f"{path}.propertyNames") for n in names):
            self._say("propertyNames", path, "this keyword also allows a property; a grammar cannot tell them apart")
        return self.convert(allowed, f"{name}-key", f"{path}.propertyNames")

    def _expression(self, pattern: str, path: str) -> str:
        try:
            return written(read_regex(pattern), quoted=True)
        except GrammarError as error:
            raise SchemaError(f"{path}: {error}") from None

    def _in_any_order(self, pairs: Mapping[str, str], required: list[str], extra: str | None, name: str) -> str:
        """Members in any order, each once at most: a rule for every set of those that are left."""
        if len(pairs) > MOST_IN_ANY_ORDER:
            raise SchemaError(f"{name}: {len(pairs)} properties in any order are too many: at most {MOST_IN_ANY_ORDER} are supported")
        tail = f'{extra} ("," space {extra})*' if extra else ""
        return self._write.in_any_order(list(pairs), lambda left: not any(k in required for k in left), lambda k: pairs[k], f"{name}-left", tail)

    # --- arrays ---

    def _array(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        low, high = limits(schema, "minItems", "maxItems")
        listed = isinstance(schema.get("items"), list)
        prefix = schema.get("prefixItems", schema["items"] if listed else ())
        rest = schema.get("additionalItems" if listed else "items", schema.get("unevaluatedItems", not prefix))
        if "contains" in schema and schema.get("minContains", 1) > 0 and "contains" not in self._ignore:
            return self._containing(schema, prefix, rest, low, high, name, path)
        if schema.get("uniqueItems"):
            return self._unique(schema, low, high, name, path)
        item = self._item(rest, f"{name}-item", f"{path}.items") if high is None or high > len(prefix) else None
        if not prefix:
            if item is None and low:
                raise Impossible
            return self._rules.add(name, self._around("[]", several(item, low, high) if item is not None else ""))
        made = [self.convert(s, f"{name}-{n}", f"{path}.prefixItems[{n}]") for n, s in enumerate(prefix)][:high]
        if low > len(made) and item is None:
            raise Impossible
        # All of the prefix, as OpenAI and pydantic mean it, though a schema without minItems would allow fewer.
        body = ' "," space '.join(made)
        if item is not None and (low > len(made) or "items" in schema):
            body += f' ("," space {item}){{{max(low - len(made), 0)},{"" if high is None else high - len(made)}}}'
        return self._rules.add(name, self._around("[]", body))

    def _item(self, schema: Any, name: str, path: str) -> str | None:
        try:
            return self._convert(schema, name, path)
        except Impossible:
            return None

    def _containing(self, schema: Mapping[str, Any], prefix: Sequence[Any], rest: Any, low: int, high: int | None, name: str, path: str) -> str:
        """Items of which one is what `contains` says: wherever it stands, others come before and after it."""
        if prefix or schema.get("uniqueItems") or schema.get("minContains", 1) > 1 or (high is not None and high > _MOST_CONTAINING):
            self._say("contains", path, f"this is supported in a grammar only for one of up to {_MOST_CONTAINING} items, or of any number, that are all alike")
        if high == 0:
            raise Impossible
        wanted = merged(self._followed(rest, path), self._followed(schema["contains"], path), f"{path}.contains")
        one, item = self.convert(wanted, f"{name}-contained", f"{path}.contains"), self.convert(rest, f"{name}-item", f"{path}.items")
        before, after = f'({item} "," space)', f'("," space {item})'
        if high is None:
            options = [f"{before}{{{n}}} {one} {after}{{{low - 1 - n},}}" for n in range(low - 1)] + [f"{before}{{{max(low - 1, 0)},}} {one} {after}*"]
        else:
            options = [f"{before}{{{n}}} {one} {after}{{{max(low - 1 - n, 0)},{high - 1 - n}}}" for n in range(high)]
        return self._rules.add(name, self._around("[]", f"({' | '.join(options)})"))

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
        body = self._write.in_any_order(values, lambda left: len(values) - len(left) >= low, self._value, f"{name}-left", most=most)
        return self._rules.add(name, self._around("[]", body))


def _matches(pattern: str, text: str, path: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise SchemaError(f"{path}.patternProperties: {error}, in the expression {pattern[:100]!r}") from None


def _told_apart(patterns: Sequence[str]) -> bool:
    """Whether no text matches two of some patterns, as far as their first characters show."""
    firsts = [p[1:2] for p in patterns if p[:1] == "^"]
    return (
        len(firsts) == len(patterns)
        and all(f.isalnum() for f in firsts)
        and len(set(firsts)) == len(firsts)
        and not any(p[2:3] in "*?{|" and p[2:3] for p in patterns)
    )


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
        converter = Converter(rules, schema, any_order=any_order, ignore=[ignore] if isinstance(ignore, str) else ignore)
        return rules.text(converter.convert(converter.document, "document"))
    except RecursionError:
        raise SchemaError("the schema is nested too deeply") from None
