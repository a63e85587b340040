"""Choosing the next token on the device: top-k, top-p, min-p and temperature, in llama.cpp's order, each slot with its own parameters.

A token depends on the logits, the parameters, the seed and the position alone: neither on the other slots nor on how the loop is cut into dispatches.
Parameters are arrays, so no value of theirs recompiles anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.kernels.assemble import kernels_run

from . import logits_kernel

WINDOW = 256  # top-k up to this size never looks at the rest of the vocabulary
_BLOCK = 256  # divides most vocabularies, which then need no padding


@flax.struct.dataclass
class Sampling:
    """Sampling parameters of B slots; a pytree of arrays [B].

    Attributes:
        temperature: 0 or less takes the most likely token.
        top_k: keep the k most likely; 0 or less keeps all.
        top_p: keep the fewest most likely tokens whose probabilities sum to at least this; 1 keeps all.
        min_p: keep tokens at least this fraction as likely as the most likely one; 0 keeps all.
        seed: of the random stream, uint32.
        ignore_end: never choose a token that ends the generation.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    min_p: jax.Array
    seed: jax.Array
    ignore_end: jax.Array


def make_sampling(
    slots: int = 1,
    *,
    temperature: float | Sequence[float] = 0.8,
    top_k: int | Sequence[int] = 40,
    top_p: float | Sequence[float] = 0.95,
    min_p: float | Sequence[float] = 0.05,
    seed: int | Sequence[int] = 0,
    ignore_end: bool | Sequence[bool] = False,
) -> Sampling:
    """Parameters for `slots` sequences, each value one for all or a sequence of one for each; the defaults are llama.cpp's."""

    def spread(name: str, value: object, dtype: type) -> jax.Array:
        array = np.asarray(value)
        if array.ndim > 1 or (array.ndim == 1 and array.shape[0] != slots):
            raise ValueError(f"{name} has shape {array.shape}, expected one value or {slots}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, not {value}")
        return jnp.asarray(np.broadcast_to(array, slots).astype(dtype))

    return Sampling(
        temperature=spread("temperature", temperature, np.float32),
        top_k=spread("top_k", top_k, np.int32),
        top_p=spread("top_p", top_p, np.float32),
        min_p=spread("min_p", min_p, np.float32),
        seed=spread("seed", np.asarray(seed, np.int64) % 2**32, np.uint32),
        ignore_end=spread("ignore_end", ignore_end, np.bool_),
    )


def argmax(logits: jax.Array) -> jax.Array:
    """First index of the maximum, int32[B], in two levels: XLA's own argmax over a large vocabulary is ten times slower on CPU."""
    slots, size = logits.shape
    blocks = jnp.pad(logits, ((0, 0), (0, -size % _BLOCK)), constant_values=-jnp.inf).reshape(slots, -1, _BLOCK)
    block = blocks.max(-1).argmax(-1)
    within = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0].argmax(-1)
    return (block * _BLOCK + within).astype(jnp.int32)


def _choose(logits: jax.Array, ids: jax.Array, sampling: Sampling, uniform: jax.Array) -> jax.Array:
    """int32[B] from candidates sorted by logit, descending: logits f32[B, C] and their ids int32[B, C]."""
    size = logits.shape[1]
    rank = jnp.arange(size)[None]
    top_k = jnp.where(sampling.top_k > 0, sampling.top_k, size)[:, None]
    kept = rank < top_k
    masked = jnp.where(kept, logits, -jnp.inf)
    probabilities = jax.nn.softmax(masked, -1)
    before = jnp.cumsum(probabilities, -1) - probabilities
    kept &= (before < sampling.top_p[:, None]) | (rank == 0)
    kept &= (logits >= logits[:, :1] + jnp.log(jnp.maximum(sampling.min_p, 0.0))[:, None]) | (rank == 0)
    temperature = jnp.maximum(sampling.temperature, 1e-6)[:, None]
    weights = jnp.where(kept, jnp.exp((logits - logits[:, :1]) / temperature), 0.0)
    cumulative = jnp.cumsum(weights, -1)
    place = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1)
    last = jnp.where(weights > 0, rank, 0).max(-1)
    place = jnp.where(sampling.temperature > 0, jnp.minimum(place, last), 0)
    return jnp.take_along_axis(ids, place[:, None], axis=1)[:, 0]


def sample(logits: jax.Array, sampling: Sampling, positions: jax.Array, end: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The next token of every slot.

    Args:
        logits: f32[B, V].
        sampling: parameters of the B slots.
        positions: int32[B], the position that the token will have; picks its number from the random stream.
        end: bool[V], the tokens that end a generation.

    Returns:
        Tokens int32[B], and their log-probabilities f32[B] under the whole distribution, before any cut.
    """
    size = logits.shape[1]

    def allowed() -> jax.Array:
        return jnp.where(sampling.ignore_end[:, None] & end[None], -jnp.inf, logits)

    if kernels_run():
        best, total = logits_kernel.best_and_total(logits, end, sampling.ignore_end)
    else:
        best, total = None, jax.nn.logsumexp(logits, -1)

    def draw(seed: jax.Array, position: jax.Array) -> jax.Array:
        return jax.random.uniform(jax.random.fold_in(jax.random.key(seed), position))

    def from_top(count: int) -> jax.Array:
        # Without the barrier XLA merges the cut with what follows and sorts the whole vocabulary instead: 21 ms instead of 0.2 for 128k tokens on CPU.
        values, ids = jax.lax.optimization_barrier(tuple(jax.lax.top_k(allowed(), count)))
        return _choose(values, ids, sampling, jax.vmap(draw)(sampling.seed, positions))

    greedy = sampling.temperature <= 0
    narrow = greedy | ((sampling.top_k > 0) & (sampling.top_k <= min(WINDOW, size)))
    way = jnp.where(greedy.all(), 0, jnp.where(narrow.all(), 1, 2))
    tokens = jax.lax.switch(way, [lambda: argmax(allowed()) if best is None else best, lambda: from_top(min(WINDOW, size)), lambda: from_top(size)])
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=1)[:, 0]
    return tokens, chosen - total
