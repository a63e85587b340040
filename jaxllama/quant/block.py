"""What a block format is: parts of bytes, and how they turn into codes and scales.

A block holds `weights` numbers. Its bytes fall into *parts*: 32-bit words of codes, f16 scales, and so on. On the device every part becomes an array whose
last axis is 16 rows of the matrix (a *tile*), so that one vector instruction works on the same word of 16 rows; see `layout`.

For arithmetic a block falls into *groups* of codes with one scale each: `x = scale * code - minimum`. A format says where the groups are; the products and
`dequantize` are written once, for all formats, on top of that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, TensorType

LANES = 16  # rows in a tile
F16_MAX = 65504.0  # the largest scale

Array = jax.Array
Quantizer = Callable[[Array, "Array | None", Array], Array]


@dataclass(frozen=True)
class Part:
    """A run of bytes in a block: `count` items of a numpy type."""

    name: str
    offset: int  # bytes from the start of the block
    dtype: str  # "u4" for words of codes, "f2", "u1", ...
    count: int = 1

    @property
    def nbytes(self) -> int:
        return np.dtype(self.dtype).itemsize * self.count


@dataclass(frozen=True)
class Group:
    """Codes with one scale each, as they lie in every block of a tile.

    Letters: B block, R repeat (the same group at R places of the block), C word, 16 rows.

    Attributes:
        words: arrays u32[..., B, R, C, 16] that `code` draws on; a word holds four neighbouring weights, one a byte.
        code: (the words with the axis C taken away or moved, byte number) -> int32 codes.
        scale: f32[..., B, R, 16].
        minimum: f32[..., B, R, 16], or None where it is zero.
    """

    words: tuple[Array, ...]
    code: Callable[..., Array]
    scale: Array
    minimum: Array | None = None


@dataclass(frozen=True)
class BlockFormat:
    """A row of the format table.

    Attributes:
        name: ggml's name; sizes come from the GGUF type table.
        parts: what a block consists of, in file order.
        groups: device parts -> the block's groups. None for a dense format.
        values: device parts -> f32 numbers of the same shape, for a dense format, whose parts are matrices. None for a packed one.
        order: einops pattern from the weights of a block to `g r k` (group, repeat, weight of the group), and the sizes it needs.
        quantize: (numbers f32[weights, N], their importance f32[weights, N] or None, mean square f32[N] of the row that a block lies in) -> blocks
            uint8[bytes, N]; None for a dense format.
        largest: the largest magnitude that a block holds, whatever the other numbers in it.
        numbers: device parts -> f32[..., B, weights, 16], for a format without groups that is not dense (`register_format`).
    """

    name: str
    parts: tuple[Part, ...]
    groups: Callable[[Mapping[str, Array]], list[Group]] | None = None
    order: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict, hash=False)
    quantize: Quantizer | None = None
    values: Callable[[Mapping[str, Array]], Array] | None = None
    largest: float = F16_MAX
    numbers: Callable[[Mapping[str, Array]], Array] | None = None

    def __post_init__(self) -> None:
        total = sum(part.nbytes for part in self.parts)
        if total != self.type.bytes:
            raise ValueError(f"{self.name}: the parts have {total} bytes, the format has {self.type.bytes}")

    @property
    def type(self) -> TensorType:
        return TENSOR_TYPE_NAMES[self.name]

    @property
    def dense(self) -> bool:
        return self.values is not None


def lift(values: Array, like: Array) -> Array:
    """`values` with leading axes of size 1, as many as `like` has axes."""
    return values.reshape((1,) * (like.ndim - values.ndim) + values.shape)


def shift_right(words: Array, count: Array | int) -> Array:
    """Words shifted by a number of bits, or by an array of them that lines up with the last axes."""
    return words >> lift(jnp.asarray(count, jnp.uint32), words)


def bits(words: Array, byte: Array | int, shift: int, mask: int) -> Array:
    """A bit field of a byte of each word, as int32."""
    return (shift_right(words, 8 * byte + shift) & jnp.uint32(mask)).astype(jnp.int32)


def signed_byte(words: Array, byte: Array | int) -> Array:
    """The int8 in a byte of each word, as int32."""
    top = words << lift(jnp.asarray(24 - 8 * byte, jnp.uint32), words)
    return jax.lax.bitcast_convert_type(top, jnp.int32) >> 24


def look_up(table: tuple[int, ...], codes: Array) -> Array:
    """table[codes] for int32 codes within the table, as a tree of selections: XLA vectorises it, and would not a gather."""
    if len(table) == 1:
        return jnp.full_like(codes, table[0])
    half = len(table) // 2
    return jnp.where(codes & half != 0, look_up(table[half:], codes), look_up(table[:half], codes))


def nibbles_of(table: tuple[int, ...], words: Array, scale: Array) -> list[Group]:
    """The two groups of words of nibbles, first the low ones: x = scale * table[nibble]."""
    low, high = (lambda w, byte, shift=shift: look_up(table, bits(w, byte, shift, 15)) for shift in (0, 4))
    return [Group((words,), low, scale), Group((words,), high, scale)]
