"""Looking at what a model's matrices are multiplied with, while a program is traced: the raw material of importance matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import jax
import jax.numpy as jnp

Seen = dict[str, tuple[jax.Array, jax.Array]]


class Watch:
    """Collects, by role, the summed squares f32[inputs] of the rows that products see, and how many rows those were.

    A loop over layers or experts looks inside `group` and returns what was found as an output of the loop, so that nothing traced leaves it.

    Attributes:
        rows: bool[R], the rows that count.
        found: what has been seen.
    """

    def __init__(self, rows: jax.Array):
        self.rows = rows
        self.found: Seen = {}

    def see(self, role: str, x: jax.Array) -> None:
        """Look at rows x f32[R, inputs]."""
        self.found[role] = jnp.where(self.rows[:, None], jnp.square(x), 0.0).sum(0), self.rows.sum(dtype=jnp.int32)

    @contextmanager
    def group(self, rows: jax.Array | None = None) -> Iterator[Seen]:
        """A collection of its own, for some of the rows only where `rows` bool[R] says so."""
        outer = self.rows, self.found
        self.rows, self.found = self.rows if rows is None else self.rows & rows, {}
        try:
            yield self.found
        finally:
            self.rows, self.found = outer


def group_of(watch: Watch | None) -> AbstractContextManager[Seen]:
    """`watch.group()`; nothing is collected where nobody watches."""
    return nullcontext({}) if watch is None else watch.group()
