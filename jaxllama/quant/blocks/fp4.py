"""MXFP4 and NVFP4: four-bit floats (E2M1) with a scale that is itself a small float.

MXFP4, 32 weights in 17 bytes: x = 2^(e - 128) * VALUES[q]
byte  0      e    exponent (E8M0)
byte  1..16  qs   nibbles: the low nibble of qs[j] is weight j, the high nibble weight j + 16

NVFP4, 64 weights in 36 bytes, four sub-blocks of 16: x = scale / 2 * VALUES[q]
byte  0..3   d    scale of a sub-block: 4 bits of exponent (bias 7), 3 of mantissa; 0 and 127 mean zero
byte  4..35  qs   nibbles: in qs[8 s + j] of sub-block s the low nibble is weight j, the high nibble weight j + 8

VALUES are twice the numbers of E2M1; the scales have the half.

Source: ggml block_mxfp4, block_nvfp4; OCP Microscaling Formats 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ..block import Array, BlockFormat, Group, Part, bits, nibbles_of

VALUES = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


def groups_mx(parts: Mapping[str, Array]) -> list[Group]:
    e = parts["e"][..., None, :].astype(jnp.uint32)
    pattern = jnp.where(e < 2, jnp.uint32(0x200000) << e, (e - 1) << 23)  # of 2^(e - 128); below 2 it is subnormal
    return nibbles_of(VALUES, parts["qs"][..., None, :, :], jax.lax.bitcast_convert_type(pattern, jnp.float32))


def groups_nv(parts: Mapping[str, Array]) -> list[Group]:
    qs = parts["qs"]
    d = bits(parts["d"][..., None, :], jnp.arange(4)[:, None], 0, 255)
    exponent, mantissa = d >> 3 & 15, (d & 7).astype(jnp.float32)
    normal = (mantissa + 8) * jax.lax.bitcast_convert_type((exponent + 127 - 11) << 23, jnp.float32)  # (1 + m / 8) 2^(e - 7) / 2
    scale = jnp.where(d == 127, 0.0, jnp.where(exponent == 0, mantissa * 2.0**-10, normal))
    return nibbles_of(VALUES, qs.reshape(*qs.shape[:-2], 4, 2, qs.shape[-1]), scale)


MXFP4 = BlockFormat("MXFP4", (Part("e", 0, "u1"), Part("qs", 1, "u4", 4)), groups_mx, "(g k) -> g 1 k", {"g": 2})
NVFP4 = BlockFormat("NVFP4", (Part("d", 0, "u4"), Part("qs", 4, "u4", 8)), groups_nv, "(r g k) -> g r k", {"r": 4, "g": 2})
