"""Recurrences with a matrix as their state: one position after the other."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_EXACT = jax.lax.Precision.HIGHEST


def selective_scan(x: jax.Array, step: jax.Array, decay: jax.Array, inward: jax.Array, outward: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mamba-2's recurrence (Dao and Gu, 2024): state = exp(step decay) state + step x inward^T, y = state outward.

    Args:
        x: f32[B, T, H, P].
        step: f32[B, T, H], at least 0; where it is 0 a position leaves no trace.
        decay: f32[H], negative.
        inward, outward: f32[B, T, G, N]; neighbouring heads share a group.
        state: f32[B, H, P, N].

    Returns:
        y f32[B, T, H, P], and the state after the last position.
    """
    shared = x.shape[2] // inward.shape[2]
    inward, outward = (jnp.repeat(a, shared, axis=2) for a in (inward, outward))

    def one(state: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        x, step, inward, outward = now
        kept = jnp.exp(step * decay[None])[..., None, None] * state
        state = kept + (x * step[..., None])[..., None] * inward[:, :, None]
        return state, jnp.einsum("bhpn,bhn->bhp", state, outward, precision=_EXACT)

    state, y = jax.lax.scan(one, state, tuple(jnp.moveaxis(a, 1, 0) for a in (x, step, inward, outward)))
    return jnp.moveaxis(y, 0, 1), state


def delta_rule(q: jax.Array, k: jax.Array, v: jax.Array, decay: jax.Array, strength: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gated delta rule (Yang et al., 2024): the state fades, what it holds under k is replaced by v, and q reads it.

    Args:
        q, k: f32[B, T, H, K]; k of length one.
        v: f32[B, T, H, V].
        decay: f32[B, T, H], the logarithm of what is kept, at most 0.
        strength: f32[B, T, H], from 0 to 1. Where decay and strength are 0 a position leaves no trace.
        state: f32[B, H, K, V].

    Returns:
        f32[B, T, H, V], and the state after the last position.
    """

    def one(state: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q, k, v, decay, strength = now
        state = state * jnp.exp(decay)[..., None, None]
        held = jnp.einsum("bhkv,bhk->bhv", state, k, precision=_EXACT)
        state = state + k[..., None] * ((v - held) * strength[..., None])[:, :, None]
        return state, jnp.einsum("bhkv,bhk->bhv", state, q, precision=_EXACT)

    state, y = jax.lax.scan(one, state, tuple(jnp.moveaxis(a, 1, 0) for a in (q, k, v, decay, strength)))
    return jnp.moveaxis(y, 0, 1), state
