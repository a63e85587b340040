"""Products on CPU: kernels assembled at run time for each format and number of rows, called through XLA's foreign function interface.

They read every packed weight once and multiply in integers. What runs here is the same arithmetic as `matmul.integer_rows`, which is the oracle, and the
fallback on other processors.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp

from jaxllama.kernels.call import Operand, Output, call_kernel, index_operand
from jaxllama.kernels.frame import Kernel
from jaxllama.kernels.instructions import InstructionSet

from ..activations import GROUP
from ..block import LANES, Array
from ..blocks import FORMATS
from ..layout import host_dtype
from ..qtensor import QTensor
from . import tiles
from .activations import rounding
from .dense import DENSE_BATCH, dense_product
from .formats import KERNEL_FORMATS

BATCH = 8  # rows of activations that pass a tile together: their sums fill the registers


def kernel(format: str, rows: int, instructions: InstructionSet) -> Kernel:
    """The kernel of a block format for batches of that many rows."""
    return tiles.product(FORMATS[format], KERNEL_FORMATS[format], rows, instructions)


def kernel_rows(x: Array, weight: QTensor, index: Array | int) -> Array:
    """x f32[M, columns] -> f32[M, rows] with activations rounded to int8."""
    rows, columns = x.shape
    batch = min(rows, BATCH)
    format_, block = KERNEL_FORMATS[weight.format], weight.block_format
    sizes = {"P": rows + -rows % batch, "C": columns, "W": columns // GROUP, "G": columns // format_.size}
    correction = jnp.int32 if format_.offset else jnp.float32
    codes, scales, corrections = call_kernel(
        f"jaxllama_round_{format_.size}_{format_.offset}",
        lambda _: rounding(format_),
        [Operand("activations", x, "M C", jnp.float32)],
        [Output("P C", jnp.int8), Output("P W", jnp.float32), Output("P G", correction)],
        sizes,
    )
    parts = [
        Operand(f"{weight.format}'s {part.name}", array, f"S T B {part.count} {LANES}", host_dtype(part))
        for part, array in zip(block.parts, weight.parts, strict=True)
    ]
    rounded = [
        Operand(name, array.reshape(-1, batch, array.shape[1]), f"N {batch} {axis}", array.dtype)
        for name, array, axis in (("codes", codes, "C"), ("scales", scales, "W"), ("corrections", corrections, "G"))
    ]
    (found,) = call_kernel(
        f"jaxllama_{weight.format.lower()}_{batch}",
        partial(kernel, weight.format, batch),
        [*parts, *rounded, index_operand("index", index, weight.parts[0].shape[0])],
        [Output(f"N {batch} O", jnp.float32)],
        sizes | {"B": columns // block.type.weights, "O": weight.parts[0].shape[1] * LANES},
    )
    return found.reshape(-1, found.shape[-1])[:rows, : weight.shape[1]]


def dense_rows(x: Array, weight: QTensor, index: Array | int) -> Array:
    """x f32[M, columns] -> f32[M, rows] in float32, for F32, F16 and BF16 with columns in multiples of 16."""
    rows, columns = x.shape
    batch = min(rows, DENSE_BATCH)
    padded = jnp.pad(x, ((0, -rows % batch), (0, 0))).reshape(-1, batch, columns)
    (matrix,) = weight.parts
    (found,) = call_kernel(
        f"jaxllama_{weight.format.lower()}_{batch}",
        lambda _: dense_product(weight.format, batch),
        [
            Operand("the weight", matrix, "S R C", host_dtype(weight.block_format.parts[0])),
            Operand("activations", padded, f"N {batch} C", jnp.float32),
            index_operand("index", index, matrix.shape[0]),
        ],
        [Output(f"N {batch} O", jnp.float32)],
        {"O": -(-matrix.shape[1] // LANES) * LANES},
    )
    return found.reshape(-1, found.shape[-1])[:rows, : weight.shape[1]]
