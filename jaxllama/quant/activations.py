"""Activations as int8 with a scale for every 32, as llama.cpp's products take them (Q8_0 without the f16 rounding of the scale)."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp

from .block import Array

GROUP = 32


@flax.struct.dataclass
class Activations:
    """x ~ codes * scales.

    Attributes:
        codes: int32[M, columns / 32, 32], each in -127..127.
        scales: f32[M, columns / 32].
    """

    codes: Array
    scales: Array


def quantize_activations(x: Array) -> Activations:
    """Codes and scales of x f32[M, columns]; columns a multiple of 32."""
    blocks = x.reshape(x.shape[0], -1, GROUP)
    scales = jnp.max(jnp.abs(blocks), -1) / 127
    inverse = jnp.where(scales > 0, 1 / scales, 0.0)
    codes = jnp.round(blocks * inverse[..., None]).astype(jnp.int32)
    # Without the barrier XLA computes this again inside every product, for every row.
    return Activations(*jax.lax.optimization_barrier((codes, scales)))
