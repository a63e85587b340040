"""JSON schemas put together: what holds under two schemas at once, and what holds where one does not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

ANNOTATIONS = frozenset(
    "title description default example examples $schema $id $anchor $dynamicAnchor $vocabulary $defs definitions deprecated readOnly writeOnly $comment strict "
    "discriminator contentMediaType contentEncoding contentSchema externalDocs xml".split()
)
DEPENDENT = ("dependentRequired", "dependentSchemas")
TYPES = ("boolean", "null", "integer", "number", "string", "object", "array")
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
Schema = Mapping[str, Any]


class SchemaError(ValueError):
    """A schema says what a grammar cannot, or is none."""


class Impossible(SchemaError):
    """Nothing holds."""


def without_annotations(schema: Schema) -> dict[str, Any]:
    return {k: v for k, v in schema.items() if k not in ANNOTATIONS and not k.startswith("x-")}


def with_conditions(schema: Schema) -> dict[str, Any]:
    """A schema in which what depends on a member is an `if`."""
    found = {k: v for k, v in schema.items() if k not in DEPENDENT}
    conditions = [({"required": [k]}, {"required": v}) for k, v in schema.get("dependentRequired", {}).items() if v]
    conditions += [({"required": [k]}, v) for k, v in schema.get("dependentSchemas", {}).items()]
    return {**found, "allOf": [*found.get("allOf", ()), *({"if": a, "then": b} for a, b in conditions)]} if conditions else found


def types_of(schema: Schema) -> list[str] | None:
    """The types that a schema names; None: it names none."""
    kind = schema.get("type")
    return None if kind is None else list(kind) if isinstance(kind, list) else [kind]


def merged(a: Any, b: Any, path: str) -> dict[str, Any] | bool:
    """A schema for what holds under both. References are followed before.

    Raises:
        Impossible: nothing does.
        SchemaError: no grammar can say it.
    """
    if a is False or b is False:
        raise Impossible
    if a is True or a == {}:
        return b
    if b is True or b == {}:
        return a
    for schema in (a, b):
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{path}: expected a schema, found {json.dumps(schema)[:100]}")
    found, more = without_annotations(a), without_annotations(b)
    if "if" in found and "if" in more:  # each goes with its own consequences
        found["allOf"] = [*found.get("allOf", ()), {k: more.pop(k) for k in ("if", "then", "else") if k in more}]
    for key, value in more.items():
        if key not in found or same(found[key], value):
            found[key] = value
            continue
        mine = found[key]
        if key == "type":
            found[key] = _types(types_of(a) or [], types_of(b) or [])
        elif key == "enum":
            found[key] = [v for v in mine if any(same(v, w) for w in value)]
        elif key == "const":
            raise Impossible
        elif key == "required":
            found[key] = [*mine, *(r for r in value if r not in mine)]
        elif key in _LOWER:
            found[key] = max(mine, value)
        elif key in _UPPER:
            found[key] = min(mine, value)
        elif key in ("uniqueItems", "nullable"):
            found[key] = (mine or value) if key == "uniqueItems" else (mine and value)
        elif key in ("properties", "patternProperties"):
            found[key] = _members(mine, value, f"{path}.{key}")
        elif key in ("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems"):
            found[key] = _both(mine, value, f"{path}.{key}")
        elif key == "prefixItems" and len(mine) == len(value):
            found[key] = [_both(x, y, f"{path}.{key}") for x, y in zip(mine, value, strict=True)]
        elif key in ("anyOf", "oneOf"):  # each of the options together with what the others are about
            found[key] = [{"allOf": [option, {key: value}]} for option in mine]
        elif key == "allOf":
            found[key] = [*mine, *value]
        elif key == "not":
            found["allOf"] = [*found.get("allOf", ()), {key: value}]
        else:
            raise SchemaError(f"{path}.{key}: these two values of the keyword cannot be combined in a grammar: {json.dumps(mine)} and {json.dumps(value)}")
    for one, other in ((a, b), (b, a)):  # what one of them has no property for is an additional one there
        if "properties" in other and "properties" in found:
            rest = one.get("additionalProperties", True)
            for name in other["properties"]:
                if name not in one.get("properties", {}) and not any(re.search(p, name) for p in one.get("patternProperties", {})) and rest is not True:
                    found["properties"] = {**found["properties"], name: _both(found["properties"][name], rest, f"{path}.properties.{name}")}
        if one.get("additionalProperties", True) is not True and set(other.get("patternProperties", ())) - set(one.get("patternProperties", ())):
            raise SchemaError(f"{path}.patternProperties: another schema limits additionalProperties; the two cannot be combined in a grammar")
        if "prefixItems" in other and "prefixItems" not in one:  # likewise
            found["prefixItems"] = [_both(item, one.get("items", True), f"{path}.prefixItems") for item in other["prefixItems"]]
    return found


def _both(a: Any, b: Any, path: str) -> Any:
    try:
        return merged(a, b, path)
    except Impossible:
        return False


def _members(a: Schema, b: Schema, path: str) -> dict[str, Any]:
    return {**a, **{name: _both(a[name], schema, f"{path}.{name}") if name in a else schema for name, schema in b.items()}}


def _types(a: list[str], b: list[str]) -> list[str]:
    found = [t for t in a if t in b or (t == "integer" and "number" in b)]
    found += [t for t in b if t == "integer" and "number" in a and t not in found]
    if not found:
        raise Impossible
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal for JSON: true is not 1."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def type_of(value: Any) -> str:
    """The type of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    if value is None:
        return "null"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) or value.is_integer() else "number"
    return "string" if isinstance(value, str) else "object" if isinstance(value, Mapping) else "array"


def holds(value: Any, schema: Any, path: str) -> bool:
    """Whether a value given in the schema itself holds under the other keywords beside it.

    Raises:
        SchemaError: a keyword is not one of the simple ones.
    """
    if isinstance(schema, bool):
        return schema
    kind, found = type_of(value), True
    for key, wanted in without_annotations(schema).items():
        if key == "type":
            types = types_of(schema) or []
            good = kind in types or (kind == "integer" and "number" in types)
        elif key == "enum":
            good = any(same(value, v) for v in wanted)
        elif key == "const":
            good = same(value, wanted)
        elif key in ("minLength", "maxLength", "pattern", "format"):
            good = kind != "string" or _text_holds(value, key, wanted)
        elif key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            limit = {"minimum": value.__ge__, "maximum": value.__le__, "exclusiveMinimum": value.__gt__, "exclusiveMaximum": value.__lt__}
            good = kind not in ("integer", "number") or bool(limit[key](wanted))
        elif key == "multipleOf":
            good = kind not in ("integer", "number") or Fraction(str(value)) % Fraction(str(wanted)) == 0
        elif key in ("minItems", "maxItems"):
            good = kind != "array" or (len(value) >= wanted if key == "minItems" else len(value) <= wanted)
        elif key == "required":
            good = kind != "object" or all(r in value for r in wanted)
        elif key == "properties":
            good = kind != "object" or all(holds(value[k], s, path) for k, s in wanted.items() if k in value)
        elif key == "additionalProperties":
            names = schema.get("properties", {})
            good = kind != "object" or all(holds(v, wanted, path) for k, v in value.items() if k not in names)
        elif key == "items":
            good = kind != "array" or all(holds(v, wanted, path) for v in value)
        elif key == "anyOf":
            good = any(holds(value, s, path) for s in wanted)
        elif key == "oneOf":
            good = sum(holds(value, s, path) for s in wanted) == 1
        elif key == "allOf":
            good = all(holds(value, s, path) for s in wanted)
        elif key == "not":
            good = not holds(value, wanted, path)
        elif key == "uniqueItems":
            good = kind != "array" or not wanted or all(not same(a, b) for n, a in enumerate(value) for b in value[:n])
        else:
            raise SchemaError(f"{path}.{key}: this keyword together with enum or const is not supported in a grammar")
        found = found and good  # and on: a keyword that follows may be one that this does not know
    return found


def _text_holds(value: str, key: str, wanted: Any) -> bool:
    if key == "pattern":
        return re.search(wanted, value) is not None
    return len(value) >= wanted if key == "minLength" else len(value) <= wanted if key == "maxLength" else True


def finite(schema: Any) -> list[Any] | None:
    """All values that hold under a schema, where they are given one by one."""
    if not isinstance(schema, Mapping):
        return [] if schema is False else None
    if "const" in schema:
        values = [schema["const"]]
    elif "enum" in schema:
        values = list(schema["enum"])
    elif set(types_of(schema) or ["any"]) <= {"boolean", "null"}:
        values = [v for t in types_of(schema) or [] for v in ((True, False) if t == "boolean" else (None,))]
    else:
        return None
    return [v for v in values if holds(v, {k: s for k, s in schema.items() if k != ("const" if "const" in schema else "enum")}, "$")]


def excluded(schema: Schema, what: Any, path: str) -> dict[str, Any] | bool:
    """A schema for what holds under `schema` and not under `what`.

    Raises:
        Impossible: nothing does.
        SchemaError: the cases cannot be counted.
    """
    if what is False:
        return dict(schema)
    what = {} if what is True else without_annotations(what)
    if not what:
        raise Impossible
    values = finite(schema)
    if values is not None:
        left = [v for v in values if not holds(v, what, path)]
        if not left:
            raise Impossible
        return {"enum": left}
    if set(what) == {"type"}:
        own, gone = types_of(schema) or list(TYPES), types_of(what) or []
        left = [t for t in own if t not in gone and not (t == "integer" and "number" in gone)]
        if not left or ("integer" in gone and "number" in left):
            raise SchemaError(f"{path}: numbers that are not integers are not supported in a grammar") if left else Impossible
        return {**schema, "type": left}
    if set(what) <= {"required", "properties"}:  # holds for everything but objects
        schema = {**schema, "type": _types(types_of(schema) or ["object"], ["object"])}
    if set(what) <= {"type", "required"} and "required" in what and what.get("type", "object") == "object":
        if len(what["required"]) != 1:
            raise SchemaError(f"{path}: the negation of several required properties is not supported in a grammar")
        (name,) = what["required"]
        return {**schema, "properties": {**schema.get("properties", {}), name: False}}
    if set(what) <= {"type", "required", "properties"} and len(what.get("properties", {})) == 1 and what.get("type", "object") == "object":
        ((name, inner),) = what["properties"].items()
        if set(what.get("required", ())) <= {name}:
            own = schema.get("properties", {}).get(name)
            if own is not None and finite(own) is not None:
                try:
                    left: Any = excluded(own, inner, f"{path}.properties.{name}")
                except Impossible:
                    left = False
                found = {**schema, "properties": {**schema["properties"], name: left}}
                if not what.get("required") and name not in schema.get("required", ()):
                    found["required"] = [*schema.get("required", ()), name]  # where it is missing, `what` holds
                return found
    raise SchemaError(f"{path}: the negation of this schema is not supported in a grammar: {json.dumps(what)[:200]}")
