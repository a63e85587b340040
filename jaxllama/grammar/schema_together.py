"""One schema made of several: `allOf`, `if`, `not` and what references point to, put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .schema_merge import ANNOTATIONS, DEPENDENT, Impossible, SchemaError, excluded, merged, with_conditions, without_annotations
from .schema_references import References

_MOST_REFERENCES = 200  # one after the other, with nothing between them


class Cases(list[Any]):
    """Options that exclude each other, of an `if`."""


class Together:
    """Puts schemas of one document together."""

    def __init__(self, references: References):
        self._references = references

    def whole(self, schema: dict[str, Any], path: str) -> Any:
        """A schema without $ref, allOf, if and not, and what depends on a member as an `if`."""
        schema = with_conditions(schema)
        found: Any = {k: v for k, v in schema.items() if k not in ("$ref", "allOf", "if", "then", "else", "not")}
        if "$ref" in schema:
            found = merged(found, self.followed({"$ref": schema["$ref"]}, path), path)
        for number, part in enumerate(schema.get("allOf", ())):
            inner = self.followed(part, f"{path}.allOf[{number}]")
            found = merged(found, self.whole(without_annotations(inner), f"{path}.allOf[{number}]") if isinstance(inner, Mapping) else inner, path)
        if isinstance(found, Mapping) and {"allOf", "if", "not", "$ref", *DEPENDENT} & set(found):
            found = self.whole(dict(found), path)
        if "not" in schema:
            found = excluded(found if isinstance(found, Mapping) else {}, self.followed(schema["not"], f"{path}.not"), f"{path}.not")
        if "if" in schema:
            found = self._either(found, schema, path)
        return found

    def _either(self, found: Any, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
        condition = self.followed(schema["if"], f"{path}.if")
        base = found if isinstance(found, Mapping) else {}
        options = []
        for way, key in ((lambda: merged(base, condition, f"{path}.if"), "then"), (lambda: excluded(base, condition, f"{path}.if"), "else")):
            try:
                options.append(merged(way(), self.followed(schema.get(key, True), f"{path}.{key}"), f"{path}.{key}"))
            except Impossible:
                continue
        if not options:
            raise Impossible
        return {"anyOf": Cases(options)}

    def followed(self, schema: Any, path: str) -> Any:
        """A schema, or what its reference points to."""
        for _ in range(_MOST_REFERENCES):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                return schema
            target, rest = self._references.target(schema["$ref"], path), {k: v for k, v in schema.items() if k != "$ref" and k not in ANNOTATIONS}
            schema = merged(target, rest, path) if rest else target
        raise SchemaError(f"{path}.$ref: the references go in a circle")
