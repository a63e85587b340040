"""File blocks <-> device arrays, in numpy. Exact inverses for every format.

On the device a part of `count` items lies as [stack, tiles, blocks, count, 16]: sixteen rows side by side, then the items of a block, the blocks of a row,
the tiles of a matrix and the matrices of a stack. (With one item a block the item axis has size 1.) The rows of the last tile are padded with zeros.
A dense format keeps its matrix as it is, [stack, rows, columns], or two matrices of words where numbers have 64 bits.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from jaxllama.kernels.assemble import instruction_set

from .block import LANES, BlockFormat, Part
from .kernels.repack import repack

_HUGE_PAGE = 2 * 2**20  # memory in pages of this size is faster to get, and a few percent faster to read, where the system has them
_ALIGNMENT = 64  # XLA on CPU takes a numpy array as it is when it is aligned like this, and copies it otherwise


def host_dtype(part: Part) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if part.dtype == "bfloat16" else np.dtype(part.dtype)


def device_shape(format_: BlockFormat, part: Part, stack: int, rows: int, columns: int) -> tuple[int, ...]:
    if format_.dense:
        return stack, rows, columns
    return stack, -(-rows // LANES), columns // format_.type.weights, part.count, LANES


def allocate(format_: BlockFormat, stack: int, rows: int, columns: int) -> list[np.ndarray]:
    """Empty host arrays for all parts of a stack of matrices."""
    return [_aligned(device_shape(format_, part, stack, rows, columns), host_dtype(part)) for part in format_.parts]


def _aligned(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    nbytes = int(np.prod(shape)) * dtype.itemsize
    if nbytes >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        memory = mmap.mmap(-1, nbytes + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
        raw, alignment = np.frombuffer(memory, np.uint8), _HUGE_PAGE
    else:
        raw, alignment = np.empty(nbytes + _ALIGNMENT, np.uint8), _ALIGNMENT
    start = -raw.ctypes.data % alignment
    return raw[start : start + nbytes].view(dtype).reshape(shape)


def pack_into(arrays: Sequence[np.ndarray], index: int, format_: BlockFormat, blocks: np.ndarray, byte_order: str = "<", row: int = 0) -> None:
    """Write rows of a matrix, as the file has them, into place `index` of the arrays from `allocate`.

    Args:
        blocks: uint8[rows, row bytes].
        byte_order: of the file. Scales and dense numbers of a big-endian file are swapped; codes are bytes and need not be.
        row: the first of them in the matrix, a multiple of 16.
    """
    rows = blocks.shape[0]
    if format_.dense:
        numbers = np.ascontiguousarray(blocks).view(f"u{format_.type.bytes}")
        items = (numbers.byteswap() if byte_order == ">" else numbers).view(np.uint8).reshape(rows, -1, format_.type.bytes)
        for part, array in zip(format_.parts, arrays, strict=True):
            array[index, row : row + rows].view(np.uint8).reshape(rows, -1, part.nbytes)[...] = items[..., part.offset : part.offset + part.nbytes]
        return
    places = [array[index, row // LANES :] for array in arrays]
    whole = rows // LANES
    swapped = byte_order == ">"
    if whole and not swapped and blocks.flags.c_contiguous and instruction_set() is not None:
        repack(blocks[: whole * LANES], places, format_)
    elif whole:
        _pack_tiles(places, 0, format_, blocks[: whole * LANES], swapped)
    if whole * LANES < rows:
        rest = np.zeros((LANES, blocks.shape[1]), np.uint8)
        rest[: rows - whole * LANES] = blocks[whole * LANES :]
        _pack_tiles(places, whole, format_, rest, swapped)


def _pack_tiles(places: Sequence[np.ndarray], first: int, format_: BlockFormat, blocks: np.ndarray, swapped: bool) -> None:
    """Write rows uint8[tiles * 16, row bytes] to the parts [tiles, blocks, count, 16] of a matrix, from tile `first` on."""
    per_block = blocks.reshape(len(blocks), -1, format_.type.bytes)
    for part, place in zip(format_.parts, places, strict=True):
        items = np.ascontiguousarray(per_block[..., part.offset : part.offset + part.nbytes]).view(part.dtype)
        if swapped and part.dtype == "f2":
            items = items.byteswap()
        place[first : first + len(blocks) // LANES] = items.reshape(-1, LANES, *items.shape[1:]).transpose(0, 2, 3, 1)


def unpack(arrays: Sequence[np.ndarray], format_: BlockFormat, rows: int) -> np.ndarray:
    """The file's bytes uint8[stack, rows, row bytes] from device arrays."""
    if format_.dense:
        items = [np.ascontiguousarray(array)[..., None].view(np.uint8) for array in arrays]
        return np.concatenate(items, -1).reshape(*arrays[0].shape[:2], -1)
    stack, tiles, blocks = arrays[0].shape[:3]
    found = np.empty((stack, tiles * LANES, blocks, format_.type.bytes), np.uint8)
    for part, array in zip(format_.parts, arrays, strict=True):
        items = np.ascontiguousarray(array.transpose(0, 1, 4, 2, 3)).view(np.uint8)
        found[..., part.offset : part.offset + part.nbytes] = items.reshape(stack, tiles * LANES, blocks, part.nbytes)
    return found[:, :rows].reshape(stack, rows, -1)
