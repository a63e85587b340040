"""What stands between the two halves of a feed-forward."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

Activation = Literal["silu", "gelu", "swiglu_oai"]


def activate(name: Activation, gate: jax.Array, up: jax.Array) -> jax.Array:
    """The activated gate times up, all f32[R, F].

    "gelu" is the tanh form, as ggml's. "swiglu_oai" is gpt-oss's: both clamped, a sharper sigmoid, and one added to up; source: ggml's swiglu_oai.
    """
    if name == "silu":
        return jax.nn.silu(gate) * up
    if name == "gelu":
        return jax.nn.gelu(gate, approximate=True) * up
    sharpness, limit = 1.702, 7.0
    gate = jnp.minimum(gate, limit)
    return gate * jax.nn.sigmoid(sharpness * gate) * (jnp.clip(up, -limit, limit) + 1)
