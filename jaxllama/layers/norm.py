"""Normalisations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Norm:
    """How a model normalises.

    Attributes:
        kind: "rms" divides by the root of the mean square (Zhang and Sennrich, 2019), "layer" subtracts the mean first (Ba et al., 2016).
        epsilon: added to the mean square.
    """

    kind: Literal["rms", "layer"]
    epsilon: float


def normalize(x: jax.Array, norm: Norm, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """x f32[..., D] normalised over its last axis, times weight f32[D], plus bias f32[D]; in float32."""
    x = x.astype(jnp.float32)
    if norm.kind == "layer":
        x = x - jnp.mean(x, -1, keepdims=True)
    scaled = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + norm.epsilon)
    axes = (1,) * (x.ndim - 1)
    scaled = scaled * weight.reshape(*axes, -1)
    return scaled if bias is None else scaled + bias.reshape(*axes, -1)
