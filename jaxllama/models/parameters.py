"""From the tensors of a file to the parameter tree: packed matrices stacked over the layers of a kind, the rest in float32."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxllama.environment import packed_folder, packed_limit
from jaxllama.formats.gguf import GGUFError, GGUFFile
from jaxllama.quant import FORMATS, LayerStack, Memory, QTensor, dequantize, from_blocks, stack_layers
from jaxllama.quant.memory import LEAST_BYTES, PackedFile, Stale, packed_path

from .architectures import architecture_of
from .config import Config
from .layer import Layer, members
from .tensors import TensorRow, Tensors

_log = logging.getLogger(__name__)

Params = dict[str, Any]
"""{"token_embd": QTensor, "output_norm": f32[D], "output": QTensor (absent when tied), "rope_freqs": f32[dims / 2] (where the file has it),
"blocks": ({"attn_q": LayerStack, "attn_norm": f32[L, D], "attn_q.bias": f32[L, N H], ...}, ...)}: a dictionary for each kind of layers, in the order of
`Config.kinds`, with L layers of the kind. Names are the file's, without ".weight"."""

Blocks = dict[str, LayerStack | jax.Array]
"""The parameters of the layers of one kind."""

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


def load_params(file: GGUFFile, config: Config, progress: Progress | None = None, memory: Memory | None = None) -> Params:
    """Pack all tensors of a file onto the default device, matrix by matrix.

    At no time is more than one role's matrices (through all layers) held twice, and pages of the file are given back as soon as they are packed.

    Args:
        progress: called with (bytes done, bytes in all).
        memory: where the weights come to lie on the host; memory of this process by default.

    Raises:
        GGUFError: a tensor is missing, has another shape, has a format that is not supported, or is unknown to the architecture.
    """
    memory = memory or Memory()
    try:
        params = _Loader(file, config, progress, memory).load()
        memory.close()
    except BaseException:
        memory.abandon()
        raise
    return params


LOAD_MODES = ("auto", "mmap", "none")


def load_packed(file: GGUFFile, config: Config, mode: str = "auto", progress: Progress | None = None, *, compare: bool = False) -> Params:
    """`load_params`, with weights mapped from a packed file where the mode (see `jaxllama.load`) says so; without one, with a note, where that fails.

    Args:
        compare: hold a packed file that is there against the model's, byte by byte; one that differs is made again.

    Raises:
        ValueError: there is no such mode.
        GGUFError: as `load_params`.
    """
    if mode not in LOAD_MODES:
        raise ValueError(f"there is no load mode '{mode}'; there are {', '.join(LOAD_MODES)}")
    size = sum(t.nbytes for t in file.tensors.values())
    if mode == "none" or (mode == "auto" and size < LEAST_BYTES):
        return load_params(file, config, progress)
    limit = packed_limit()
    for _ in range(2):  # the second time a stale file is gone
        try:
            path = packed_path(packed_folder(), [shard.path for shard in file.shards])
            return load_params(file, config, progress, PackedFile(path, size=size, limit=limit, compare=compare))
        except Stale as error:
            _log.log(logging.WARNING if compare else logging.INFO, "%s; packing again", error)
        except OSError as error:
            _log.log(
                logging.INFO if mode == "auto" else logging.WARNING,
                "the weights are loaded without a copy in the cache folder, so processes do not share them: %s",
                error,
            )
            break
    return load_params(file, config, progress)


class _Loader:
    def __init__(self, file: GGUFFile, config: Config, progress: Progress | None, memory: Memory):
        self.file, self.config, self.progress, self.memory = file, config, progress, memory
        self.total = sum(t.nbytes for t in file.tensors.values())
        self.done = 0
        self.used: set[str] = set()

    def load(self) -> Params:
        params: Params = {}
        for name, row in self.present(architecture_of(self.file).tensors(self.config)):
            params[name.removesuffix(".weight")] = self.matrix(name, row) if row.kind == "matrix" else self.array(name, row)
        kinds = zip(self.config.kinds, members(self.config.layers), strict=True)
        blocks = tuple(self.blocks(kind, layers) for kind, layers in kinds)
        if self.progress and self.done < self.total:  # mapped weights are not read
            self.progress(self.total, self.total)
        unknown = sorted(set(self.file.tensors) - self.used)
        if unknown:
            raise GGUFError(
                self.file.path,
                f"tensor '{unknown[0]}'",
                expected=f"only tensors of the architecture '{self.config.architecture}'",
                found=f"{len(unknown)} it does not have",
            )
        return {**params, "blocks": blocks}

    def blocks(self, kind: Layer, layers: Sequence[int]) -> Blocks:
        """The parameters of all layers of a kind."""
        found: Blocks = {}
        for role, row in self.present(kind.tensors(self.config.n_embd), [f"blk.{i}." for i in layers]):
            names = [f"blk.{i}.{role}" for i in layers]
            stacked = self.matrices(names, row) if row.kind == "matrix" else jax.device_put(np.stack([self.host_array(n, row) for n in names]))
            found[role.removesuffix(".weight")] = stacked
        return found

    def present(self, rows: Tensors, prefixes: Sequence[str] = ("",)) -> Iterator[tuple[str, TensorRow]]:
        """The tensors to load: all that must be there, and the others where the file has them, for the first layer as for all."""
        for name, row in rows.items():
            if row.kind == "unread":
                self.used |= {prefix + name for prefix in prefixes}
            elif not row.optional or prefixes[0] + name in self.file.tensors:
                yield name, row

    def check(self, name: str, row: TensorRow) -> str:
        """Take a tensor into use: it is there, its shape is right; returns its format."""
        shape = row.shape
        found = self.file.tensors.get(name)
        if found is None:
            raise GGUFError(self.file.path, f"tensor '{name}'", expected=f"shape {shape}", found="no such tensor")
        if found.shape != shape:
            raise GGUFError(self.file.path, f"tensor '{name}'", expected=f"shape {shape}", found=f"shape {found.shape}")
        if found.type.name not in FORMATS:
            raise GGUFError(self.file.path, f"tensor '{name}'", expected=f"a format among {', '.join(FORMATS)}", found=found.type.name)
        self.used.add(name)
        return found.type.name

    def take(self, name: str) -> np.ndarray:
        found = self.file.data(name)
        self.done += found.nbytes
        if self.progress:
            self.progress(self.done, self.total)
        return found

    def order(self, name: str) -> str:
        return self.file.shards[self.file.tensors[name].shard].byte_order

    def matrix(self, name: str, row: TensorRow) -> QTensor:
        kind = self.check(name, row)
        found = from_blocks(iter([self.take(name)]), kind, stack=1, byte_order=self.order(name), memory=self.memory)
        self.file.release(name)
        return found

    def matrices(self, names: list[str], row: TensorRow) -> LayerStack:
        formats = [self.check(name, row) for name in names]
        previous: list[str] = []

        def blocks(layer: int) -> np.ndarray:
            while previous:
                self.file.release(previous.pop())
            previous.append(names[layer])
            return self.take(names[layer])

        experts = row.shape[0] if len(row.shape) == 3 else 1
        stack = stack_layers(formats, blocks, experts=experts, byte_order=self.order(names[0]), memory=self.memory)
        for name in previous:
            self.file.release(name)
        return stack

    def host_array(self, name: str, row: TensorRow) -> np.ndarray:
        kind = self.check(name, row)
        if not FORMATS[kind].dense:
            raise GGUFError(self.file.path, f"tensor '{name}'", expected="F32, F16 or BF16 (it is not multiplied with)", found=kind)
        raw = self.take(name)
        return np.asarray(dequantize(from_blocks(raw.reshape(1, -1), kind, byte_order=self.order(name)))).reshape(row.shape)

    def array(self, name: str, row: TensorRow) -> jax.Array:
        return jax.device_put(self.host_array(name, row))


def leaves(params: Params) -> Iterator[tuple[str, QTensor | jax.Array]]:
    """All packed tensors and vectors with their names."""
    for name, value in params.items():
        if name != "blocks":
            yield name, value
            continue
        for blocks in value:
            for role, stack in blocks.items():
                tensors = stack.tensors if isinstance(stack, LayerStack) else (stack,)
                yield from ((f"blk.*.{role}", t) for t in tensors)
