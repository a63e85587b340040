"""The matrices of one role (say `ffn_down`) through all layers, whose formats may differ from layer to layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from .block import Array
from .matmul import qmatmul
from .memory import Memory
from .qtensor import QTensor, from_blocks


@flax.struct.dataclass
class LayerStack:
    """One `QTensor` for each format that occurs, and where to find each layer's matrix; a pytree.

    Attributes:
        tensors: one stack a format.
        choice: for each layer, which of the tensors; static.
        place: for each layer, how many layers before it are in the same tensor; static.
        experts: matrices a layer has (1 unless the role belongs to an expert layer); static.
    """

    tensors: tuple[QTensor, ...]
    choice: tuple[int, ...] = flax.struct.field(pytree_node=False)
    place: tuple[int, ...] = flax.struct.field(pytree_node=False)
    experts: int = flax.struct.field(pytree_node=False, default=1)

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.tensors)

    @property
    def formats(self) -> tuple[str, ...]:
        """The format of every layer."""
        return tuple(self.tensors[c].format for c in self.choice)

    def __repr__(self) -> str:
        return f"LayerStack({len(self.choice)} layers: {', '.join(map(repr, self.tensors))})"


def stack_layers(
    formats: Sequence[str], blocks: Callable[[int], np.ndarray], *, experts: int = 1, byte_order: str = "<", memory: Memory | None = None
) -> LayerStack:
    """Pack a role's matrices, one after the other.

    Args:
        formats: the format of every layer.
        blocks: layer -> the bytes uint8[rows, row bytes], or uint8[experts, rows, row bytes].
        experts: matrices a layer has.
        byte_order: of the bytes.
        memory: as for `from_blocks`.
    """
    kinds = list(dict.fromkeys(formats))
    tensors, place = [], [0] * len(formats)
    for kind in kinds:
        layers = [i for i, f in enumerate(formats) if f == kind]
        for n, layer in enumerate(layers):
            place[layer] = n

        def matrices(layers: list[int] = layers):
            for layer in layers:
                found = blocks(layer)
                yield from found.reshape(experts, -1, found.shape[-1])

        tensors.append(from_blocks(matrices(), kind, stack=len(layers) * experts, byte_order=byte_order, memory=memory))
    return LayerStack(tuple(tensors), tuple(kinds.index(f) for f in formats), tuple(place), experts)


def stack_matmul(x: Array, stack: LayerStack, layer: Array | int, expert: Array | int = 0, *, exact: bool = False) -> Array:
    """`qmatmul` with the matrix of one layer: f32[..., columns] -> f32[..., rows]. The layer may be traced: where formats differ, a switch chooses."""
    index = jnp.asarray(stack.place)[layer] * stack.experts + expert

    def product(tensor: QTensor) -> Callable[[Array], Array]:
        return lambda x: qmatmul(x, tensor, index, exact=exact)

    return jax.lax.switch(jnp.asarray(stack.choice)[layer], [product(t) for t in stack.tensors], x)
