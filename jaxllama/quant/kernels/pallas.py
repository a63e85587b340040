"""The few-row product on GPUs as a Pallas kernel, from the same descriptions of formats as the CPU's.

A program computes one tile, 16 rows of weights, for all rows of activations: it walks over the blocks, several at a time, unpacks them in registers and adds
up in float32. Activations are not rounded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from ..block import LANES, Array, look_up
from ..blocks import FORMATS
from ..dequantize import dequantize
from ..qtensor import QTensor, from_blocks
from .formats import KERNEL_FORMATS

MAX_ROWS = 8  # of activations
TOGETHER = 16  # blocks at a time: with the 16 rows of a tile, the threads of a program

_log = logging.getLogger(__name__)


class Arrays:
    """`tiles.Values` as arrays [blocks, 16]: int32 words and float32 numbers."""

    def __init__(self, parts: Mapping[str, Any], place: tuple[Any, ...]):
        self._parts, self._place = parts, place

    def _item(self, part: str, item: int) -> Array:
        return self._parts[part][(*self._place, item, slice(None))]

    def word(self, part: str, item: int) -> Array:
        return lax.bitcast_convert_type(self._item(part, item), jnp.int32)

    def wide(self, part: str, bits: int) -> Array:
        return self._item(part, 0).astype(jnp.int32) & ((1 << bits) - 1)

    def half(self, part: str) -> Array:
        return self._item(part, 0).astype(jnp.float32)

    def half_power(self, part: str) -> Array:
        return jnp.exp2(self.wide(part, 8).astype(jnp.float32) - 128)

    def op(self, name: str, a: Array, b: Array | int) -> Array:
        other = jnp.full_like(a, np.uint32(b).astype(np.int32)) if isinstance(b, int) else b
        operations = {"and": lax.bitwise_and, "or": lax.bitwise_or, "xor": lax.bitwise_xor, "sub": lax.sub}
        shifts = {"lshr": lax.shift_right_logical, "ashr": lax.shift_right_arithmetic, "shl": lax.shift_left}
        return (operations | shifts)[name](a, other)

    def bits(self, word: Array, shift: int, mask: int) -> Array:
        return self.op("and", self.op("lshr", word, shift), mask * 0x01010101)

    def to_float(self, words: Array) -> Array:
        return words.astype(jnp.float32)

    def times(self, a: Array, b: Array) -> Array:
        return a * b

    def negative(self, a: Array) -> Array:
        return -a

    def look_up(self, table: Sequence[int], codes: Array) -> Array:
        found = jnp.zeros_like(codes)
        for byte in range(4):
            code = self.op("and", self.op("lshr", codes, 8 * byte), 255)
            found |= look_up(tuple(table), code) << (8 * byte)
        return found


def _kernel(index_ref: Any, x_ref: Any, *refs: Any, format: str, rows: int, blocks: int, step: int) -> None:
    *part_refs, out_ref = refs
    format_, kernel = FORMATS[format], KERNEL_FORMATS[format]
    tile, index = pl.program_id(0), index_ref[0]
    parts = {part.name: ref for part, ref in zip(format_.parts, part_refs, strict=True)}

    def some(n: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        here = pl.ds(n * step, step)
        found = list(totals)
        for group in kernel.groups(Arrays(parts, (index, tile, here))):
            sums, inputs = [jnp.zeros((step, LANES), jnp.float32)] * rows, [jnp.zeros((step, 1), jnp.float32)] * rows
            for c in range(kernel.size // 4):
                codes = group.codes(c)
                for byte in range(4):
                    shift = jnp.full_like(codes, 8 * byte)
                    number = (lax.shift_right_logical(codes, shift) & 255).astype(jnp.float32) - kernel.offset
                    for m in range(rows):
                        x = x_ref[m, here, group.at + 4 * c + byte][:, None]
                        sums[m] += number * x
                        inputs[m] += x
            for m in range(rows):
                found[m] += group.scale * sums[m]
                if group.minimum is not None:
                    found[m] -= group.minimum * inputs[m]
        return tuple(found)

    totals = lax.fori_loop(0, blocks // step, some, (jnp.zeros((step, LANES), jnp.float32),) * rows)
    for m in range(rows):
        out_ref[m, tile, :] = totals[m].sum(0)


def pallas_rows(x: Array, weight: QTensor, index: Array | int, *, interpret: bool = False) -> Array:
    """x f32[M, columns] -> f32[M, rows] in float32.

    Args:
        interpret: run the kernel as plain operations, on any platform.
    """
    rows = x.shape[0]
    _, tiles, blocks = weight.parts[0].shape[:3]
    step = next(s for s in (TOGETHER, 8, 4, 2, 1) if blocks % s == 0)
    kernel = partial(_kernel, format=weight.format, rows=rows, blocks=blocks, step=step)
    whole = pl.BlockSpec(memory_space=pl.ANY)
    call = pl.pallas_call(
        kernel,
        grid=(tiles,),
        in_specs=[whole] * (2 + len(weight.parts)),
        out_specs=whole,
        out_shape=jax.ShapeDtypeStruct((rows, tiles, LANES), jnp.float32),
        interpret=interpret,
        name=f"jaxllama_{weight.format.lower()}_{rows}",
        **({} if interpret else {"compiler_params": _compiler()}),
    )
    found = call(jnp.asarray(index, jnp.int32).reshape(1), x.reshape(rows, blocks, weight.block_format.type.weights), *weight.parts)
    return found.reshape(rows, -1)[:, : weight.shape[1]]


def _compiler() -> Any:
    """Triton's settings: its programs may have any shape, which this kernel's small tiles need."""
    from jax.experimental.pallas import triton

    return triton.CompilerParams(num_warps=4, num_stages=2)


@cache
def available(format: str) -> bool:
    """Whether the kernel of a format compiles on this GPU and agrees with the plain form; a note says why where it does not."""
    if jax.default_backend() != "gpu":
        return False
    rng = np.random.default_rng(0)
    try:
        row_bytes = 512 // FORMATS[format].type.weights * FORMATS[format].type.bytes
        weight = from_blocks(rng.integers(0, 40, (1, 32, row_bytes), np.uint8), format)
        x = jnp.asarray(rng.standard_normal((2, 512)), jnp.float32)
        found, expected = pallas_rows(x, weight, 0), jnp.matmul(x, dequantize(weight)[0].T, precision="highest")
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * float(jnp.abs(expected).max()))
    except Exception as error:  # whatever a compiler that could not be tried here may say
        _log.warning("the GPU kernel for %s is off, plain XLA runs instead (slower): %s", format, error)
        return False
    return True
