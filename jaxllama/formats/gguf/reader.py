"""Read GGUF: versions 1 to 3, either byte order, one file or a split one. Nothing is copied but the metadata.

A file comes from a stranger, so every length is checked against the bytes that are left before anything is made from it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ...names import tells_nearest
from .errors import GGUFError
from .split import shard_paths
from .types import DEFAULT_ALIGNMENT, DTYPES, MAGIC, MAX_DIMS, NAME_BYTES, TENSOR_TYPES, TensorType, ValueType


@dataclass(frozen=True)
class Field:
    """A metadata entry with the type it has in the file, so that it can be written back unchanged.

    `value` is an int, float, bool or str; for an array a list of str, or a read-only numpy array. `item` is the type of an array's items. In strings that are
    not UTF-8, surrogates stand for the bytes that are not (Python's `surrogateescape`). `raw` uint8[...] are the bytes of booleans that a file writes otherwise
    than as 0 and 1; None where there are none.
    """

    key: str
    type: ValueType
    value: Any
    item: ValueType | None = None
    raw: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Tensor:
    """A tensor's place in a file.

    `shape` is in numpy's order (GGUF writes it reversed): the last axis is contiguous. `offset` counts bytes from the start of the shard's tensor data.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    nbytes: int
    shard: int

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass
class Shard:
    """One file on disk, mapped into memory."""

    path: Path
    version: int
    byte_order: str  # "<" or ">"
    alignment: int
    fields: dict[str, Field]
    tensors: dict[str, Tensor]
    data_start: int
    data_end: int  # where the last tensor ends; beyond the end of a file that is not whole
    buffer: np.ndarray = field(repr=False)  # uint8, the whole file
    map: mmap.mmap = field(repr=False)


class GGUFFile:
    """An open GGUF file; a split one looks like one file.

    Attributes:
        path: the file that was opened.
        shards: the mapped files, one unless the file is split.
        absent: files of a split one that are not there; none unless it was opened with `header_only`.
        fields: metadata in file order, as `Field`.
        tensors: `Tensor` by name, in file order.
    """

    def __init__(self, path: Path, shards: list[Shard], overrides: Sequence[Field] = (), absent: Sequence[Path] = ()):
        self.path, self.shards, self.absent = path, shards, list(absent)
        self.fields = dict(shards[0].fields)
        self.fields.update({f.key: f for f in overrides})
        self.tensors: dict[str, Tensor] = {}
        for shard in shards:
            for name, tensor in shard.tensors.items():
                if name in self.tensors:
                    raise GGUFError(shard.path, f"tensor '{name}'", expected="a name used once in all shards", found="a second tensor of that name")
                self.tensors[name] = tensor

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata values by key."""
        return {key: f.value for key, f in self.fields.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all files together."""
        return sum(shard.buffer.nbytes for shard in self.shards)

    @property
    def missing(self) -> list[str]:
        """What is not there of a file that was opened with `header_only`, a sentence for each of its files that is not whole."""
        found = [f"{shard.path.name} has {shard.buffer.nbytes} of {shard.data_end} bytes" for shard in self.shards if shard.buffer.nbytes < shard.data_end]
        return found + [f"{path.name} is not there" for path in self.absent]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default` where the file has none."""
        found = self.fields.get(key)
        return default if found is None else found.value

    def require(self, key: str) -> Any:
        """The value of a key that must be there."""
        if key not in self.fields:
            raise GGUFError(self.path, key, expected="this metadata key", found="no such key (--override-kv can supply it)")
        return self.fields[key].value

    def data(self, name: str) -> np.ndarray:
        """The tensor's bytes as they lie in the file: uint8[..., row bytes], a read-only view of the map.

        Raises:
            KeyError: the file has no such tensor.
            GGUFError: the file, opened with `header_only`, ends before the tensor does.
        """
        tensor = self.tensors[name]
        shard = self.shards[tensor.shard]
        start = shard.data_start + tensor.offset
        if start + tensor.nbytes > shard.buffer.nbytes:
            raise GGUFError(shard.path, f"tensor '{name}'", expected=f"{start + tensor.nbytes} bytes in the file", found=shard.buffer.nbytes)
        row = (tensor.shape[-1] if tensor.shape else 1) // tensor.type.weights * tensor.type.bytes
        return shard.buffer[start : start + tensor.nbytes].reshape(*tensor.shape[:-1], row)

    def release(self, name: str) -> None:
        """Tell the system that a tensor's pages are not needed any more (they stay readable, from disk)."""
        tensor = self.tensors[name]
        shard = self.shards[tensor.shard]
        first = -(-(shard.data_start + tensor.offset) // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (shard.data_start + tensor.offset + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first and hasattr(mmap, "MADV_DONTNEED"):
            shard.map.madvise(mmap.MADV_DONTNEED, first, last - first)


@tells_nearest
def open_gguf(path: str | Path, *, overrides: Sequence[Field] = (), header_only: bool = False) -> GGUFFile:
    """Open a GGUF file, or the first shard of a split one together with the rest.

    Args:
        path: the file.
        overrides: metadata that replaces or adds to the file's own (`parse_overrides`).
        header_only: the metadata and the table of tensors are enough: data may be cut off or missing, as in a file whose download is under way
            (`GGUFFile.missing` says so).

    Raises:
        GGUFError: the file is not a sound GGUF file; the message says where and why.
        OSError: the file cannot be opened.
    """
    if not isinstance(path, (str, PathLike)) or str(path) == "":
        raise TypeError(f"expected the path of a GGUF file, found {path!r}")
    path = Path(path)
    if path.exists() and not path.is_file():
        raise GGUFError(path, "the file", expected="a file that is stored somewhere", found="a folder" if path.is_dir() else "a device or a pipe")
    first = _open_shard(path, 0, header_only)
    shards, absent = [first], []
    count = _split_value(first, "split.count", 1)
    if count > 1:
        number = _split_value(first, "split.no", 0)
        if number != 0:
            raise GGUFError(path, "split.no", expected=f"0: open the first of the {count} files, the others are found from it", found=number)
        for i, other in enumerate(shard_paths(path, count)[1:], 1):
            if header_only and not other.exists():
                absent.append(other)
                continue
            if not other.exists():
                raise GGUFError(path, "split.count", expected=f"{count} files beside each other", found=f"no file {other.name}")
            shard = _open_shard(other, len(shards), header_only)
            if (_split_value(shard, "split.no", -1), _split_value(shard, "split.count", -1)) != (i, count):
                raise GGUFError(other, "split.no", expected=f"shard {i} of {count}", found=f"shard {_split_value(shard, 'split.no', -1)}")
            shards.append(shard)
        total, stated = sum(len(s.tensors) for s in shards), _split_value(first, "split.tensors.count", -1)
        if stated not in (-1, total) and not absent:
            raise GGUFError(path, "split.tensors.count", expected=f"{stated} tensors in all shards", found=total)
    return GGUFFile(path, shards, overrides, absent)


def _split_value(shard: Shard, key: str, default: int) -> int:
    found = shard.fields.get(key)
    if found is None:
        return default
    if not isinstance(found.value, int):
        raise GGUFError(shard.path, key, expected="an integer", found=found.type.name)
    return found.value


def _open_shard(path: Path, index: int, header_only: bool) -> Shard:
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise GGUFError(path, "file", expected="a GGUF file", found="an empty file") from None
    return parse(path, np.frombuffer(mapped, np.uint8), mapped, index, header_only)


def parse(path: Path, buffer: np.ndarray, mapped: mmap.mmap, index: int, header_only: bool) -> Shard:
    """Read the header of one file: metadata, tensor table, and where the data begins."""
    cursor = _Cursor(path, memoryview(mapped))
    if cursor.take(4, "magic") != MAGIC:
        raise GGUFError(path, "magic", expected="GGUF", found=repr(bytes(cursor.view[:4])))
    raw = bytes(cursor.take(4, "version"))
    version = int.from_bytes(raw, "little")
    if version & 0xFFFF == 0:
        cursor.use_order(">")
        version = int.from_bytes(raw, "big")
    if version not in (1, 2, 3):
        raise GGUFError(path, "version", expected="1, 2 or 3", found=version)
    cursor.use_lengths("I" if version == 1 else "Q")
    n_tensors = cursor.length("n_tensors", 4 + 4 + cursor.length_size)
    n_fields = cursor.length("n_kv", 4 + 1 + cursor.length_size)
    fields: dict[str, Field] = {}
    for i in range(n_fields):
        key = cursor.string(f"key {i}")
        if not key or key in fields:
            raise GGUFError(path, f"key {i}", expected="a name used once", found=repr(key))
        fields[key] = cursor.field(key)
    alignment = alignment_of(path, fields.get("general.alignment"))
    infos = [cursor.tensor(i, index) for i in range(n_tensors)]
    data_start = -(-cursor.at // alignment) * alignment
    tensors, end = _check_tensors(path, infos, alignment)
    if not header_only and tensors and data_start + end > buffer.nbytes:
        cut = next(t for t in tensors.values() if data_start + t.offset + t.nbytes > buffer.nbytes)
        left = max(buffer.nbytes - data_start, 0)
        raise GGUFError(path, f"tensor '{cut.name}'", expected=f"{cut.nbytes} bytes at offset {cut.offset}", found=f"{left} bytes of data in the file")
    return Shard(path, version, cursor.order, alignment, fields, tensors, data_start, data_start + end, buffer, mapped)


def alignment_of(path: Path, found: Field | None) -> int:
    """The bytes to which a file's tensors are aligned, from its field `general.alignment`, if it has one."""
    if found is None:
        return DEFAULT_ALIGNMENT
    if found.type is not ValueType.UINT32:
        raise GGUFError(path, "general.alignment", expected="a UINT32", found=found.type.name)
    if found.value < 1 or found.value & (found.value - 1):
        raise GGUFError(path, "general.alignment", expected="a power of two", found=found.value)
    return found.value


def _check_tensors(path: Path, infos: list[Tensor], alignment: int) -> tuple[dict[str, Tensor], int]:
    """The tensors by name, and where the last one ends. Each begins where the one before ends and is padded."""
    tensors: dict[str, Tensor] = {}
    offset = end = 0
    for info in infos:
        if info.name in tensors:
            raise GGUFError(path, f"tensor '{info.name}'", expected="a name used once", found="a second tensor of that name")
        if info.offset != offset:
            raise GGUFError(path, f"tensor '{info.name}' offset", expected=f"{offset}, where the tensor before it ends", found=info.offset)
        tensors[info.name] = info
        end = offset + info.nbytes
        offset = -(-end // alignment) * alignment
    return tensors, end


def check_name(path: Path, name: str) -> None:
    """Refuse the name of a tensor that llama.cpp has no room for."""
    if (size := len(name.encode("utf-8", "surrogateescape"))) >= NAME_BYTES:
        raise GGUFError(path, f"tensor '{name[:40]}...'", expected=f"a name of less than {NAME_BYTES} bytes", found=f"{size} bytes")


class _Cursor:
    """Reads forward through a header; every read is checked against what is left."""

    def __init__(self, path: Path, view: memoryview):
        self.path, self.view, self.at = path, view, 0
        self.use_order("<")

    def use_order(self, order: str) -> None:
        self.order = order

    def use_lengths(self, letter: str) -> None:
        self._length = struct.Struct(self.order + letter)
        self.length_size = self._length.size

    def take(self, count: int, what: str) -> memoryview:
        left = len(self.view) - self.at
        if count > left:
            raise GGUFError(self.path, what, expected=f"{count} bytes at offset {self.at}", found=f"end of file after {left}")
        self.at += count
        return self.view[self.at - count : self.at]

    def scalar(self, letter: str, what: str) -> Any:
        fmt = struct.Struct(self.order + letter)
        return fmt.unpack(self.take(fmt.size, what))[0]

    def length(self, what: str, least: int) -> int:
        """A count of things that take at least `least` bytes each."""
        count = self._length.unpack(self.take(self.length_size, what))[0]
        left = len(self.view) - self.at
        if count * least > left:
            raise GGUFError(self.path, what, expected=f"at most {left // least} (the file has {left} bytes left)", found=count)
        return count

    def string(self, what: str) -> str:
        return str(self.take(self.length(what, 1), what), "utf-8", "surrogateescape")

    def kind(self, what: str) -> ValueType:
        number = self.scalar("I", what)
        try:
            return ValueType(number)
        except ValueError:
            raise GGUFError(self.path, what, expected="a value type from 0 to 12", found=number) from None

    def field(self, key: str) -> Field:
        kind = self.kind(f"type of '{key}'")
        if kind is ValueType.STRING:
            return Field(key, kind, self.string(key))
        if kind is not ValueType.ARRAY:
            dtype = np.dtype(self.order + DTYPES[kind])
            found = np.frombuffer(self.take(dtype.itemsize, key), dtype)
            if kind is ValueType.BOOL:
                return Field(key, kind, bool(found[0]), raw=found if found[0] > 1 else None)
            return Field(key, kind, found[0].item())
        item = self.kind(f"item type of '{key}'")
        if item is ValueType.ARRAY:
            raise GGUFError(self.path, f"item type of '{key}'", expected="a type other than ARRAY (arrays do not nest)", found="ARRAY")
        if item is ValueType.STRING:
            return Field(key, kind, self.strings(key), item)
        dtype = np.dtype(self.order + DTYPES[item])
        values = np.frombuffer(self.take(self.length(f"length of '{key}'", dtype.itemsize) * dtype.itemsize, key), dtype)
        if item is ValueType.BOOL:
            return Field(key, kind, values.astype(bool), item, values if (values > 1).any() else None)
        return Field(key, kind, values, item)

    def strings(self, key: str) -> list[str]:
        """An array of strings. Vocabularies have hundreds of thousands, so this loop is written out."""
        count = self.length(f"length of '{key}'", self.length_size)
        view, unpack, size, at, end = self.view, self._length.unpack_from, self.length_size, self.at, len(self.view)
        found = []
        try:
            for _ in range(count):
                stop = at + size + unpack(view, at)[0]
                if stop > end:
                    raise GGUFError(self.path, f"string {len(found)} of '{key}'", expected=f"{stop - at - size} bytes", found=f"{end - at - size} left")
                found.append(str(view[at + size : stop], "utf-8", "surrogateescape"))
                at = stop
        except struct.error:
            raise GGUFError(self.path, f"string {len(found)} of '{key}'", expected="a length", found="end of file") from None
        self.at = at
        return found

    def tensor(self, i: int, shard: int) -> Tensor:
        name = self.string(f"name of tensor {i}")
        check_name(self.path, name)
        what = f"tensor '{name}'"
        n_dims = self.scalar("I", f"{what} dimensions")
        if n_dims > MAX_DIMS:
            raise GGUFError(self.path, f"{what} dimensions", expected=f"at most {MAX_DIMS}", found=n_dims)
        dims = [self._length.unpack(self.take(self.length_size, what))[0] for _ in range(n_dims)]
        kind = self.scalar("I", f"{what} type")
        if kind not in TENSOR_TYPES:
            raise GGUFError(self.path, f"{what} type", expected="a known ggml type", found=kind)
        type_ = TENSOR_TYPES[kind]
        offset = self.scalar("Q", f"{what} offset")
        if prod(max(d, 1) for d in dims) >= 2**63:  # a dimension may be zero, the tensor has no numbers then
            raise GGUFError(self.path, f"{what} shape", expected="less than 2^63 numbers", found=dims)
        if (dims[0] if dims else 1) % type_.weights:
            raise GGUFError(self.path, f"{what} shape", expected=f"rows of a multiple of {type_.weights} weights ({type_.name})", found=dims)
        nbytes = prod(dims) // type_.weights * type_.bytes
        return Tensor(name, tuple(reversed(dims)), type_, offset, nbytes, shard)
