"""The twelve bytes that hold eight 6-bit scales and eight 6-bit minima in Q4_K and Q5_K.

byte j    (0..3)   low 6 bits: scale j            high 2 bits: upper bits of scale j + 4
byte j+4  (0..3)   low 6 bits: minimum j          high 2 bits: upper bits of minimum j + 4
byte j+8  (0..3)   low nibble: scale j + 4        high nibble: minimum j + 4

Source: ggml get_scale_min_k4.
"""

from __future__ import annotations

import jax.numpy as jnp

from ..block import Array, shift_right


def scales_and_minima(words: Array) -> tuple[Array, Array]:
    """Both as f32[..., 8, 16] from the three words u32[..., 3, 16]."""
    bytes_ = jnp.arange(0, 32, 8)[:, None]
    first, second, third = (shift_right(words[..., i : i + 1, :], bytes_) for i in range(3))
    six, four, two = jnp.uint32(63), jnp.uint32(15), jnp.uint32(48)
    scales = [first & six, (third & four) | ((first >> 2) & two)]
    minima = [second & six, ((third >> 4) & four) | ((second >> 2) & two)]
    return jnp.concatenate(scales, -2).astype(jnp.float32), jnp.concatenate(minima, -2).astype(jnp.float32)
