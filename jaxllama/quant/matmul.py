"""`qmatmul`: activations times packed weights, the one product of the engine, and the table that chooses how it is computed.

The formulations:
- `kernel_rows` (kernels.cpu): few rows of activations, on processors that it knows. Every weight is read once and multiplied with int8 activations.
- `dense_rows` (kernels.cpu): the same for F32, F16 and BF16, in float32.
- `pallas_rows` (kernels.pallas): few rows on GPUs, in float32.
- `integer_rows`: the same arithmetic in plain jnp, everywhere (integer_rows).
- `unpacked`: many rows. A matrix is unpacked into a temporary (bf16 where the processor multiplies bf16, else f32) for XLA's own matrix product.
- `dense`: F32, F16, BF16 and the other formats without blocks, in plain jnp.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

from jaxllama.kernels.assemble import kernels_run
from jaxllama.kernels.processor import has_bf16_products, has_matrix_units

from .block import LANES, Array
from .blocks import FORMATS
from .dequantize import values_of_groups
from .integer_rows import integer_rows
from .kernels import cpu, pallas
from .kernels.dense import DENSE_FORMATS
from .kernels.formats import KERNEL_FORMATS
from .order import grouped, tied
from .qtensor import QTensor, check_tensor
from .transposed import transposed_product

FEW_ROWS = 8  # beyond this, unpacking once costs less than unpacking for every row
TEMPORARY_WEIGHTS = 32 * 2**20  # a matrix with more weights than this is unpacked and multiplied piece by piece

Formulation = Callable[[Array, QTensor, "Array | int"], Array]


def unpacked(dtype: jnp.dtype) -> Formulation:
    """x f32[M, columns] -> f32[M, rows] through a temporary matrix of the given type."""
    precision = lax.Precision.HIGHEST if dtype == jnp.float32 else None  # GPUs and TPUs would round the factors of a float32 product by default

    def product(x: Array, weight: QTensor, index: Array | int) -> Array:
        x, weight = tied(x, weight)
        format_ = weight.block_format
        parts = weight.named_parts(index)
        tiles = weight.parts[0].shape[1]
        inputs = rearrange(grouped(format_, x.astype(dtype)), "g m b r k -> g m (b r k)")

        def piece(parts: dict[str, Array]) -> Array:
            """f32[M, tiles * 16] for some tiles."""
            total = None
            for g, values in enumerate(values_of_groups(format_, parts)):
                matrix = rearrange(values.astype(dtype), "t b r k n -> (b r k) (t n)")
                term = lax.dot(inputs[g], lax.optimization_barrier(matrix), precision=precision, preferred_element_type=jnp.float32)
                total = term if total is None else total + term
            assert total is not None
            return total

        step = max(1, min(tiles, TEMPORARY_WEIGHTS // (LANES * weight.shape[2])))
        if step == tiles:
            return piece(parts)[:, : weight.shape[1]]

        def body(i: Array, out: Array) -> Array:
            start = jnp.minimum(i * step, tiles - step)  # the last piece may overlap the one before
            some = {name: lax.dynamic_slice_in_dim(part, start, step, 0) for name, part in parts.items()}
            return lax.dynamic_update_slice_in_dim(out, piece(some), start * LANES, 1)

        out = jnp.zeros((x.shape[0], tiles * LANES), jnp.float32)
        return lax.fori_loop(0, -(-tiles // step), body, out)[:, : weight.shape[1]]

    return product


def dense(x: Array, weight: QTensor, index: Array | int) -> Array:
    """x f32[M, columns] -> f32[M, rows] in float32."""
    numbers = weight.block_format.values
    assert numbers is not None
    matrix = numbers(weight.named_parts(index))
    return lax.dot_general(x, matrix, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


class Rule(NamedTuple):
    """A row of the table: when all conditions hold, `run` computes the product."""

    run: Formulation
    platforms: tuple[str, ...] = ()  # empty: all
    max_rows: int | None = None
    formats: tuple[str, ...] = ()  # empty: all packed formats
    width: int = 1  # columns must be a multiple of it
    usable: Callable[[str], bool] = lambda _: True  # whether it works here for a format
    exact: bool | None = None  # None: either way


def _fast_dtype() -> jnp.dtype:
    """What the processor multiplies fastest: the type of unpacked temporaries where exactness is not asked for."""
    return jnp.dtype(jnp.bfloat16 if jax.default_backend() != "cpu" or has_bf16_products() else jnp.float32)


def _table() -> tuple[Rule, ...]:
    """First match wins; the last rule fits everything. New kernels are rows of this table."""
    kernels = dense_kernels = ()
    if kernels_run():
        # Matrix units (AMX) multiply bf16 faster than the kernel multiplies int8; without them the kernel is ahead at any number of rows.
        most = 16 if has_matrix_units() else None
        kernels = (Rule(cpu.kernel_rows, platforms=("cpu",), max_rows=most, formats=tuple(KERNEL_FORMATS)),)
        dense_kernels = (Rule(cpu.dense_rows, platforms=("cpu",), max_rows=most, formats=tuple(DENSE_FORMATS), width=16),)
    return (
        *dense_kernels,
        Rule(dense, formats=tuple(name for name, format_ in FORMATS.items() if format_.dense)),
        Rule(unpacked(jnp.dtype(jnp.float32)), exact=True),
        *kernels,
        Rule(pallas.pallas_rows, platforms=("gpu",), max_rows=pallas.MAX_ROWS, formats=tuple(KERNEL_FORMATS), usable=pallas.available),
        Rule(integer_rows, max_rows=FEW_ROWS, usable=lambda name: FORMATS[name].groups is not None),
        Rule(unpacked(_fast_dtype())),
    )


def formulation(platform: str, rows: int, format: str, exact: bool, columns: int = 256) -> Formulation:
    """The entry of the table for a product."""
    return next(
        rule.run
        for rule in _table()
        if (not rule.platforms or platform in rule.platforms)
        and (rule.max_rows is None or rows <= rule.max_rows)
        and (not rule.formats or format in rule.formats)
        and columns % rule.width == 0
        and rule.exact in (None, exact)
        and rule.usable(format)
    )


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _product(x: Array, weight: QTensor, index: Array | int, exact: bool) -> Array:
    return formulation(jax.default_backend(), x.shape[0], weight.format, exact, weight.shape[2])(x, weight, index)


def _forwards(x: Array, weight: QTensor, index: Array | int, exact: bool) -> tuple[Array, tuple[QTensor, Array | int]]:
    return _product(x, weight, index, exact), (weight, index)


def _backwards(exact: bool, kept: tuple[QTensor, Array | int], y: Array) -> tuple[Array, None, None]:
    """The gradient of the product without its rounding (whose own is zero nearly everywhere). Packed weights have none."""
    weight, index = kept
    dtype = jnp.dtype(jnp.float32) if exact else _fast_dtype()
    return transposed_product(y, weight, index, dtype=dtype, temporary=TEMPORARY_WEIGHTS), None, None


_product.defvjp(_forwards, _backwards)


def qmatmul(x: Array, weight: QTensor, index: Array | int = 0, *, exact: bool = False) -> Array:
    """Multiply activations with one matrix of a packed stack: y = x @ W[index].T.

    Args:
        x: f32[..., columns].
        weight: the stack.
        index: which matrix of the stack; may be traced, so that a scan over layers neither slices nor copies weights. A traced one is clamped to the stack.
        exact: compute in float32 throughout; otherwise activations are rounded (to int8 with a scale for every 32, or to bf16).

    Returns:
        f32[..., rows]. Differentiable in x, in reverse mode: the gradient is that of the product with the dequantized matrix, whatever was rounded.

    Raises:
        ValueError: x does not have as many columns as the weight, or the weight's parts do not fit its format and shape.
        IndexError: there is no matrix `index`.
    """
    check_tensor(weight)
    place = weight.checked_index(index)
    if not hasattr(x, "ndim"):
        raise TypeError(f"x must be an array of numbers, not {type(x).__name__}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[2] or not jnp.isrealobj(x):
        raise ValueError(f"x is {x.dtype}{list(x.shape)}, expected real numbers [..., {weight.shape[2]}]: as many columns as the weight")
    if x.size == 0:
        return jnp.zeros((*x.shape[:-1], weight.shape[1]))
    flat = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
    y = cast("Array", _product(flat, weight, place, exact))
    return y.reshape(*x.shape[:-1], weight.shape[1])
