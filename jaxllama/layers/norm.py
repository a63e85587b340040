"""Normalisations."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rms_norm(x: jax.Array, weight: jax.Array, epsilon: float) -> jax.Array:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last axis, in float32 (Zhang and Sennrich, 2019)."""
    x = x.astype(jnp.float32)
    scaled = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + epsilon)
    return scaled * weight.reshape((1,) * (x.ndim - 1) + (-1,))
