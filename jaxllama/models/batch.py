"""What all layers need to know of a pass: where its tokens are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxllama.layers.rope import Rope, Table, rope_table


@dataclass(frozen=True)
class Batch:
    """T new tokens of each of B slots.

    Attributes:
        positions: int32[B], the position of each slot's first new token.
        counts: int32[B], how many of each slot's new tokens count; the rest is padding, which must leave no trace in what is not indexed by position.
        written: bool[B], the slots that the new tokens are remembered in; None for all.
        tables: the rotations of the tokens, for each way in which layers rotate.
    """

    positions: jax.Array
    counts: jax.Array
    written: jax.Array | None
    tables: Mapping[Rope, Table]

    def counted(self, length: int) -> jax.Array:
        """bool[B, T], which tokens count."""
        return jnp.arange(length)[None] < self.counts[:, None]


def rope_tables(ropes: Iterable[Rope], positions: jax.Array, length: int, factors: jax.Array | None) -> dict[Rope, Table]:
    """The rotations of `length` tokens from positions int32[B] on, computed once for all layers.

    Args:
        factors: the file's `rope_freqs` f32[dims / 2], for those that take them.
    """
    places = positions[:, None] + jnp.arange(length, dtype=jnp.int32)[None]
    return {rope: rope_table(rope, places, factors if rope.has_factors else None) for rope in dict.fromkeys(ropes)}
