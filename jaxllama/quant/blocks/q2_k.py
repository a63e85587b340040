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

from ..block import Array, BlockFormat, Group, Part, bits
from ..packing import as_f16
from ..search import IMPORTANCE_ATTEMPTS, affine, by_group, inverse, mean_square, positive, weight_of
from .k_scales import shared_scale
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
    if importance is None:
        scale, minimum = affine(groups, jnp.abs(groups), 3, ATTEMPTS, absolute=True)
        (d, scales), (dmin, minima) = shared_scale(scale[0], 15), shared_scale(minimum[0], 15)
    else:
        weight = by_group(weight_of(x, importance, mean_square(x)), 16)
        scale, minimum = affine(groups, weight, 3, IMPORTANCE_ATTEMPTS)
        (d, scales), (dmin, minima) = (positive(v[0], weight.sum(0), 15) for v in (scale, minimum))
    (d_bytes, d), (dmin_bytes, dmin) = as_f16(d), as_f16(dmin)
    codes = jnp.clip(jnp.round((groups + (dmin * minima)[None]) * inverse(d * scales)[None]), 0, 3)
    scale_bytes = (scales + 16 * minima).astype(jnp.uint8)
    return jnp.concatenate([scale_bytes, pack_pairs_of_bits(in_order(codes)), d_bytes, dmin_bytes])


FORMAT = BlockFormat(
    "Q2_K",
    (Part("scales", 0, "u4", 4), Part("qs", 16, "u4", 16), Part("d", 80, "f2"), Part("dmin", 82, "f2")),
    groups,
    ORDER,
    SIZES,
    quantize,
)
