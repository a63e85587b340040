"""The one way to call a kernel. A kernel trusts what it is given, so the shapes and types of all its operands are held against each other here, while the
program is traced: a call that does not fit is an error, and never a read outside a buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .assemble import register
from .frame import Kernel
from .instructions import InstructionSet


class Operand(NamedTuple):
    """One operand of a kernel.

    Attributes:
        name: for errors.
        array: what is passed.
        axes: letters and numbers, "B T 64": a letter stands for the same length in all operands and results of the call.
        dtype: the only type that the kernel reads there.
    """

    name: str
    array: jax.Array
    axes: str
    dtype: Any


class Output(NamedTuple):
    """One result of a kernel: its axes, in the letters of the operands, and its type."""

    axes: str
    dtype: Any


def index_operand(name: str, index: jax.Array | int, size: int) -> Operand:
    """An index into an axis of `size` entries, clamped to it as `jax.lax.dynamic_index_in_dim` clamps."""
    return Operand(name, jnp.clip(jnp.asarray(index, jnp.int32), 0, size - 1), "", jnp.int32)


def call_kernel(
    name: str,
    make: Callable[[InstructionSet], Kernel],
    operands: Sequence[Operand],
    results: Sequence[Output],
    sizes: Mapping[str, int] | None = None,
) -> list[jax.Array]:
    """Call a kernel through XLA, assembling it where that has not been done.

    Args:
        name: of the kernel; the same name is the same code.
        make: makes it.
        sizes: lengths that the caller knows, by letter.

    Raises:
        ValueError: an operand has another shape or type than the kernel reads, or an axis is empty.
    """
    lengths = _lengths(name, operands, dict(sizes or {}))
    shapes = [jax.ShapeDtypeStruct(_shape(result.axes, lengths), result.dtype) for result in results]
    return list(jax.ffi.ffi_call(register(name, make), shapes, vmap_method="sequential")(*(operand.array for operand in operands)))


def _lengths(kernel: str, operands: Sequence[Operand], lengths: dict[str, int]) -> dict[str, int]:
    """The length of every letter."""
    for operand in operands:
        axes, shape = operand.axes.split(), operand.array.shape
        if len(axes) != len(shape) or any(n < 1 or n != (int(a) if a.isdigit() else lengths.setdefault(a, n)) for a, n in zip(axes, shape, strict=False)):
            known = ", ".join(f"{a} = {lengths[a]}" for a in dict.fromkeys(axes) if a in lengths)
            raise ValueError(f"{kernel}: {operand.name} has shape {shape}, expected [{', '.join(axes)}]{' with ' + known if known else ''}, no axis empty")
        if operand.array.dtype != operand.dtype:
            raise ValueError(f"{kernel}: {operand.name} is of type {operand.array.dtype}, expected {jnp.dtype(operand.dtype)}")
    return lengths


def _shape(axes: str, lengths: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(int(a) if a.isdigit() else lengths[a] for a in axes.split())
