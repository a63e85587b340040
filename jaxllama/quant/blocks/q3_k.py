"""Q3_K: 256 weights in 110 bytes, sixteen sub-blocks of 16. x = d * (scale - 32) * (q - 4).

byte   0..31   hmask   third bit of q: bit 4 h + g of hmask[16 i + k] belongs to weight k of sub-block (h, g, i)
byte  32..95   qs      two bits a weight, see sixteenths
byte  96..107  scales  6 bits a sub-block: sub-block s has its low nibble in byte s % 8 (the high nibble of that byte for s > 7), and its high two bits in
                       byte 8 + s % 4, at bit 2 (s / 4)
byte 108..109  d       f16

Source: ggml block_q3_K.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from einops import rearrange

from ..block import F16_MAX, Array, BlockFormat, Group, Part, bits, shift_right
from ..packing import as_f16, fields, nibbles
from ..search import by_group, descend, furthest, inverse, mean_square, symmetric, weight_of
from .sixteenths import ORDER, SIZES, by_quarter, in_order, pack_pairs_of_bits, pairs_of_bits


def groups(parts: Mapping[str, Array]) -> list[Group]:
    low = pairs_of_bits(parts["qs"])
    mask = rearrange(parts["hmask"], "... (i c) n -> ... i c n", i=2)
    mask = jnp.stack([mask, mask >> 4], -4)  # [..., h, i, c, n]: bit g of each byte is the weight's
    mask = rearrange(mask, "... h i c n -> ... (h i) c n")
    w = parts["scales"]
    nibbles = jnp.concatenate([w[..., :2, :], w[..., :2, :] >> 4], -2) & jnp.uint32(0x0F0F0F0F)
    tops = (shift_right(w[..., 2:, :], jnp.arange(0, 8, 2)[:, None]) & jnp.uint32(0x03030303)) << 4
    scales = bits((nibbles | tops)[..., None, :], jnp.arange(4)[:, None], 0, 63) - 32
    scales = by_quarter(scales.astype(jnp.float32) * parts["d"].astype(jnp.float32)[..., None, None, :])
    return [Group((low, mask), lambda w, h, byte, g=g: (bits(w, byte, 2 * g, 3) | (bits(h, byte, g, 1) << 2)) - 4, scales[..., g, :, :]) for g in range(4)]


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    groups, weight = by_group(x, 16), by_group(weight_of(x, importance, 2 * mean_square(x)), 16)
    if importance is None:
        scale, _ = descend(groups, weight, jnp.clip(jnp.round(-4 * inverse(furthest(groups)) * groups), -4, 3), -4, 3)
        d = furthest(scale[0]) / -32
    else:
        scale = symmetric(groups, weight, 4)
        d = symmetric(scale[0], weight.sum(0), 32)
    d_bytes, d = as_f16(d)
    scales = jnp.clip(jnp.round(scale[0] * inverse(d)), -32, 31)
    codes = in_order(jnp.clip(jnp.round(groups * inverse(d * scales)[None]), -4, 3) + 4).astype(jnp.int32)
    scales = scales.astype(jnp.int32) + 32
    tops = fields(rearrange(scales >> 4, "(m j) n -> m j n", j=4), 2)
    hmask = fields(rearrange(codes >> 2, "(g l) n -> g l n", l=32), 1)
    return jnp.concatenate([hmask, pack_pairs_of_bits(codes & 3), nibbles(scales & 15), tops, d_bytes])


FORMAT = BlockFormat(
    "Q3_K",
    (Part("hmask", 0, "u4", 8), Part("qs", 32, "u4", 16), Part("scales", 96, "u4", 3), Part("d", 108, "f2")),
    groups,
    ORDER,
    SIZES,
    quantize,
    largest=4 * 32 * F16_MAX,
)
