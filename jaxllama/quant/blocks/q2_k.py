"""Q2_K: 256 weights in 84 bytes, sixteen sub-blocks of 16. x = d * scale * q - dmin * minimum.

byte   0..15  scales  low nibble: scale, high nibble: minimum of a sub-block, in order
byte  16..79  qs      two bits a weight, see sixteenths
byte  80..81  d       f16, scale of the scales
byte  82..83  dmin    f16, scale of the minima

Source: ggml block_q2_K.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import F16_MAX, Array, BlockFormat, Group, Part, bits
from ..search import by_group, mean_square, weight_of
from .k_scales import scales_with_minima
from .sixteenths import ORDER, SIZES, by_quarter, in_order, pack_pairs_of_bits, pairs_of_bits

ATTEMPTS = tuple(-0.5 + 0.1 * i for i in range(16))


def groups(parts: Mapping[str, Array]) -> list[Group]:
    words = (pairs_of_bits(parts["qs"]),)
    bytes_ = parts["scales"][..., None, :], jnp.arange(4)[:, None]

    def scaled(shift: int, by: str) -> Array:
        return by_quarter(bits(*bytes_, shift, 15).astype(jnp.float32) * parts[by].astype(jnp.float32)[..., None, None, :])

    scales, minima = scaled(0, "d"), scaled(4, "dmin")
    return [Group(words, lambda w, byte, shift=2 * g: bits(w, byte, shift, 3), scales[..., g, :, :], minima[..., g, :, :]) for g in range(4)]


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    groups = by_group(x, 16)
    weight = None if importance is None else by_group(weight_of(x, importance, mean_square(x)), 16)
    d_bytes, dmin_bytes, scales, minima, codes = scales_with_minima(groups, jnp.abs(groups), weight, limit=3, top=15, attempts=ATTEMPTS, absolute=True)
    scale_bytes = (scales + 16 * minima).astype(jnp.uint8)
    return jnp.concatenate([scale_bytes, pack_pairs_of_bits(in_order(codes)), d_bytes, dmin_bytes])


FORMAT = BlockFormat(
    "Q2_K",
    (Part("scales", 0, "u4", 4), Part("qs", 16, "u4", 16), Part("d", 80, "f2"), Part("dmin", 82, "f2")),
    groups,
    ORDER,
    SIZES,
    quantize,
    largest=15 * F16_MAX,
)
