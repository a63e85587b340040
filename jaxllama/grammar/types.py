"""JSON schemas of Python's types: pydantic models, dataclasses, typed dictionaries, enumerations, literals, and what is made of them."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from .schema_merge import SchemaError

_PLAIN = "str, int, float, bool, None, list, dict, tuple, Literal and |"
_SIMPLE: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    Any: {},
    object: {},
    dict: {"type": "object"},
    list: {"type": "array"},
}


def schema_of(described: Any) -> Any:
    """The JSON schema of a type, or a schema as it is.

    Raises:
        SchemaError: the type is not one that JSON can hold.
    """
    if isinstance(described, (Mapping, bool)):
        return described
    if hasattr(described, "json_schema") and hasattr(described, "validate_python"):
        return described.json_schema()  # a TypeAdapter of pydantic
    definitions: dict[str, Any] = {}
    schema = _Types(definitions).schema(described)
    return {**schema, "$defs": definitions} if definitions else schema


class _Types:
    def __init__(self, definitions: dict[str, Any]):
        self._definitions = definitions
        self._names: dict[Any, str] = {}

    def schema(self, kind: Any) -> dict[str, Any]:
        try:
            if kind in _SIMPLE:
                return dict(_SIMPLE[kind])
        except TypeError:
            pass
        origin, args = get_origin(kind), get_args(kind)
        if origin is typing.Annotated:
            return self.schema(args[0])
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self.schema(a) for a in args]}
        if origin is typing.Literal:
            return {"enum": list(args)}
        if origin in (list, set, frozenset, Sequence):
            return {"type": "array", "items": self.schema(args[0]) if args else {}}
        if origin is tuple:
            if len(args) == 2 and args[1] is Ellipsis:
                return {"type": "array", "items": self.schema(args[0])}
            return {"type": "array", "prefixItems": [self.schema(a) for a in args], "minItems": len(args), "maxItems": len(args)}
        if origin in (dict, Mapping):
            if args and args[0] is not str:
                raise SchemaError(f"keys of a JSON object must be strings, not {args[0]}")
            return {"type": "object", "additionalProperties": self.schema(args[1]) if args else {}}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return {"enum": [member.value for member in kind]}
        if hasattr(kind, "model_json_schema"):
            found = kind.model_json_schema()
            self._definitions.update(found.pop("$defs", {}))
            return found
        if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
            return self._fields(kind)
        raise SchemaError(
            f"there is no JSON schema for {kind!r}; give a dictionary, a pydantic model, a dataclass, a TypedDict, an Enum or a type made of {_PLAIN}"
        )

    def _fields(self, kind: Any) -> dict[str, Any]:
        """A reference, so that types may contain themselves."""
        if kind not in self._names:
            name = self._names[kind] = kind.__name__ if kind.__name__ not in self._definitions else f"{kind.__name__}_{len(self._definitions)}"
            self._definitions[name] = {}
            try:
                hints = typing.get_type_hints(kind)
            except NameError as error:
                raise SchemaError(f"the types of {kind.__name__}'s fields cannot be found where it is defined: {error}") from None
            if dataclasses.is_dataclass(kind):
                fields = [f for f in dataclasses.fields(kind) if f.init]
                required = [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
                names = [f.name for f in fields]
            else:
                names, required = list(hints), sorted(kind.__required_keys__, key=list(hints).index)
            self._definitions[name] = {"type": "object", "properties": {n: self.schema(hints[n]) for n in names}, "required": required}
        return {"$ref": f"#/$defs/{self._names[kind]}"}
