"""A stack of quantized matrices on the device."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from math import prod

import flax.struct
import jax
import numpy as np

from . import layout
from .block import BlockFormat
from .blocks import FORMATS
from .memory import Memory


@flax.struct.dataclass
class QTensor:
    """Packed weights in the device layout; a pytree.

    Invariant: `to_blocks(from_blocks(b)) == b` bit for bit, for any bytes.

    Attributes:
        parts: one array for each part of the format, see `layout`.
        format: name of the block format; static.
        shape: (stack, rows, columns), the logical shape; static. A product contracts the columns. The stack holds the layers of a model (times experts).
    """

    parts: tuple[jax.Array, ...]
    format: str = flax.struct.field(pytree_node=False)
    shape: tuple[int, int, int] = flax.struct.field(pytree_node=False)

    @property
    def block_format(self) -> BlockFormat:
        return FORMATS[self.format]

    @property
    def nbytes(self) -> int:
        """Bytes on the device, padding included."""
        return sum(part.nbytes for part in self.parts)

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.nbytes / prod(self.shape)

    def named_parts(self, index: jax.Array | int | None = None) -> dict[str, jax.Array]:
        """The parts by name, of the whole stack or of one matrix; a part with one item a block loses its item axis."""
        found = {}
        for part, array in zip(self.block_format.parts, self.parts, strict=True):
            if index is not None:
                array = jax.lax.dynamic_index_in_dim(array, index, 0, keepdims=False)
            found[part.name] = array[..., 0, :] if part.count == 1 and not self.block_format.dense else array
        return found

    def __repr__(self) -> str:
        stack, rows, columns = self.shape
        return f"QTensor({self.format}, {stack} x [{rows}, {columns}], {self.nbytes / 1e6:.1f} MB, {self.bits_per_weight:.2f} bits a weight)"


def from_blocks(
    blocks: np.ndarray | Iterable[np.ndarray], format: str, *, stack: int | None = None, byte_order: str = "<", memory: Memory | None = None
) -> QTensor:
    """Put blocks, as a file has them, on the default device. Not a bit is lost.

    Args:
        blocks: uint8[stack, rows, row bytes], or uint8[rows, row bytes] for one matrix; or, with `stack`, an iterable of that many
            uint8[rows, row bytes], which are packed one after the other so that no more than one of them needs to be in memory.
        format: a name in `FORMATS`.
        byte_order: of the file the bytes come from.
        memory: where the weights come to lie on the host; memory of this process by default.

    Raises:
        ValueError: the format is unknown, or the bytes are no whole number of blocks.
    """
    if format not in FORMATS:
        raise ValueError(f"no block format '{format}'; there are {', '.join(FORMATS)}")
    if isinstance(blocks, np.ndarray):
        blocks = blocks[None] if blocks.ndim == 2 else blocks
        stack = blocks.shape[0]
    if stack is None:
        raise ValueError("from_blocks needs `stack`, the number of matrices, when the blocks come one after the other")
    format_, rest = FORMATS[format], iter(blocks)
    first = next(rest, None)
    if first is None:
        raise ValueError(f"expected {stack} matrices, found 0")
    rows, row_bytes = first.shape
    if row_bytes % format_.type.bytes:
        raise ValueError(f"rows of {row_bytes} bytes are no whole number of {format} blocks of {format_.type.bytes} bytes")
    shape = (stack, rows, row_bytes // format_.type.bytes * format_.type.weights)
    arrays = (memory or Memory()).fill(format_, shape, chain([first], rest), byte_order)
    return QTensor(tuple(jax.device_put(array) for array in arrays), format, shape)


def to_blocks(tensor: QTensor) -> np.ndarray:
    """The file's bytes: uint8[stack, rows, row bytes], little endian."""
    return layout.unpack([np.asarray(part) for part in tensor.parts], tensor.block_format, tensor.shape[1])
