"""Packed weights to numbers: for tests, for looking at weights, for the rows of an embedding, and for products with many rows of activations."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from einops import rearrange

from .block import Array, BlockFormat, Group
from .integers import integers, saturated
from .qtensor import QTensor, check_tensor


def group_values(group: Group) -> Array:
    """The numbers of a group, f32[..., B, R, K, 16] (K: weights of the group, in order)."""
    words = tuple(w[..., None, :] for w in group.words)  # [..., B, R, C, 1, 16]
    codes = group.code(*words, jnp.arange(4)[:, None]).astype(jnp.float32)
    codes = rearrange(codes, "... c y n -> ... (c y) n")
    values = codes * group.scale[..., None, :]
    return values if group.minimum is None else values - group.minimum[..., None, :]


def values_of_groups(format_: BlockFormat, parts: Mapping[str, Array]) -> list[Array]:
    """The numbers of each group; a format without groups has one of all its weights."""
    if format_.numbers is not None:
        return [format_.numbers(parts)[..., None, :, :]]
    assert format_.groups is not None
    return [group_values(group) for group in format_.groups(parts)]


def block_values(format_: BlockFormat, parts: Mapping[str, Array]) -> Array:
    """All numbers in the order of the weights, f32[..., columns, 16], from parts of shape [..., B, (count,) 16]."""
    values = jnp.stack(values_of_groups(format_, parts), axis=-4)  # [..., B, g, r, k, n]
    left, right = format_.order.split(" -> ")
    pattern = f"... b {right} n -> ... (b {left.strip('()')}) n"
    return rearrange(values, pattern, **format_.sizes)


def dequantize(tensor: QTensor, dtype: jnp.dtype = jnp.float32) -> Array:
    """The whole stack as numbers, [stack, rows, columns]; bit-exact with ggml's dequantization in float32.

    For inspection and tests: a model never holds its weights like this.
    """
    check_tensor(tensor)
    if (numbers := tensor.block_format.values) is not None:
        return numbers(tensor.named_parts()).astype(dtype)
    values = _all_values(tensor)  # [stack, tiles, columns, 16]
    return rearrange(values, "s t k n -> s (t n) k")[:, : tensor.shape[1]].astype(dtype)


@jax.jit
def _all_values(tensor: QTensor) -> Array:
    return block_values(tensor.block_format, tensor.named_parts())


def qtake(tensor: QTensor, ids: Array | int, index: int = 0) -> Array:
    """Rows of a matrix as numbers: f32[..., columns] for ids int32[...]. Only the rows that are asked for are unpacked.

    Ids outside the matrix are clamped to it.

    Raises:
        ValueError: the tensor's parts do not fit its format and shape.
        TypeError: ids are no integers.
        IndexError: there is no matrix `index`.
    """
    check_tensor(tensor)
    place = tensor.checked_index(index)
    ids = jnp.clip(saturated(integers("ids of rows", ids)), 0, tensor.shape[1] - 1)
    if (numbers := tensor.block_format.values) is not None:
        return numbers({name: part[place][ids] for name, part in tensor.named_parts().items()})
    lanes = tensor.parts[0].shape[-1]
    flat = ids.reshape(-1)

    def pick(array: Array) -> Array:
        """[stack, tiles, B, count, 16] -> [ids, B, count, 1], each row of a tile by itself."""
        return array[place][flat // lanes, :, :, flat % lanes][..., None]

    rows = QTensor(tuple(pick(part)[None] for part in tensor.parts), tensor.format, (1, flat.size, tensor.shape[2]))
    values = block_values(tensor.block_format, {name: part[0] for name, part in rows.named_parts().items()})  # [ids, columns, 1]
    return values[..., 0].reshape(*ids.shape, tensor.shape[2])
