"""What `$ref` points to: places in the document, and names that it gives to places (`$anchor`, `$id`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from .schema_merge import SchemaError

_DATA = frozenset(("const", "default", "enum", "example", "examples"))


class References:
    """The places of one document.

    Attributes:
        document: the schema; where it gives itself addresses, its references have them too.
    """

    def __init__(self, document: Any):
        self.document = _absolute(document, "")
        self._places: dict[str, Any] = {}  # by their names
        for base, schema in _schemas(self.document, ""):
            self._places.setdefault(base, schema)
            if isinstance(schema.get("$anchor"), str):
                self._places[f"{base}#{schema['$anchor']}"] = schema
        self._places.setdefault("", self.document)

    def target(self, reference: str, path: str) -> Any:
        """What a reference points to.

        Raises:
            SchemaError: nothing in the document.
        """
        if reference in self._places:
            return self._places[reference]
        address, pointer = urldefrag(reference)
        if address not in self._places:
            raise SchemaError(f"{path}.$ref: expected a reference within the schema (#/...), found {reference!r}")
        found = self._places[address]
        if pointer and not pointer.startswith("/"):
            raise SchemaError(f"{path}.$ref: the schema has no {reference}")
        for part in unquote(pointer).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Sequence) and not isinstance(found, str) and key.isdecimal() and key.isascii() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, Mapping) and key in found:
                found = found[key]
            else:
                raise SchemaError(f"{path}.$ref: the schema has no {reference}")
        return found


def _based(schema: Mapping[str, Any], base: str) -> str:
    """The address that references within a schema are relative to."""
    return urldefrag(_joined(base, schema["$id"]))[0] if isinstance(schema.get("$id"), str) else base


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError as error:
        raise SchemaError(f"$id, $ref: {reference!r} is no address: {error}") from None


def _absolute(value: Any, base: str) -> Any:
    if isinstance(value, list):
        return [_absolute(part, base) for part in value]
    if not isinstance(value, Mapping):
        return value
    base = _based(value, base)
    found = {key: part if key in _DATA else _absolute(part, base) for key, part in value.items()}
    return {**found, "$ref": _joined(base, value["$ref"])} if base and isinstance(value.get("$ref"), str) else found


def _schemas(value: Any, base: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All objects that may be schemas, the outermost first, and the addresses that hold there."""
    if isinstance(value, list):
        for part in value:
            yield from _schemas(part, base)
    elif isinstance(value, Mapping):
        base = _based(value, base)
        yield base, value
        for key, part in value.items():
            if key not in _DATA:
                yield from _schemas(part, base)
