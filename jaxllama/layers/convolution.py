"""Short convolutions over the last positions, each channel by itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def convolve(x: jax.Array, tail: jax.Array, weight: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """y[t] = sum over k of x[t - K + 1 + k] weight[k]: each position sees itself and the K - 1 before it.

    Args:
        x: f32[B, T, C].
        tail: f32[B, K - 1, C], what came before x.
        weight: f32[C, K].
        counts: int32[B], how many of x's positions count for the next tail.

    Returns:
        f32[B, T, C], and the next tail.
    """
    length, kernel = x.shape[1], weight.shape[1]
    both = jnp.concatenate([tail, x], 1)
    y = sum(both[:, k : k + length] * weight[None, None, :, k] for k in range(kernel))
    last = jax.vmap(lambda rows, count: jax.lax.dynamic_slice_in_dim(rows, count, kernel - 1))(both, counts)
    return jnp.asarray(y), last
