"""Q8_0: 32 weights in 34 bytes. x = d * q.

byte  0..1   d    f16, little endian
byte  2..33  qs   int8, in order

Source: ggml block_q8_0.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from ..block import Array, BlockFormat, Group, Part, signed_byte


def groups(parts: Mapping[str, Array]) -> list[Group]:
    return [Group((parts["qs"][..., None, :, :],), signed_byte, parts["d"][..., None, :].astype(jnp.float32))]


def quantize(x: np.ndarray) -> np.ndarray:
    """Blocks uint8[..., 34] of x f32[..., 32]: d = max |x| / 127, codes rounded half away from zero, as the reference does."""
    d = np.abs(x).max(-1, keepdims=True) / np.float32(127)
    with np.errstate(divide="ignore"):
        inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    scaled = x * inverse
    codes = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    return np.concatenate([d.astype("<f2").view(np.uint8), codes.view(np.uint8)], -1)


FORMAT = BlockFormat("Q8_0", (Part("d", 0, "f2"), Part("qs", 2, "u4", 8)), groups, "(g k) -> g 1 k", {"g": 1}, quantize)
