"""Q6_K: 256 weights in 210 bytes, sixteen sub-blocks of 16. x = d * scale * (q - 32).

byte    0..127  ql      low four bits: half h (128 weights) has ql[64 h + i], i in 0..63; the low nibbles are weights i, the high ones weights i + 64
byte  128..191  qh      high two bits: bits 2 q and 2 q + 1 of qh[32 h + i] belong to weight 32 q + i of half h, i in 0..31
byte  192..207  scales  int8, one for each 16 weights, in order
byte  208..209  d       f16

Source: ggml block_q6_K.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from einops import rearrange

from ..block import F16_MAX, Array, BlockFormat, Group, Part, bits, signed_byte
from ..packing import as_f16, fields, to_bytes
from ..search import by_group, furthest, inverse, symmetric
from .sixteenths import ORDER, SIZES, by_quarter, in_order, pack_pairs_of_bits, pairs_of_bits


def groups(parts: Mapping[str, Array]) -> list[Group]:
    ql = rearrange(parts["ql"], "... (h u i c) n -> ... h u i c n", h=2, u=2, i=2)  # u: which 32 of the 64 bytes of a half
    qh = pairs_of_bits(parts["qh"])
    scales = signed_byte(parts["scales"][..., None, :], jnp.arange(4)[:, None]).astype(jnp.float32)
    scales = by_quarter(scales * parts["d"].astype(jnp.float32)[..., None, None, :])
    found = []
    for quarter in range(4):
        low = rearrange(ql[..., quarter % 2, :, :, :], "... h i c n -> ... (h i) c n")
        found.append(
            Group(
                (low, qh),
                lambda w, h, byte, q=quarter: (bits(w, byte, 4 * (q // 2), 15) | (bits(h, byte, 2 * q, 3) << 4)) - 32,
                scales[..., quarter, :, :],
            )
        )
    return found


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    groups = by_group(x, 16)
    scale = symmetric(groups, groups * groups if importance is None else by_group(importance, 16), 32)[0]
    largest = furthest(scale)
    d_bytes, d = as_f16(largest / -128)
    scales = jnp.clip(jnp.round(-128 * inverse(largest) * scale), -128, 127)
    codes = in_order(jnp.clip(jnp.round(groups * inverse(d * scales)[None]), -32, 31) + 32).astype(jnp.int32)
    low = fields(rearrange(codes & 15, "(h g l) n -> g h l n", h=2, g=2), 4)
    return jnp.concatenate([rearrange(low, "h l n -> (h l) n"), pack_pairs_of_bits(codes >> 4), to_bytes(scales.astype(jnp.int8)), d_bytes])


FORMAT = BlockFormat(
    "Q6_K",
    (Part("ql", 0, "u4", 32), Part("qh", 128, "u4", 16), Part("scales", 192, "u4", 4), Part("d", 208, "f2")),
    groups,
    ORDER,
    SIZES,
    quantize,
    largest=32 * 128 * F16_MAX,
)
