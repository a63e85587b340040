"""A stack of quantized matrices on the device."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from math import prod

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxllama.numeric import whole_of

from . import layout
from .block import BlockFormat
from .blocks import FORMATS, format_named
from .integers import integers, saturated
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

    def check(self) -> None:
        """Hold the parts against the format and the shape; what reads them trusts both.

        Raises:
            ValueError: they do not fit.
        """
        format_ = format_named(self.format)
        if len(self.shape) != 3 or min(self.shape) < 1 or self.shape[2] % format_.type.weights:
            raise ValueError(f"a QTensor of {self.format} has a shape (stack, rows, columns), columns in blocks of {format_.type.weights}, not {self.shape}")
        expected = [(layout.device_shape(format_, part, *self.shape), layout.host_dtype(part)) for part in format_.parts]
        if [(p.shape, p.dtype) for p in self.parts] != expected:
            found = ", ".join(f"{p.dtype}{list(p.shape)}" for p in self.parts)
            wanted = ", ".join(f"{dtype}{list(shape)}" for shape, dtype in expected)
            raise ValueError(f"a QTensor of {self.format} with shape {self.shape} has the parts {wanted}; found {found}")

    def checked_index(self, index: jax.Array | int) -> jax.Array:
        """int32[], the number of a matrix in the stack. Outside of the stack it is refused where it is known, and clamped inside of jit.

        Raises:
            IndexError: there is no such matrix.
            TypeError: it is no integer.
        """
        found = integers("numbers of matrices", index)
        if found.ndim:
            raise TypeError(f"expected the number of a matrix, found an array {list(found.shape)}")
        if not isinstance(found, Tracer) and not 0 <= int(found) < self.shape[0]:
            raise IndexError(f"there is no matrix {int(found)} in a stack of {self.shape[0]}; they are counted from 0")
        return jnp.clip(saturated(found), 0, self.shape[0] - 1)

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


def check_tensor(given: object) -> None:
    """Refuse what is no sound `QTensor`.

    Raises:
        TypeError: it is something else.
        ValueError: see `QTensor.check`.
    """
    if not isinstance(given, QTensor):
        raise TypeError(f"expected a QTensor, which from_blocks makes, found {type(given).__name__}")
    given.check()


def from_blocks(
    blocks: np.ndarray | Iterable[np.ndarray], format: str, *, stack: int | None = None, byte_order: str = "<", memory: Memory | None = None
) -> QTensor:
    """Put blocks, as a file has them, on the default device. Not a bit is lost.

    Args:
        blocks: uint8[stack, rows, row bytes], or uint8[rows, row bytes] for one matrix, or uint8[row bytes] for one row; or, with `stack`, an iterable of that
            many uint8[rows, row bytes], which are packed one after the other so that no more than one of them needs to be in memory.
        format: a name in `FORMATS`.
        byte_order: of the file the bytes come from.
        memory: where the weights come to lie on the host; memory of this process by default.

    Raises:
        ValueError: the format is unknown, or the bytes are no whole number of blocks, or matrices of one stack have different shapes.
    """
    format_ = format_named(format)
    if isinstance(blocks, np.ndarray):
        blocks = blocks[(None,) * max(0, 3 - blocks.ndim)]  # a row is a matrix of one row
        stack = blocks.shape[0]
    if byte_order not in ("<", ">"):
        raise ValueError(f"byte_order is '<' or '>', not {byte_order!r}")
    if not isinstance(blocks, Iterable):
        raise TypeError(f"expected the bytes of blocks, as quantize makes them, found {type(blocks).__name__}")
    if stack is None:
        raise ValueError("from_blocks needs `stack`, the number of matrices, when the blocks come one after the other")
    stack = whole_of("stack", stack, 1, 2**31 - 1)
    rest = iter(blocks)
    first = next(rest, None)
    if first is None:
        raise ValueError(f"expected {stack} matrices, found 0")
    if not isinstance(first, np.ndarray):
        raise TypeError(f"expected arrays of blocks, found {type(first).__name__}")
    if first.ndim != 2 or first.dtype != np.uint8:
        raise ValueError(f"blocks are uint8[rows, row bytes] or uint8[stack, rows, row bytes], found {first.dtype}{list(first.shape)}")
    rows, row_bytes = first.shape
    if not rows or not row_bytes or row_bytes % format_.type.bytes:
        raise ValueError(f"rows of {row_bytes} bytes are not a whole number of {format} blocks of {format_.type.bytes} bytes")
    shape = (stack, rows, row_bytes // format_.type.bytes * format_.type.weights)
    arrays = (memory or Memory()).fill(format_, shape, chain([first], rest), byte_order)
    return QTensor(tuple(jax.device_put(array) for array in arrays), format_.name, shape)


def to_blocks(tensor: QTensor) -> np.ndarray:
    """The file's bytes: uint8[stack, rows, row bytes], little endian."""
    check_tensor(tensor)
    return layout.unpack([np.asarray(part) for part in tensor.parts], tensor.block_format, tensor.shape[1])
