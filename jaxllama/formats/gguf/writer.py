"""Write GGUF: what the reader read comes back byte for byte, whole or split."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .errors import GGUFError
from .reader import Field, GGUFFile, alignment_of, check_name
from .split import shard_name
from .types import DTYPES, MAGIC, TensorType, ValueType


@dataclass(frozen=True)
class TensorData:
    """A tensor to be written.

    Attributes:
        shape: in numpy's order.
        data: its bytes in the file's byte order, or a function that makes them when it is their turn, so that only one tensor is in memory.
        done: called when the bytes are written.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    data: np.ndarray | Callable[[], np.ndarray]
    done: Callable[[], None] | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) // self.type.weights * self.type.bytes


def field_of(key: str, value: Any, type_: ValueType | None = None) -> Field:
    """A metadata field, its type guessed from the Python value as llama.cpp's converters write it: int UINT32 (INT32 when negative), float FLOAT32.

    An array of numbers keeps its own type.
    """
    if isinstance(value, np.ndarray) and type_ is None:
        type_ = next((t for t, dtype in DTYPES.items() if np.dtype(dtype) == value.dtype.newbyteorder("<")), None)
    if isinstance(value, (list, tuple, np.ndarray)):
        item = type_ if type_ is not None else _scalar_type(value[0]) if len(value) else ValueType.STRING
        if item is ValueType.STRING:
            return Field(key, ValueType.ARRAY, list(value), item)
        return Field(key, ValueType.ARRAY, np.asarray(value, bool if item is ValueType.BOOL else DTYPES[item]), item)
    return Field(key, _scalar_type(value) if type_ is None else type_, value)


def _scalar_type(value: Any) -> ValueType:
    if isinstance(value, (bool, np.bool_)):
        return ValueType.BOOL
    if isinstance(value, (int, np.integer)):
        return ValueType.INT32 if value < 0 else ValueType.UINT32
    if isinstance(value, (float, np.floating)):
        return ValueType.FLOAT32
    if isinstance(value, str):
        return ValueType.STRING
    raise TypeError(f"GGUF metadata cannot hold {type(value).__name__}; use int, float, bool, str or a list of one of them")


def write_gguf(
    path: str | Path,
    fields: Iterable[Field],
    tensors: Sequence[TensorData],
    *,
    version: int = 3,
    byte_order: str = "<",
    size: int | None = None,
) -> None:
    """Write one GGUF file. It appears under its name only when it is complete.

    Args:
        path: where to; an existing file is replaced.
        fields: metadata, in this order.
        tensors: in this order, each padded to the alignment (`general.alignment`, 32 by default).
        version: 2 or 3 (the same layout).
        byte_order: "<" or ">", for the header; the tensors' bytes are written as they are.
        size: the file's size in bytes where it is not the natural one (a file read without its last padding).
    """
    path, fields = Path(path), list(fields)
    if version not in (2, 3):
        raise GGUFError(path, "version", expected="2 or 3", found=version)
    alignment = alignment_of(path, next((f for f in fields if f.key == "general.alignment"), None))
    offsets, end = [], 0
    for tensor in tensors:
        check_name(path, tensor.name)
        if isinstance(tensor.data, np.ndarray):
            _check_size(path, tensor, tensor.data)
        offsets.append(end)
        end = -(-(end + tensor.nbytes) // alignment) * alignment
    header = _header(fields, tensors, offsets, version, byte_order)
    start = -(-len(header) // alignment) * alignment
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(header)
            for tensor, offset in zip(tensors, offsets, strict=True):
                file.write(bytes(start + offset - file.tell()))
                data = tensor.data if isinstance(tensor.data, np.ndarray) else tensor.data()
                _check_size(path, tensor, data)
                file.write(np.ascontiguousarray(data).data)
                del data
                if tensor.done is not None:
                    tensor.done()
            file.write(bytes(max(0, start + end - file.tell())))
            if size is not None:
                file.truncate(size)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _check_size(path: Path, tensor: TensorData, data: np.ndarray) -> None:
    if data.nbytes != tensor.nbytes:
        raise GGUFError(path, f"tensor '{tensor.name}'", expected=f"{tensor.nbytes} bytes for shape {tensor.shape}", found=data.nbytes)


def rewrite(file: GGUFFile, path: str | Path) -> None:
    """Write a file that was read back under another name: byte-identical for an unsplit version 2 or 3 file without overrides."""
    shard = file.shards[0]
    if len(file.shards) > 1:
        raise GGUFError(file.path, "split.count", expected="one file (write_split writes several)", found=len(file.shards))
    tensors = [TensorData(t.name, t.shape, t.type, file.data(t.name)) for t in file.tensors.values()]
    write_gguf(path, file.fields.values(), tensors, version=max(shard.version, 2), byte_order=shard.byte_order, size=shard.buffer.nbytes)


def write_split(
    prefix: str | Path, fields: Iterable[Field], tensors: Sequence[TensorData], *, max_tensors: int = 128, max_bytes: int | None = None
) -> list[Path]:
    """Write a model as several files, `prefix-00001-of-0000N.gguf` and so on; the first holds all metadata.

    Returns:
        The paths, in order.
    """
    prefix, fields = Path(prefix), [f for f in fields if not f.key.startswith("split.")]
    groups: list[list[TensorData]] = [[]]
    used = 0
    for tensor in tensors:
        if groups[-1] and (len(groups[-1]) >= max_tensors or (max_bytes is not None and used + tensor.nbytes > max_bytes)):
            groups.append([])
            used = 0
        groups[-1].append(tensor)
        used += tensor.nbytes
    paths = []
    for i, group in enumerate(groups):
        own = [
            field_of("split.no", i, ValueType.UINT16),
            field_of("split.count", len(groups), ValueType.UINT16),
            field_of("split.tensors.count", len(tensors), ValueType.INT32),
        ]
        kept = fields if i == 0 else [f for f in fields if f.key == "general.alignment"]
        paths.append(prefix.with_name(shard_name(prefix.name, i, len(groups))))
        write_gguf(paths[-1], [*kept, *own], group)
    return paths


def _header(fields: Sequence[Field], tensors: Sequence[TensorData], offsets: Sequence[int], version: int, order: str) -> bytes:
    def pack(letter: str, *values: Any) -> bytes:
        return struct.pack(f"{order}{len(values)}{letter}", *values)

    def string(text: str) -> bytes:
        encoded = text.encode("utf-8", "surrogateescape")
        return pack("Q", len(encoded)) + encoded

    def scalar(type_: ValueType, value: Any) -> bytes:
        return string(value) if type_ is ValueType.STRING else np.asarray(value, order + DTYPES[type_]).tobytes()

    parts = [MAGIC, pack("I", version), pack("Q", len(tensors), len(fields))]
    for f in fields:
        parts += [string(f.key), pack("I", f.type)]
        raw = f.raw if f.raw is not None and np.array_equal(f.raw.astype(bool), np.atleast_1d(f.value)) else None  # not where the value has been replaced
        if f.type is not ValueType.ARRAY:
            parts.append(raw.tobytes() if raw is not None else scalar(f.type, f.value))
            continue
        assert f.item is not None, f"array field '{f.key}' has no item type"
        parts += [pack("I", f.item), pack("Q", len(f.value))]
        if f.item is ValueType.STRING:
            parts += [string(text) for text in f.value]
        elif raw is not None:
            parts.append(raw.tobytes())
        else:
            parts.append(np.asarray(f.value).astype(order + DTYPES[f.item]).tobytes())
    for t, offset in zip(tensors, offsets, strict=True):
        dims = tuple(reversed(t.shape))
        parts += [string(t.name), pack("I", len(dims)), pack("Q", *dims), pack("I", t.type.id), pack("Q", offset)]
    return b"".join(parts)
