"""Tokens that may be chosen: a window of the most likely ones, in order, and what is known of those beyond it.

Sorting a large vocabulary costs a hundred times what the window costs. Samplers work on the window; one that would have to look beyond it says
so (`enough`), and the chain is run again on a wider one, in the end on the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp

NARROW, WIDE = 64, 512  # the windows; beyond them the whole vocabulary is sorted
_STRIDE = 32
_BLOCK = 256  # divides most vocabularies, which then need no padding


@flax.struct.dataclass
class Candidates:
    """Candidates of B slots.

    Attributes:
        logits: f32[B, C], descending.
        ids: int32[B, C].
        present: bool[B, C], which are candidates still. A candidate's logit may be -inf.
        known: int32[], how many of the most likely tokens the window has.
        beyond: bool[B], whether all tokens beyond the window are candidates too; their logits are at most the last known one.
        rest: f32[B], the log of the sum of their exponentials; -inf where there are none.
        size: int32[B], all candidates.
        before: f32[B, C], probabilities before adaptive_p changed them; of no account without it.
        enough: bool[B], false where a sampler would have had to look beyond the window: nothing here means anything then.
    """

    logits: jax.Array
    ids: jax.Array
    present: jax.Array
    known: jax.Array
    beyond: jax.Array
    rest: jax.Array
    size: jax.Array
    before: jax.Array
    enough: jax.Array

    @property
    def shown(self) -> jax.Array:
        """Logits, -inf for those that are no candidates."""
        return jnp.where(self.present, self.logits, -jnp.inf)

    @property
    def rank(self) -> jax.Array:
        """int32[B, C], how many candidates come before each."""
        return (running_sum(there := self.present.astype(jnp.float32)) - there).astype(jnp.int32)

    @property
    def edge(self) -> jax.Array:
        """f32[B], the last known logit."""
        return jax.lax.dynamic_index_in_dim(self.logits, self.known - 1, axis=1, keepdims=False)

    def total(self) -> jax.Array:
        """f32[B], the log of the sum of all candidates' exponentials."""
        within = jax.nn.logsumexp(self.shown, -1)
        return jnp.where(self.beyond, jnp.logaddexp(within, self.rest), within)

    def probabilities(self) -> jax.Array:
        """f32[B, C], among all candidates; 0 for those that are none."""
        return jnp.where(self.present, jnp.exp(self.logits - self.total()[:, None]), 0.0)

    def keep(self, kept: jax.Array, *, beyond: jax.Array, enough: jax.Array | bool = True) -> Candidates:
        """Those of the candidates that are `kept`; where `beyond` is false also none beyond the window."""
        present = self.present & kept
        outside = self.size - self.present.sum(-1, dtype=jnp.int32)
        still = self.beyond & beyond
        size = present.sum(-1, dtype=jnp.int32) + jnp.where(still, outside, 0)
        return replace(self, present=present, beyond=still, size=size, enough=self.enough & enough)


def running_sum(x: jax.Array) -> jax.Array:
    """Sums f32[B, C] up to and with each place, as products with triangles of ones: XLA's own running sum is a program ten times as large."""
    slots, size = x.shape
    rows = jnp.pad(x, ((0, 0), (0, -size % _STRIDE))).reshape(slots, -1, _STRIDE)
    within = rows @ jnp.triu(jnp.ones((_STRIDE, _STRIDE)))
    if rows.shape[1] > 1:
        totals = within[:, :, -1]
        within += (running_sum(totals) - totals)[:, :, None]
    return within.reshape(slots, -1)[:, :size]


def argmax(logits: jax.Array) -> jax.Array:
    """First index of the maximum, int32[B], in two levels: XLA's own argmax over a large vocabulary is ten times slower on CPU."""
    blocks = _blocks(logits)
    block = blocks.max(-1).argmax(-1)
    within = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0].argmax(-1)
    return (block * _BLOCK + within).astype(jnp.int32)


def _blocks(logits: jax.Array) -> jax.Array:
    slots, size = logits.shape
    return jnp.pad(logits, ((0, 0), (0, -size % _BLOCK)), constant_values=-jnp.inf).reshape(slots, -1, _BLOCK)


def top(logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The largest logits f32[B, count], descending, and their tokens int32[B, count]; of equal ones the first tokens.

    In two levels where that is worth it: the `count` largest are in the `count` blocks with the largest maxima.
    """
    slots, size = logits.shape
    if count * _BLOCK * 2 >= size:
        # Without the barrier XLA merges the cut with what follows and sorts the whole vocabulary instead: 21 ms instead of 0.2 for 128k tokens on CPU.
        return jax.lax.optimization_barrier(tuple(jax.lax.top_k(logits, count)))
    blocks = _blocks(logits)
    _, chosen = jax.lax.optimization_barrier(tuple(jax.lax.top_k(blocks.max(-1), count)))
    chosen = jnp.sort(chosen, -1)  # equal logits stay in the order of their tokens
    inside = jnp.take_along_axis(blocks, chosen[:, :, None], axis=1).reshape(slots, -1)
    values, places = jax.lax.optimization_barrier(tuple(jax.lax.top_k(inside, count)))
    return values, jnp.take_along_axis(chosen, places // _BLOCK, axis=1) * _BLOCK + places % _BLOCK


def first_candidates(logits: jax.Array, ids: jax.Array, count: jax.Array | int, size: int, rest: jax.Array) -> Candidates:
    """All tokens as candidates, from the top of their logits, of which the first `count` are known; `size` is the vocabulary's."""
    slots = logits.shape[0]
    more = jnp.broadcast_to(jnp.asarray(count < size), slots)
    whole = jnp.full(slots, size, jnp.int32)
    present = jnp.broadcast_to(jnp.arange(logits.shape[1])[None] < count, logits.shape)
    return Candidates(
        logits, ids, present, jnp.asarray(count, jnp.int32), more, jnp.where(more, rest, -jnp.inf), whole, jnp.zeros_like(logits), jnp.ones(slots, bool)
    )


def resorted(candidates: Candidates, change: Callable[[jax.Array, jax.Array], jax.Array]) -> Candidates:
    """Candidates with other logits: `change(logits, ids)` gives them. There must be none beyond the window."""
    logits = jnp.where(candidates.present, change(candidates.logits, candidates.ids), -jnp.inf)
    # Candidates come first among equal ones, so that those with a logit of -inf stay before those that are none.
    order = jnp.lexsort((~candidates.present, -logits), axis=-1)
    logits, ids, present = (jnp.take_along_axis(x, order, axis=1) for x in (logits, candidates.ids, candidates.present))
    return replace(candidates, logits=logits, ids=ids, present=present, enough=candidates.enough & ~candidates.beyond)
