"""The transposed product, y @ W, with packed weights: what gradients of activations are made of."""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from jax import lax

from .block import LANES, Array, BlockFormat
from .dequantize import values_of_groups
from .qtensor import QTensor


def transposed_product(y: Array, weight: QTensor, index: Array | int, *, dtype: jnp.dtype, temporary: int) -> Array:
    """y f32[M, rows] -> f32[M, columns] with matrix `index` of the stack, unpacked piece by piece.

    Args:
        dtype: of the temporary and of the factors; sums are float32.
        temporary: most weights that are unpacked at a time.
    """
    precision = lax.Precision.HIGHEST if dtype == jnp.float32 else None
    if (numbers := weight.block_format.values) is not None:
        matrix = numbers(weight.named_parts(index))
        return lax.dot_general(y, matrix, (((1,), (0,)), ((), ())), precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
    format_, parts = weight.block_format, weight.named_parts(index)
    tiles, columns = weight.parts[0].shape[1], weight.shape[2]
    step = max(1, min(tiles, temporary // (LANES * columns)))
    padded = jnp.pad(y, ((0, 0), (0, tiles * LANES - weight.shape[1]))).reshape(y.shape[0], tiles, LANES)

    def body(i: Array, out: Array) -> Array:
        start = jnp.minimum(i * step, tiles - step)  # the last piece may overlap the one before: what was counted there is zero here
        some = {name: lax.dynamic_slice_in_dim(part, start, step, 0) for name, part in parts.items()}
        new = (start + jnp.arange(step) >= i * step)[None, :, None]
        rows = jnp.where(new, lax.dynamic_slice_in_dim(padded, start, step, 1), 0.0).astype(dtype)
        return out + _piece(rows.reshape(y.shape[0], -1), some, format_, precision)

    return lax.fori_loop(0, -(-tiles // step), body, jnp.zeros((y.shape[0], columns), jnp.float32))


def _piece(rows: Array, parts: dict[str, Array], format_: BlockFormat, precision: lax.Precision | None) -> Array:
    """rows [M, tiles * 16] -> f32[M, columns] for the parts of some tiles."""
    found = []
    for group in values_of_groups(format_, parts):
        values = group.astype(rows.dtype)  # [T, B, R, K, 16]
        shape = values.shape[1:4]
        matrix = lax.optimization_barrier(rearrange(values, "t b r k n -> (t n) (b r k)"))
        found.append(lax.dot(rows, matrix, precision=precision, preferred_element_type=jnp.float32).reshape(rows.shape[0], *shape))
    left, right = format_.order.split(" -> ")
    return rearrange(jnp.stack(found), f"{_with_rows(right)} -> m (b {left.strip('()')})", **format_.sizes)


def _with_rows(right: str) -> str:
    """The pattern of a format's groups, `g r k`, with rows m and blocks b after the group: `g m b r k`."""
    g, rest = right.split(" ", 1)
    return f"{g} m b {rest}"
