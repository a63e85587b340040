"""Attention over the key/value cache, visiting only the blocks that are in use."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax

from . import attention_kernel

BLOCK = 128  # cache positions that are attended to at a time
FULL = 2**30  # a window wider than any context: no window


def update_cache(cache: jax.Array, new: jax.Array, layer: jax.Array, positions: jax.Array, fits: jax.Array | None = None) -> jax.Array:
    """Write new[B, T, K, H] into cache[L, B, K, S, H] at each slot's position.

    Args:
        fits: bool[B], the slots that are written. Without it all are, and the caller guarantees that a write beyond S, which XLA moves back until it fits,
            meets no entry that counts.
    """
    rows = rearrange(new, "b t k h -> b 1 1 k t h").astype(cache.dtype)
    zero = jnp.int32(0)

    def write(b: jax.Array, cache: jax.Array) -> jax.Array:
        start = (layer, b, zero, positions[b], zero)
        row = rows[b] if fits is None else jnp.where(fits[b], rows[b], lax.dynamic_slice(cache, start, rows.shape[1:]))
        return lax.dynamic_update_slice(cache, row, start)

    if cache.shape[1] == 1:
        return write(zero, cache)
    return lax.fori_loop(zero, jnp.int32(cache.shape[1]), write, cache)


def attend(
    q: jax.Array,
    keys: jax.Array,
    values: jax.Array | None,
    layer: jax.Array,
    positions: jax.Array,
    *,
    window: jax.Array,
    scale: float,
    softcap: float = 0.0,
    sinks: jax.Array | None = None,
    value_size: int | None = None,
) -> jax.Array:
    """Causal attention of T new positions to everything before them, in float32.

    Softmax is accumulated block by block (Milakov and Gimelshein, 2018), from the first block that a slot's window reaches to the last that is filled: the time
    follows the tokens in the cache, not its size. A kernel does it where there is one, `attend_plain` elsewhere.

    Args:
        q: f32[B, T, N, H], rotated.
        keys: cache [L, B, K, S, H], the new positions already written.
        values: cache [L, B, K, S, H of the values]; None where values are the first `value_size` numbers of the keys.
        layer: which layer of the caches, traced.
        positions: int32[B], position of the first query of each slot.
        window: a query sees this many positions, its own included; traced, `FULL` for all.
        scale: of the scores.
        softcap: when not 0, scores s become softcap * tanh(s / softcap).
        sinks: f32[N], a score for each head that takes part in its softmax and has no value.

    Returns:
        f32[B, T, N, H of the values].
    """
    if values is not None and keys.shape == values.shape and attention_kernel.available(q.shape[-1], keys.dtype):
        return attention_kernel.attend(q, keys, values, layer, positions, window=window, scale=scale, softcap=softcap, sinks=sinks)
    return attend_plain(q, keys, values, layer, positions, window=window, scale=scale, softcap=softcap, sinks=sinks, value_size=value_size)


def attend_plain(
    q: jax.Array,
    keys: jax.Array,
    values: jax.Array | None,
    layer: jax.Array,
    positions: jax.Array,
    *,
    window: jax.Array,
    scale: float,
    softcap: float = 0.0,
    sinks: jax.Array | None = None,
    value_size: int | None = None,
) -> jax.Array:
    """`attend` in plain jnp."""
    slots, length, _, _ = q.shape
    kv_heads, capacity = keys.shape[2:4]
    rows = rearrange(q, "b t (k g) h -> b k (g t) h", k=kv_heads)
    groups = rows.shape[2] // length
    at = positions[:, None] + jnp.arange(length)[None]  # [B, T]
    at = jnp.tile(at, (1, groups))[:, None, :, None]  # [B, 1, G T, 1]

    def block(i: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        best, total, mixed = carry
        start = (layer, 0, 0, i * BLOCK, 0)
        size = (1, slots, kv_heads, BLOCK)
        k = lax.dynamic_slice(keys, start, (*size, keys.shape[-1]))[0].astype(jnp.float32)
        v = k[..., :value_size] if values is None else lax.dynamic_slice(values, start, (*size, values.shape[-1]))[0].astype(jnp.float32)
        scores = jnp.einsum("bkqh,bksh->bkqs", rows, k, precision=lax.Precision.HIGHEST) * scale
        if softcap:
            scores = softcap * jnp.tanh(scores / softcap)
        key_at = (i * BLOCK + jnp.arange(BLOCK))[None, None, None]
        visible = (key_at <= at) & (key_at > at - window)
        scores = jnp.where(visible, scores, attention_kernel.MASKED)
        peak = jnp.maximum(best, scores.max(-1))
        weights = jnp.where(visible, jnp.exp(scores - peak[..., None]), 0.0)
        fade = jnp.exp(best - peak)
        return peak, total * fade + weights.sum(-1), mixed * fade[..., None] + jnp.einsum("bkqs,bksh->bkqh", weights, v, precision=lax.Precision.HIGHEST)

    first = jnp.maximum(positions.min() - window + 1, 0) // BLOCK
    last = jnp.minimum((positions.max() + length - 1) // BLOCK + 1, capacity // BLOCK)
    own = attention_kernel.sinks_or_none(sinks, q.shape[2])
    best = jnp.broadcast_to(jnp.repeat(rearrange(own, "(k g) -> k g", k=kv_heads), length, 1), rows.shape[:3])
    start = best, jnp.ones(rows.shape[:3], jnp.float32), jnp.zeros((*rows.shape[:3], value_size if values is None else values.shape[-1]), jnp.float32)
    _, total, mixed = lax.fori_loop(first, last, block, start)
    return rearrange(mixed / total[..., None], "b k (g t) h -> b t (k g) h", g=groups)
