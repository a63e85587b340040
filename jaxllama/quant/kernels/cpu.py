"""Products on CPU: kernels assembled at run time for each format and number of rows, called through XLA's foreign function interface.

They read every packed weight once and multiply in integers. What runs here is the same arithmetic as `matmul.integer_rows`, which is the oracle, and the
fallback on other processors.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxllama.kernels.assemble import register
from jaxllama.kernels.frame import Kernel
from jaxllama.kernels.instructions import InstructionSet

from ..activations import GROUP
from ..block import LANES, Array
from ..blocks import FORMATS
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
    format_ = KERNEL_FORMATS[weight.format]
    padded = rows + -rows % batch
    round_name = register(f"jaxllama_round_{format_.size}_{format_.offset}", lambda _: rounding(format_))
    shapes = [
        jax.ShapeDtypeStruct((padded, columns), jnp.int8),
        jax.ShapeDtypeStruct((padded, columns // GROUP), jnp.float32),
        jax.ShapeDtypeStruct((padded, columns // format_.size), jnp.int32 if format_.offset else jnp.float32),
    ]
    rounded = jax.ffi.ffi_call(round_name, shapes, vmap_method="sequential")(x)
    name = register(f"jaxllama_{weight.format.lower()}_{batch}", partial(kernel, weight.format, batch))
    outputs = weight.parts[0].shape[1] * LANES
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct((padded // batch, batch, outputs), jnp.float32), vmap_method="sequential")
    found = call(*weight.parts, *(r.reshape(-1, batch, r.shape[1]) for r in rounded), jnp.asarray(index, jnp.int32))
    return found.reshape(-1, outputs)[:rows, : weight.shape[1]]


def dense_rows(x: Array, weight: QTensor, index: Array | int) -> Array:
    """x f32[M, columns] -> f32[M, rows] in float32, for F32, F16 and BF16 with columns in multiples of 16."""
    rows, columns = x.shape
    batch = min(rows, DENSE_BATCH)
    padded = jnp.pad(x, ((0, -rows % batch), (0, 0))).reshape(-1, batch, columns)
    outputs = -(-weight.shape[1] // LANES) * LANES
    name = register(f"jaxllama_{weight.format.lower()}_{batch}", lambda _: dense_product(weight.format, batch))
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct((*padded.shape[:2], outputs), jnp.float32), vmap_method="sequential")
    found = call(weight.parts[0], padded, jnp.asarray(index, jnp.int32))
    return found.reshape(-1, outputs)[:rows, : weight.shape[1]]
