"""A GGUF file to a smaller one: every matrix in the format that the file type gives it, one tensor in memory at a time."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, Field, GGUFError, GGUFFile, Tensor, TensorData, ValueType, field_of, open_gguf, write_gguf
from jaxllama.formats.gguf.split import shard_name
from jaxllama.formats.importance import ImportanceMatrix, read_importance

from ..names import tells_nearest
from .blocks import FORMATS
from .dequantize import dequantize
from .mixtures import FILE_TYPES, Choices, Given, ModelFacts, choose, needs_importance, order, without_effect
from .mixtures import file_type as known_file_type
from .qtensor import from_blocks
from .quantize import FLOATS, quantize

_SLAB = 2**25  # numbers of a tensor that are turned into f32 at a time


@dataclass(frozen=True)
class Step:
    """What happens to a tensor."""

    name: str
    source: Tensor
    format: str  # afterwards
    importance: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        type_ = TENSOR_TYPE_NAMES[self.format]
        return self.source.size // type_.weights * type_.bytes

    @property
    def changes(self) -> bool:
        return self.format != self.source.type.name


@dataclass(frozen=True)
class Plan:
    """What quantizing a file will do.

    Attributes:
        steps: in the order of the new file.
        fields: the new file's metadata.
        missing: tensors that the importance matrix says nothing about.
        needs_importance: tensors that would be no good without one.
        notes: what was asked for and has no effect, a sentence each.
    """

    steps: list[Step]
    fields: list[Field]
    missing: list[str]
    needs_importance: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def old_bytes(self) -> int:
        return sum(s.source.nbytes for s in self.steps)

    @property
    def new_bytes(self) -> int:
        return sum(s.nbytes for s in self.steps)

    def check_importance(self, path: Path, file_type: str) -> None:
        """Raise a GGUFError where a tensor needs an importance matrix and has none."""
        if not self.needs_importance:
            return
        name = self.needs_importance[0]
        format_ = next(step.format for step in self.steps if step.name == name)  # which a rule may have chosen
        why = format_ if format_ == file_type else f"{format_} (in a file of type {file_type})"
        raise GGUFError(path, f"tensor '{name}'", expected=f"an importance matrix (--imatrix) for {why}", found="none")


def plan_file(
    file: GGUFFile,
    file_type: str,
    choices: Choices | None = None,
    *,
    importance: ImportanceMatrix | None = None,
    importance_path: str = "",
    prune: Sequence[int] = (),
    overrides: Sequence[Field] = (),
    allow_requantize: bool = False,
) -> Plan:
    """Decide every tensor's format, before anything is written.

    Args:
        file_type: a name in `FILE_TYPES`, or "COPY" to keep all formats.
        importance: an importance matrix of the same model, by llama.cpp's names.
        importance_path: what the metadata says of where it came from.
        prune: layers to leave out; the others are numbered anew.
        overrides: metadata to set.
        allow_requantize: whether tensors that are quantized already may be quantized again.

    Raises:
        GGUFError: a tensor may not be requantized, has a type that cannot be read, or the importance matrix is of another model.
    """
    names = _renumber(file, prune)
    given = sorted((Given(new, file.tensors[old].shape, file.tensors[old].type.name) for old, new in names.items()), key=lambda g: order(g.name))
    old_names = {new: old for old, new in names.items()}
    if file_type == "COPY":
        formats = {g.name: g.format for g in given}
    else:
        formats = choose(given, _facts(file), file_type, choices or Choices(), importance=importance is not None)
    steps, missing, needy = [], [], []
    for g in given:
        source = file.tensors[old_names[g.name]]
        step = Step(g.name, source, formats[g.name])
        if step.changes:
            _check(file, source, step.format, allow_requantize)
            if importance is not None:
                step = replace(step, importance=_importance_of(file, importance, source))
                missing += [g.name] if step.importance is None else []
            if step.importance is None and needs_importance(g.name, step.format, file_type):
                needy.append(g.name)
        steps.append(step)
    fields = {key: f for key, f in file.fields.items() if not key.startswith("split.")}
    new = [field_of("general.quantization_version", 2)]
    if file_type != "COPY":
        new.append(field_of("general.file_type", FILE_TYPES[file_type][0]))
    if prune:
        new.append(field_of(f"{file.require('general.architecture')}.block_count", len({n for n in (_layer(g.name) for g in given) if n is not None})))
    if importance is not None:
        new += [
            field_of("quantize.imatrix.file", importance_path),
            field_of("quantize.imatrix.dataset", importance.datasets[0] if importance.datasets else ""),
            field_of("quantize.imatrix.entries_count", len(importance.entries), ValueType.INT32),
            field_of("quantize.imatrix.chunks_count", importance.chunks, ValueType.INT32),
        ]
    notes = without_effect(given, _facts(file), file_type, choices or Choices())
    if importance is not None and (strange := [name for name in importance.entries if name not in file.tensors]):
        notes.append(
            f"the importance matrix has {len(strange)} entries for tensors that the model lacks: {', '.join(strange[:4])}{' ...' * (len(strange) > 4)}"
        )
    notes += [f"--override-kv: the file has no '{f.key}'; it is added" for f in overrides if f.key not in fields]
    fields |= {f.key: f for f in (*new, *overrides)}
    return Plan(steps, list(fields.values()), missing, needy, notes)


def _layer(name: str) -> int | None:
    match = re.match(r"blk\.(\d+)\.", name)
    return int(match[1]) if match else None


def _renumber(file: GGUFFile, prune: Sequence[int]) -> dict[str, str]:
    """New names by old ones, without the tensors of pruned layers."""
    layers = sorted({n for n in map(_layer, file.tensors) if n is not None})
    if unknown := sorted(set(prune) - set(layers)):
        raise GGUFError(file.path, "--prune-layers", expected=f"layers from 0 to {len(layers) - 1}", found=", ".join(map(str, unknown)))
    places = {old: new for new, old in enumerate(n for n in layers if n not in set(prune))}
    found = {}
    for name in file.tensors:
        layer = _layer(name)
        if layer is None:
            found[name] = name
        elif layer in places:
            found[name] = f"blk.{places[layer]}.{name.split('.', 2)[2]}"
    return found


def _facts(file: GGUFFile) -> ModelFacts:
    architecture = file.get("general.architecture", "")

    def first(key: str, default: int) -> int:
        value = file.get(f"{architecture}.{key}", default)
        return int(value[0]) if isinstance(value, np.ndarray) else int(value)

    heads = first("attention.head_count", 1)
    shared = first("attention.head_count_kv", heads)
    return ModelFacts(architecture, first("block_count", 0), heads // shared if shared else 0, first("expert_count", 0))


def _check(file: GGUFFile, tensor: Tensor, format: str, allow_requantize: bool) -> None:
    where = f"tensor '{tensor.name}'"
    kind = FORMATS.get(tensor.type.name)
    if kind is None or (kind.dense and tensor.type.name.startswith("I")):
        raise GGUFError(file.path, where, expected="a floating-point or quantized type", found=tensor.type.name)
    if not kind.dense and not allow_requantize:
        raise GGUFError(file.path, where, expected="F32, F16 or BF16 (--allow-requantize allows requantizing, which loses quality)", found=tensor.type.name)
    type_ = TENSOR_TYPE_NAMES[format]
    if tensor.shape[-1] % type_.weights:
        raise GGUFError(file.path, where, expected=f"rows of a multiple of {type_.weights} numbers for {format}", found=f"{tensor.shape[-1]} columns")


def _importance_of(file: GGUFFile, matrix: ImportanceMatrix, tensor: Tensor) -> np.ndarray | None:
    """Importance f32[columns], or [experts, 1, columns]; None where the matrix says nothing."""
    entry = matrix.entries.get(tensor.name)
    if entry is None:
        return None
    columns = tensor.shape[-1]
    experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
    if entry.sums.size != experts * columns:
        if tensor.name == "token_embd.weight":
            return None
        expected = f"{experts * columns} values ({experts} x {columns})"
        raise GGUFError(file.path, f"importance of '{tensor.name}'", expected=expected, found=f"{entry.sums.size}: the importance matrix is of another model")
    mean = entry.mean().reshape(experts, columns)
    return mean[0] if experts == 1 else mean[:, None]


def numbers(file: GGUFFile, tensor: Tensor, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Rows of a tensor (all its leading axes counted as one), [rows, columns]: f16 and bf16 as the file has them, everything else f32."""
    rows = file.data(tensor.name).reshape(-1, tensor.shape[-1] // tensor.type.weights * tensor.type.bytes)[start:stop]
    byte_order = file.shards[tensor.shard].byte_order
    if tensor.type.name in ("F32", "F16", "BF16") and byte_order == "<":
        return np.ascontiguousarray(rows).view(FLOATS[tensor.type.name])
    return np.asarray(dequantize(from_blocks(np.ascontiguousarray(rows), tensor.type.name, byte_order=byte_order)))[0]


def check_tensor(file: GGUFFile, tensor: Tensor) -> None:
    """Look at every number of a tensor.

    Raises:
        GGUFError: one is infinite or not a number.
    """
    if tensor.type.name not in FORMATS:
        return
    for start, stop in _slabs(tensor):
        found = numbers(file, tensor, start, stop)
        bad = np.argwhere(~np.isfinite(found.astype(np.float32)))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise GGUFError(file.path, f"tensor '{tensor.name}', row {start + row}, column {column}", expected="a finite number", found=found[row, column])


def _slabs(tensor: Tensor) -> list[tuple[int, int]]:
    rows = tensor.size // tensor.shape[-1]
    step = max(1, _SLAB // tensor.shape[-1])
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def convert(file: GGUFFile, step: Step, *, threads: int | None = None) -> np.ndarray:
    """The bytes of a tensor in its new format, uint8[rows, row bytes].

    Raises:
        GGUFError: a number is infinite or not a number.
    """
    tensor = step.source
    if not step.changes:
        check_tensor(file, tensor)
        return file.data(tensor.name)
    type_ = TENSOR_TYPE_NAMES[step.format]
    out = np.empty((tensor.size // tensor.shape[-1], tensor.shape[-1] // type_.weights * type_.bytes), np.uint8)
    per_expert = tensor.shape[-2] if len(tensor.shape) > 1 else 1
    for start, stop in _slabs(tensor):
        importance = step.importance
        if importance is not None and importance.ndim == 3:
            importance = importance[np.arange(start, stop) // per_expert, 0]
        try:
            out[start:stop] = quantize(numbers(file, tensor, start, stop), step.format, importance, threads=threads)
        except ValueError as error:
            raise GGUFError(file.path, f"tensor '{tensor.name}'", expected="numbers that can be quantized", found=f"from row {start}: {error}") from None
    return out


def write_plan(
    file: GGUFFile, plan: Plan, path: str | Path, *, keep_split: bool = False, threads: int | None = None, progress: Callable[[Step], None] = lambda _: None
) -> list[Path]:
    """Carry a plan out.

    Args:
        path: the new file. With `keep_split` the beginning of the names of as many files as the old one has.
        progress: called before each tensor.

    Returns:
        The files written. They appear under their names when they are complete; after an error none of them does.

    Raises:
        GGUFError: a number of the model is not finite, or there is already a file of that name.
        OSError: the disk is full, or the place cannot be written to.
    """
    path = Path(path)
    count = len(file.shards) if keep_split else 1
    paths = [path.with_name(shard_name(path.name, i, count)) for i in range(count)] if count > 1 else [path]
    for p in paths:
        if p.exists():
            raise GGUFError(p, "the output", expected="a file name that does not exist yet", found="an existing file")
    room = shutil.disk_usage(path.parent).free
    if room < plan.new_bytes:
        raise OSError(f"{path}: the new file needs {plan.new_bytes:,} bytes, the disk has {room:,} left")

    def data(step: Step) -> np.ndarray:
        progress(step)
        return convert(file, step, threads=threads)

    def done(step: Step) -> None:
        file.release(step.source.name)

    written = []
    try:
        for i, p in enumerate(paths):
            steps = [s for s in plan.steps if count == 1 or s.source.shard == i]
            tensors = [TensorData(s.name, s.source.shape, TENSOR_TYPE_NAMES[s.format], partial(data, s), done=partial(done, s)) for s in steps]
            fields = plan.fields if i == 0 else [f for f in plan.fields if f.key == "general.alignment"]
            if count > 1:
                fields = [
                    *fields,
                    field_of("split.no", i, ValueType.UINT16),
                    field_of("split.count", count, ValueType.UINT16),
                    field_of("split.tensors.count", len(plan.steps), ValueType.INT32),
                ]
            written.append(p)
            write_gguf(p, fields, tensors)
    except BaseException:
        for p in written:
            p.unlink(missing_ok=True)
        raise
    return paths


@tells_nearest
def quantize_file(
    source: str | Path,
    target: str | Path,
    file_type: str,
    *,
    importance: ImportanceMatrix | str | Path | None = None,
    pure: bool = False,
    choices: Choices | None = None,
    prune: Sequence[int] = (),
    overrides: Sequence[Field] = (),
    allow_requantize: bool = False,
) -> Path:
    """Quantize a GGUF file: what `jaxllama quantize` does, in one call.

    Args:
        source: the file, the first if it is split.
        target: the new file, which must not exist.
        file_type: llama.cpp's name, such as "Q4_K_M"; or "COPY".
        importance: an importance matrix, or the file of one.
        pure: all tensors in the file type's own format, instead of a mixture.
        choices: more than `pure`, in its place.
        prune, overrides, allow_requantize: as for `plan_file`.

    Returns:
        The new file's path.

    Raises:
        GGUFError: see `plan_file` and `write_plan`; also where a tensor's format is no good without an importance matrix.

    What is asked for and has no effect, such as a rule for tensors that do not exist, is a warning.

    To look before writing, or to follow the progress, use `plan_file` and `write_plan`.
    """
    file = open_gguf(source)
    path = "" if importance is None or isinstance(importance, ImportanceMatrix) else str(importance)
    matrix = importance if importance is None or isinstance(importance, ImportanceMatrix) else read_importance(importance)
    if not isinstance(file_type, str):
        raise TypeError(f"file_type: expected a name such as Q4_K_M, found {file_type!r}")
    kind = file_type if file_type == "COPY" else known_file_type(file_type)
    more = {"prune": prune, "overrides": overrides, "allow_requantize": allow_requantize}
    plan = plan_file(file, kind, choices or Choices(pure=pure), importance=matrix, importance_path=path, **more)
    plan.check_importance(file.path, kind)
    for note in plan.notes:
        warnings.warn(note, stacklevel=2)
    return write_plan(file, plan, target)[0]
