"""What samplers remember of a sequence: its tokens, how often each was there lately, where its end has been seen before. A pytree in the loop's carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from .sampling import MOST_TAIL, Sampling


@flax.struct.dataclass
class History:
    """The past of B slots, prompts included.

    Attributes:
        tokens: int32[B, H].
        length: int32[B], how many there are.
        counts: int32[B, V], how often each token is among the last `repeat_last_n`.
        matches: int32[B, H], how many tokens before and with each one are also the sequence's last; 0 for the last one itself. Kept where DRY is on.
        breaker: int32[B], where the last sequence breaker begins, and `after_breaker` where it ends; -1 and 0 where there is none.
        surprise: f32[B], mirostat's mu.
        chosen, weight: f32[B], adaptive_p's sums: of the probabilities of chosen tokens, and of their weights.
    """

    tokens: jax.Array
    length: jax.Array
    counts: jax.Array
    matches: jax.Array
    breaker: jax.Array
    after_breaker: jax.Array
    surprise: jax.Array
    chosen: jax.Array
    weight: jax.Array


def dry_on(sampling: Sampling) -> jax.Array:
    """bool[B], whether repetitions are looked for."""
    return (sampling.dry_multiplier != 0) & (sampling.dry_base >= 1) & (sampling.dry_penalty_last_n != 0)


def start_history(prompts: Sequence[Sequence[int]], sampling: Sampling, *, n_vocab: int, room: int) -> History:
    """The history of prompts.

    Args:
        room: tokens that a sequence may have.
    """
    slots = len(prompts)
    tokens, matches = np.zeros((slots, room), np.int32), np.zeros((slots, room), np.int32)
    counts = np.zeros((slots, n_vocab), np.int32)
    breaker, after = np.full(slots, -1, np.int32), np.zeros(slots, np.int32)
    last_n, on = np.asarray(sampling.repeat_last_n), np.asarray(dry_on(sampling))
    for slot, prompt in enumerate(prompts):
        ids = np.asarray(prompt, np.int32)
        tokens[slot, : len(ids)] = ids
        recent = ids if last_n[slot] < 0 else ids[max(len(ids) - last_n[slot], 0) :]
        np.add.at(counts[slot], recent, 1)
        if on[slot]:
            matches[slot, : len(ids)] = _matches(ids.tolist())
            arrays = (np.asarray(x)[slot] for x in (sampling.breakers, sampling.tails, sampling.tail_heads))
            breaker[slot], after[slot] = _last_breaker(ids, *arrays)
    decay = np.clip(np.asarray(sampling.adaptive_decay), 0.0, 0.99)
    return History(
        tokens=jnp.asarray(tokens),
        length=jnp.asarray([len(p) for p in prompts], jnp.int32),
        counts=jnp.asarray(counts),
        matches=jnp.asarray(matches),
        breaker=jnp.asarray(breaker),
        after_breaker=jnp.asarray(after),
        surprise=2 * sampling.mirostat_tau,
        chosen=jnp.asarray(np.asarray(sampling.adaptive_target) / (1 - decay)),
        weight=jnp.asarray(1 / (1 - decay)),
    )


def _matches(ids: list[int]) -> np.ndarray:
    """For each place how many tokens up to it equal the sequence's last ones: the Z function of the reversed sequence, in linear time."""
    back, n = ids[::-1], len(ids)
    z = [0] * n
    left = right = 0
    for k in range(1, n):
        found = min(right - k, z[k - left]) if k < right else 0
        while k + found < n and back[found] == back[k + found]:
            found += 1
        z[k] = found
        if k + found > right:
            left, right = k, k + found
    return np.asarray(z[::-1], np.int32)


def _last_breaker(ids: np.ndarray, single: np.ndarray, tails: np.ndarray, heads: np.ndarray) -> tuple[int, int]:
    """Where the last breaker of a sequence begins and ends; of several that begin together, the longest."""

    def has(bits: np.ndarray, token: int) -> bool:
        return token >> 5 < len(bits) and bool(bits[token >> 5] >> np.uint32(token & 31) & np.uint32(1))

    for at in range(len(ids) - 1, -1, -1):
        token = int(ids[at])
        found = 0 if has(single, token) else -1
        for tail, bits in zip(tails, heads, strict=True):
            length = int((tail >= 0).sum())
            if length > found and has(bits, token) and (ids[at + 1 : at + 1 + length].tolist() == tail[:length].tolist()):
                found = length
        if found >= 0:
            return at, at + 1 + found
    return -1, 0


def bit(bits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Bits [..., W] of tokens [...]; false beyond them."""
    word = jnp.minimum(tokens >> 5, bits.shape[-1] - 1)
    found = jnp.take_along_axis(bits, word[..., None], axis=-1)[..., 0] >> (tokens & 31).astype(jnp.uint32) & 1
    return (found > 0) & (tokens >> 5 < bits.shape[-1])


def remember(history: History, sampling: Sampling, tokens: jax.Array, active: jax.Array) -> History:
    """The history with one more token int32[B] in every active slot."""
    slots, room = history.tokens.shape
    row = jnp.arange(slots)
    length = history.length
    here = jnp.where(active, length, room)
    written = history.tokens.at[row, here].set(tokens, mode="drop")
    added = history.counts.at[row, jnp.where(active, tokens, history.counts.shape[1])].add(1, mode="drop")
    leaving = length - jnp.where(sampling.repeat_last_n < 0, room, sampling.repeat_last_n)
    gone = jnp.take_along_axis(written, jnp.maximum(leaving, 0)[:, None], axis=1)[:, 0]
    counts = added.at[row, jnp.where(active & (leaving >= 0), gone, history.counts.shape[1])].add(-1, mode="drop")

    def matched() -> tuple[jax.Array, jax.Array, jax.Array]:
        before = jnp.pad(history.matches[:, :-1], ((0, 0), (1, 0)))
        same = (written == tokens[:, None]) & (jnp.arange(room)[None] < length[:, None])
        matches = jnp.where(active[:, None], jnp.where(same, before + 1, 0), history.matches)
        breaker, after = history.breaker, history.after_breaker
        found = active & bit(sampling.breakers, tokens)
        breaker, after = jnp.where(found, length, breaker), jnp.where(found, length + 1, after)
        if sampling.tails.shape[1]:
            lengths = (sampling.tails >= 0).sum(-1)
            places = (length[:, None] - lengths)[..., None] + 1 + jnp.arange(MOST_TAIL)[None, None]
            read = jnp.take_along_axis(written[:, None], jnp.clip(places, 0, room - 1), axis=2)
            fits = ((read == sampling.tails) | (sampling.tails < 0)).all(-1)
            head = length[:, None] - lengths
            begins = bit(sampling.tail_heads, jnp.take_along_axis(written, jnp.maximum(head, 0), axis=1))
            complete = active[:, None] & fits & begins & (head >= 0) & (lengths > 0)
            first = jnp.where(complete, head, -1).max(-1)
            breaker, after = jnp.where(first >= breaker, first, breaker), jnp.where((first >= breaker) & (first >= 0), length + 1, after)
        return matches, breaker, after

    on = dry_on(sampling)
    matches, breaker, after = jax.lax.cond(on.any(), matched, lambda: (history.matches, history.breaker, history.after_breaker))
    return replace(history, tokens=written, length=length + active.astype(jnp.int32), counts=counts, matches=matches, breaker=breaker, after_breaker=after)
