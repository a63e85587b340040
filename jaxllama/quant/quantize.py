"""Numbers to blocks: the quantizers, run over large matrices in pieces on all cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from einops import rearrange
from jax.experimental.layout import Layout, with_layout_constraint

from jaxllama.environment import thread_count

from ..names import tells_nearest
from .block import Array, BlockFormat
from .blocks import FORMATS, format_named

FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "F64": "<f8"}
_INNER = 2**15  # weights that are worked on at a time, so that they stay in the cache while many scales are tried
_LEAST_SHARE = np.float32(2.0**-40)  # of the importance of a block's most important number
_OUTER = 32  # pieces of that size in one call: few weights should not be padded to many, and many should not need many calls


@tells_nearest
def quantize(x: np.ndarray | Array, format: str, importance: np.ndarray | None = None, *, threads: int | None = None) -> np.ndarray:
    """Round numbers to a block format: the bytes that a GGUF file holds.

    Without `importance` the formats Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0, TQ2_0, MXFP4 and the dense ones give the reference's bytes. The others search for
    scales, with the reference's candidates or better ones.

    Args:
        x: f32, f16 or bf16 [..., columns].
        format: a name in `FORMATS`.
        importance: how much the square of an error counts, f32 that broadcasts to x (usually [columns], an importance matrix's mean squared activations).
            Only its ratios within a block count, and zero counts as 2^-40 of the block's largest. (llama.cpp's quantizers set numbers of zero importance to
            zero, or to something arbitrary.) Dense formats, Q8_0, MXFP4, NVFP4, Q1_0, Q2_0, TQ1_0 and TQ2_0 ignore it, as in llama.cpp.
        threads: how many pieces to work on at a time; all cores by default.

    Returns:
        uint8[..., row bytes], which `from_blocks` takes.

    Raises:
        ValueError: unknown format, rows that are no whole number of blocks, numbers that are not finite or larger than the format holds, an importance that
            is negative, not finite or of another shape.
    """
    format_ = format_named(format)
    x = _real(x, "quantize rounds")
    x = x.astype(np.float32) if x.dtype.kind in "biu" else x
    if x.ndim == 0 or x.shape[-1] % format_.type.weights:
        raise ValueError(f"{format} needs rows of a multiple of {format_.type.weights} numbers, found shape {x.shape}")
    if importance is not None:
        importance = _real(importance, "importance is").astype(np.float32)
        try:
            np.broadcast_to(importance, x.shape)
        except ValueError:
            raise ValueError(f"importance has shape {importance.shape}, which does not fit numbers of shape {x.shape}") from None
        if not np.isfinite(importance).all() or (importance < 0).any():
            raise ValueError("importance must be finite and not negative")
    if format_.dense:
        if format_.name not in FLOATS:
            raise ValueError(f"{format_.name} is an integer type: quantize does not round to it")
        _check(x, format_)
        return np.ascontiguousarray(x.astype(FLOATS[format_.name])).view(np.uint8)
    if format_.quantize is None:
        raise ValueError(f"{format_.name} was registered without a quantizer: it can only be read")
    if not x.size:
        return np.empty((*x.shape[:-1], x.shape[-1] // format_.type.weights * format_.type.bytes), np.uint8)
    if importance is not None:
        importance = _ratios(importance, x.shape[-1], format_.type.weights)
    return _in_pieces(x, format_, importance, threads or thread_count())


def _real(x: object, what: str) -> np.ndarray:
    array = np.asarray(x)
    if not (array.dtype.kind in "biu" or jnp.issubdtype(array.dtype, jnp.floating)):
        raise ValueError(f"{what} an array of real numbers, not of {array.dtype}")
    return array


def _ratios(importance: np.ndarray, columns: int, weights: int) -> np.ndarray:
    """The importance f32[..., columns] as shares of the largest one in each block, which is all that counts, about one so that sums fit f32.

    No share is zero: a group of numbers none of which counts would become zeros, or whatever the search met first.
    """
    blocks = np.broadcast_to(importance, (*importance.shape[:-1], columns)).reshape(*importance.shape[:-1], -1, weights)
    largest = blocks.max(-1, keepdims=True)
    shares = np.ldexp(blocks, -np.frexp(largest)[1])  # exact
    return np.where(largest > 0, np.maximum(shares, _LEAST_SHARE), np.float32(1)).reshape(*importance.shape[:-1], columns)


def _check(x: np.ndarray, format_: BlockFormat, first_row: int = 0) -> None:
    """Raise a ValueError for the first number that the format cannot hold."""
    held = np.isfinite(x)
    if float(ml_dtypes.finfo(x.dtype).max) > format_.largest:
        held &= np.abs(x) <= x.dtype.type(format_.largest)
    if not held.all():
        row, column = np.argwhere(~held.reshape(-1, x.shape[-1]))[0]
        found = x.reshape(-1, x.shape[-1])[row, column]
        reason = f"{format_.name} holds magnitudes up to {format_.largest:g}" if np.isfinite(found) else "only finite numbers can be quantized"
        raise ValueError(f"number {column} of row {first_row + row} is {found}; {reason}")


def _in_pieces(x: np.ndarray, format_: BlockFormat, importance: np.ndarray | None, threads: int) -> np.ndarray:
    columns, weights = x.shape[-1], format_.type.weights
    rows = x.reshape(-1, columns)
    blocks = columns // weights
    out = np.empty((len(rows), blocks * format_.type.bytes), np.uint8)
    if importance is not None:
        importance = np.broadcast_to(importance, x.shape).reshape(-1, columns)
    inner = _INNER // weights
    size = inner if rows.size <= 4 * _INNER else inner * _OUTER
    per_call = max(1, size // blocks)  # rows

    def work(start: int) -> None:
        some = rows[start : start + per_call]
        _check(some, format_, start)
        some_importance = None if importance is None else importance[start : start + per_call]
        found = _quantize_rows(some, some_importance, format_, inner, size)
        out[start : start + per_call] = found

    starts = range(0, len(rows), per_call)
    with ThreadPoolExecutor(max(1, min(threads, len(starts)))) as pool:
        list(pool.map(work, starts))
    return out.reshape(*x.shape[:-1], -1)


def _quantize_rows(rows: np.ndarray, importance: np.ndarray | None, format_: BlockFormat, inner: int, size: int) -> np.ndarray:
    """Blocks of some rows, through calls of `size` blocks; the last one is filled up with zeros."""
    weights = format_.type.weights
    flat = rows.reshape(-1, weights)
    mean_square = np.zeros(len(flat), np.float32)
    if importance is not None:
        with np.errstate(over="ignore"):  # only where the format holds such numbers, and has no use for an importance
            mean_square[:] = np.repeat(np.square(rows.astype(np.float32)).mean(-1, dtype=np.float32), rows.shape[-1] // weights)
    flat_importance = None if importance is None else importance.reshape(-1, weights)
    found = np.empty((len(flat), format_.type.bytes), np.uint8)
    for start in range(0, len(flat), size):
        count = min(size, len(flat) - start)

        def filled(array: np.ndarray, start: int = start, count: int = count) -> np.ndarray:
            piece = array[start : start + count]
            return piece if count == size else np.pad(piece, [(0, size - count)] + [(0, 0)] * (piece.ndim - 1))

        blocks = _quantize_blocks(filled(flat), None if flat_importance is None else filled(flat_importance), filled(mean_square), format_.name, inner)
        found[start : start + count] = np.asarray(blocks)[:count]
    return found.reshape(len(rows), -1)


def _side_by_side(x: Array) -> Array:
    """[N, weights] -> [weights, N], in memory too: XLA would only relabel the axes, and not vectorise over blocks."""
    return with_layout_constraint(x.T, Layout((0, 1)))


@partial(jax.jit, static_argnames=("format", "inner"))
def _quantize_blocks(x: Array, importance: Array | None, mean_square: Array, format: str, inner: int) -> Array:
    """Blocks uint8[N, bytes] of numbers [N, weights]; importance alike, mean_square f32[N] of the row that a block lies in."""
    run = FORMATS[format].quantize
    assert run is not None

    def piece(pieces: tuple[Array, Array | None, Array]) -> Array:
        x, importance, mean_square = pieces
        return run(_side_by_side(x.astype(jnp.float32)), None if importance is None else _side_by_side(importance), mean_square)

    split = jax.tree.map(lambda a: a.reshape(-1, inner, *a.shape[1:]), (x, importance, mean_square))
    return rearrange(jax.lax.map(piece, split), "a k b -> (a b) k")  # not within the loop, where XLA would make every byte by itself
