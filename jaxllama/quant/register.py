"""Block formats of one's own, known to everything in this process: files, products, and mixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.formats.gguf.types import TensorType, add_tensor_type
from jaxllama.numeric import real, whole

from .block import F16_MAX, Array, BlockFormat, Part
from .blocks import FORMATS
from .mixtures import FILE_TYPES

Dequantize = Callable[[Mapping[str, Array]], Array]
QuantizeBlocks = Callable[[Array, "Array | None"], Array]
_DTYPES = ("u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4")


_changes = 0


def format_changes() -> int:
    """How often a format that was known got other functions: programs compiled before are of the functions of before."""
    return _changes


def register_format(
    name: str,
    *,
    id: int,
    weights: int,
    parts: Mapping[str, tuple[str, int]],
    dequantize: Dequantize,
    quantize: QuantizeBlocks | None = None,
    largest: float = F16_MAX,
) -> None:
    """Make a block format known in this process, by the name under which `quantize`, `from_blocks`, files and their mixtures have theirs.

    Products unpack it; there are no kernels for it. Files with it can be read where it is registered, and nowhere else.

    Args:
        name: in capitals, digits and underscores.
        id: its number in files, which no other type has.
        weights: numbers in a block.
        parts: the bytes of a block: for each part in turn its name, type (such as "u1" or "f2", little endian) and how many of it.
        dequantize: {part: [how many, N]} of N blocks -> f32[weights, N]; a JAX function.
        quantize: (numbers f32[weights, N], their importance f32[weights, N] or None) -> the blocks' bytes uint8[bytes, N]; a JAX function. Without it
            the format can only be read.
        largest: the largest magnitude that a block can hold.

    Raises:
        ValueError: the name or the number is taken, or a function does not fit the table. A format that was registered before may get other functions; models
            that are loaded use them from then on.
        TypeError: an argument is of another type.
    """
    global _changes
    if not (isinstance(name, str) and name.isascii() and name.isidentifier() and name == name.upper()):
        raise ValueError(f"a format's name has capitals, digits and underscores, not {name!r}")
    numbers = whole(id), whole(weights), real(largest)
    if None in numbers or not callable(dequantize) or not (quantize is None or callable(quantize)) or not isinstance(parts, Mapping):
        raise TypeError(
            f"{name}: expected whole numbers as id and weights, a mapping as parts, functions as dequantize and quantize, a number as largest; "
            f"found {id!r}, {weights!r}, {parts!r}, {dequantize!r}, {quantize!r} and {largest!r}"
        )
    table, offset = [], 0
    for part, pair in parts.items():
        dtype, count = pair if isinstance(pair, (tuple, list)) and len(pair) == 2 else (pair, 0)
        if not isinstance(part, str) or dtype not in _DTYPES or whole(count) is None or count < 1:
            raise ValueError(f"part '{part}' of {name} has one of the types {', '.join(_DTYPES)} at least once, not {dtype!r} {count} times")
        table.append(Part(part, offset, dtype, count))
        offset += table[-1].nbytes
    if not table or weights < 1:
        raise ValueError(f"{name} needs parts and at least one weight in a block")
    kind = TensorType(id, name, weights, offset)
    known = FORMATS.get(name)
    if known is not None and (known.numbers is None or known.type != kind or known.parts != tuple(table)):
        raise ValueError(f"there is a format {name} with other blocks; take another name")
    _check(name, weights, offset, table, dequantize, quantize)
    if known is None:
        add_tensor_type(kind)
    else:
        _changes += 1
        jax.clear_caches()  # programs with its functions of before
    FORMATS[name] = BlockFormat(
        name,
        tuple(table),
        order="(g r k) -> g r k",
        sizes={"g": 1, "r": 1},
        quantize=None if quantize is None else lambda x, importance, _: quantize(x, importance),
        largest=largest,
        numbers=lambda found: _numbers(found, table, weights, dequantize),
    )
    if quantize is not None:
        FILE_TYPES[name] = id, name


def _check(name: str, weights: int, size: int, table: list[Part], dequantize: Dequantize, quantize: QuantizeBlocks | None) -> None:
    """Hold the functions' results against the table, for three blocks."""
    given = {part.name: jax.ShapeDtypeStruct((part.count, 3), np.dtype(part.dtype)) for part in table}
    found = jax.eval_shape(dequantize, given)
    if not _is(found, (weights, 3), jnp.float32):
        raise ValueError(f"dequantize of {name} makes {_shown(found)} of 3 blocks, expected float32[{weights}, 3]")
    if quantize is not None:
        made = jax.eval_shape(lambda x: quantize(x, None), jax.ShapeDtypeStruct((weights, 3), jnp.float32))
        if not _is(made, (size, 3), jnp.uint8):
            raise ValueError(f"quantize of {name} makes {_shown(made)} of 3 blocks, expected uint8[{size}, 3]")


def _is(found: Any, shape: tuple[int, ...], dtype: Any) -> bool:
    return isinstance(found, jax.ShapeDtypeStruct) and found.shape == shape and found.dtype == dtype


def _shown(found: Any) -> str:
    return f"{found.dtype}{list(found.shape)}" if isinstance(found, jax.ShapeDtypeStruct) else repr(found)


def _numbers(found: Mapping[str, Array], table: list[Part], weights: int, dequantize: Dequantize) -> Array:
    """f32[..., B, weights, 16] of parts [..., B, (count,) 16], through a function of [count, N]."""
    flat, shape = {}, ()
    for part in table:
        items = found[part.name] if part.count > 1 else found[part.name][..., None, :]
        items = jnp.moveaxis(items, -2, 0)
        shape = items.shape[1:]
        flat[part.name] = items.reshape(part.count, prod(shape))
    return jnp.moveaxis(dequantize(flat).reshape(weights, *shape), 0, -2)
