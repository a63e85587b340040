"""Q8_0: 32 weights in 34 bytes. x = d * q.

byte  0..1   d    f16, little endian
byte  2..33  qs   int8, in order

Source: ggml block_q8_0.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import F16_MAX, Array, BlockFormat, Group, Part, signed_byte
from ..packing import as_f16, to_bytes
from ..search import divide, inverse, round_away


def groups(parts: Mapping[str, Array]) -> list[Group]:
    return [Group((parts["qs"][..., None, :, :],), signed_byte, parts["d"][..., None, :].astype(jnp.float32))]


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    """The largest magnitude becomes 127; codes are rounded half away from zero."""
    d = divide(jnp.abs(x).max(0, keepdims=True), 127)
    return jnp.concatenate([as_f16(d)[0], to_bytes(round_away(x * inverse(d)).astype(jnp.int8))])


FORMAT = BlockFormat("Q8_0", (Part("d", 0, "f2"), Part("qs", 2, "u4", 8)), groups, "(g k) -> g 1 k", {"g": 1}, quantize, largest=127 * F16_MAX)
