"""Reading and writing one layer's part of a recurrent memory."""

from __future__ import annotations

import jax

from ..memory import Recurrent


def layer_of(memory: Recurrent, index: jax.Array) -> Recurrent:
    """What one layer remembers, without the axis of layers."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, 0, keepdims=False), memory)


def with_layer(memory: Recurrent, index: jax.Array, new: Recurrent) -> Recurrent:
    """The memory with what one layer remembers now."""
    return jax.tree.map(lambda leaf, part: jax.lax.dynamic_update_index_in_dim(leaf, part, index, 0), memory, new)
