"""Importance matrices: for every matrix of a model, the summed squares of what it was multiplied with, in llama.cpp's GGUF form or its older `.dat` form.

GGUF: `general.type` = imatrix; `imatrix.datasets`, `imatrix.chunk_count`, `imatrix.chunk_size`; for each matrix two F32 tensors, `NAME.in_sum2` [matrices,
columns] and `NAME.counts` [matrices, 1], where experts are several matrices.

Legacy (little endian; a string is an int32 length and its bytes): int32 number of entries; for each its name, int32 calls, int32 n, n times f32 (mean square
times calls); then int32 chunks and the data set's name.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .gguf import TENSOR_TYPE_NAMES, GGUFError, TensorData, ValueType, field_of, open_gguf, write_gguf
from .gguf.types import MAGIC

_LONGEST_NAME = 2**16


@dataclass(frozen=True)
class Entry:
    """One matrix (or the experts of one): sums f32[matrices, columns] of squared inputs over counts int64[matrices] tokens."""

    sums: np.ndarray
    counts: np.ndarray

    def mean(self) -> np.ndarray:
        """Mean square of the inputs f32[matrices, columns]; one where nothing was counted, as in llama.cpp."""
        seen = self.counts[:, None] > 0
        return np.where(seen, self.sums / np.maximum(self.counts[:, None], 1).astype(np.float32), np.float32(1)).astype(np.float32)


@dataclass
class ImportanceMatrix:
    """All entries by tensor name.

    Attributes:
        datasets: names of the texts it was computed with.
        chunks, chunk_size: how many pieces of how many tokens.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    chunks: int = 0
    chunk_size: int = 512

    def add(self, name: str, sums: np.ndarray, counts: np.ndarray) -> None:
        """Add sums and counts to an entry, or begin it.

        Raises:
            ValueError: the entry has another size.
        """
        old = self.entries.get(name)
        if old is None:
            self.entries[name] = Entry(sums.astype(np.float32), counts.astype(np.int64))
            return
        old_sums, old_counts = old.sums, old.counts
        if old_sums.size != sums.size:
            raise ValueError(f"importance of '{name}' has {sums.size} values in one matrix and {old_sums.size} in another: they are of different models")
        if len(old_counts) != len(counts):  # an older file has one count for all experts
            matrices = max(len(old_counts), len(counts))
            old_counts, counts = (np.broadcast_to(c, matrices) if len(c) == 1 else c for c in (old_counts, counts))
        shape = (len(counts), -1)
        self.entries[name] = Entry(old_sums.reshape(shape) + sums.reshape(shape), old_counts + counts)

    def merge(self, other: ImportanceMatrix) -> None:
        """Add all of another matrix."""
        for name, entry in other.entries.items():
            self.add(name, entry.sums, entry.counts)
        self.datasets += other.datasets
        most = max((int(e.counts.max()) for e in self.entries.values()), default=0)
        self.chunks = most // self.chunk_size


def read_importance(path: str | Path, *, chunk_size: int = 512) -> ImportanceMatrix:
    """Read either form; a GGUF file is told by its first bytes.

    Args:
        chunk_size: tokens a legacy file's calls had, which it does not say.

    Raises:
        GGUFError: the file is damaged, or no importance matrix.
        ValueError: a value is not finite.
    """
    path = Path(path)
    with path.open("rb") as file:
        gguf = file.read(4) == MAGIC
    found = _read_gguf(path) if gguf else _read_legacy(path, chunk_size)
    for name, entry in found.entries.items():
        if not np.isfinite(entry.sums).all():
            raise GGUFError(path, f"importance of '{name}'", expected="finite numbers", found="one that is not")
    return found


def _read_gguf(path: Path) -> ImportanceMatrix:
    file = open_gguf(path)
    names = [name.removesuffix(".in_sum2") for name in file.tensors if name.endswith(".in_sum2")]
    if not names or any(key not in file.fields for key in ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")):
        raise GGUFError(path, "imatrix", expected="an importance matrix (general.type = imatrix)", found=file.get("general.type", "no such metadata"))
    found = ImportanceMatrix({}, list(file.require("imatrix.datasets")), int(file.require("imatrix.chunk_count")), int(file.require("imatrix.chunk_size")))

    def numbers(name: str) -> np.ndarray:
        if name not in file.tensors or file.tensors[name].type.name != "F32":
            raise GGUFError(path, f"tensor '{name}'", expected="an F32 tensor", found="none" if name not in file.tensors else file.tensors[name].type.name)
        order = file.shards[file.tensors[name].shard].byte_order
        return np.ascontiguousarray(file.data(name)).view(f"{order}f4").astype(np.float32)

    for name in names:
        sums, counts = numbers(f"{name}.in_sum2"), np.rint(numbers(f"{name}.counts").reshape(-1)).astype(np.int64)
        if not len(counts) or sums.size % len(counts) or (counts < 0).any():
            raise GGUFError(path, f"importance of '{name}'", expected="a count, not negative, for each matrix", found=f"{len(counts)} for {sums.size} sums")
        found.entries[name] = Entry(sums.reshape(len(counts), -1), counts)
    return found


def _read_legacy(path: Path, chunk_size: int) -> ImportanceMatrix:
    raw = path.read_bytes()
    at = 0

    def take(count: int, what: str) -> bytes:
        nonlocal at
        if count > len(raw) - at:
            raise GGUFError(path, what, expected=f"{count} bytes", found=f"{len(raw) - at} bytes to the end of the file")
        at += count
        return raw[at - count : at]

    def number(what: str, least: int, most: int) -> int:
        (value,) = struct.unpack("<i", take(4, what))
        if not least <= value <= most:
            raise GGUFError(path, what, expected=f"a number from {least} to {most}", found=value)
        return value

    found = ImportanceMatrix(chunk_size=chunk_size)
    for i in range(number("number of entries", 1, len(raw))):
        name = take(number(f"length of name {i}", 1, _LONGEST_NAME), f"name {i}").decode("utf-8", "replace")
        calls = number(f"calls of '{name}'", 0, 2**31 - 1)
        values = np.frombuffer(take(4 * number(f"values of '{name}'", 1, len(raw)), f"values of '{name}'"), "<f4")
        if calls:
            found.entries[name] = Entry((values * np.float32(chunk_size)).reshape(1, -1), np.asarray([calls * chunk_size]))
        else:
            found.entries[name] = Entry(values.reshape(1, -1).astype(np.float32), np.asarray([1]))
    if at < len(raw):
        found.chunks = number("number of chunks", 0, 2**31 - 1)
    if at < len(raw) and (length := number("length of the data set's name", 0, _LONGEST_NAME)):
        found.datasets.append(take(length, "name of the data set").decode("utf-8", "replace"))
    return found


def write_importance(matrix: ImportanceMatrix, path: str | Path, *, legacy: bool = False) -> None:
    """Write an importance matrix; the file appears under its name when it is complete."""
    path = Path(path)
    if legacy:
        partial = path.with_name(path.name + ".partial")
        try:
            partial.write_bytes(b"".join(_legacy(matrix)))
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return
    fields = [
        field_of("general.type", "imatrix"),
        field_of("imatrix.datasets", matrix.datasets, ValueType.STRING),
        field_of("imatrix.chunk_count", matrix.chunks),
        field_of("imatrix.chunk_size", matrix.chunk_size),
    ]
    tensors, f32 = [], TENSOR_TYPE_NAMES["F32"]
    for name, entry in sorted(matrix.entries.items()):
        counts = entry.counts.astype(np.float32)[:, None]
        for suffix, numbers in (("in_sum2", entry.sums), ("counts", counts)):
            data = np.ascontiguousarray(numbers, "<f4")
            tensors.append(TensorData(f"{name}.{suffix}", data.shape, f32, data.view(np.uint8)))
    write_gguf(path, fields, tensors)


def _legacy(matrix: ImportanceMatrix) -> Iterable[bytes]:
    def text(value: str) -> bytes:
        raw = value.encode()
        return struct.pack("<i", len(raw)) + raw

    kept = {name: entry for name, entry in sorted(matrix.entries.items()) if entry.counts.any()}
    yield struct.pack("<i", len(kept))
    for name, entry in kept.items():
        calls = -(-int(entry.counts.max()) // matrix.chunk_size)
        values = (entry.mean() * np.float32(calls)).astype("<f4")
        yield text(name) + struct.pack("<ii", calls, values.size) + values.tobytes()
    yield struct.pack("<i", matrix.chunks) + text(matrix.datasets[-1] if matrix.datasets else "")
