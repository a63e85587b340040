"""Q5_K: 256 weights in 176 bytes, Q4_K with a fifth bit. x = d * scale * q - dmin * minimum.

byte   0..1    d       f16, scale of the scales
byte   2..3    dmin    f16, scale of the minima
byte   4..15   scales  eight 6-bit scales and minima, see k_scales
byte  16..47   qh      bit j of qh[i] is the fifth bit of weight i of sub-block j
byte  48..175  qs      nibbles: the low nibbles of qs[32 j + i] are sub-block 2 j, the high ones sub-block 2 j + 1

Source: ggml block_q5_K.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from ..block import F16_MAX, Array, BlockFormat, Group, Part, bits, shift_right
from ..packing import fields, nibbles_by_32
from .k_scales import quantize_256, scales_and_minima

ATTEMPTS = tuple(-0.5 + 0.1 * i for i in range(16))


def groups(parts: Mapping[str, Array]) -> list[Group]:
    qs, qh = parts["qs"], parts["qh"]
    low = qs.reshape(*qs.shape[:-2], 4, 8, qs.shape[-1])
    scales, minima = scales_and_minima(parts["scales"])
    scales = scales * parts["d"][..., None, :].astype(jnp.float32)
    minima = minima * parts["dmin"][..., None, :].astype(jnp.float32)
    found = []
    for half in (0, 1):
        fifth = shift_right(qh[..., None, :, :], jnp.arange(half, 8, 2)[:, None, None])
        found.append(
            Group(
                (low, fifth),
                lambda w, h, byte, shift=4 * half: bits(w, byte, shift, 15) | (bits(h, byte, 0, 1) << 4),
                scales[..., half::2, :],
                minima[..., half::2, :],
            )
        )
    return found


def quantize(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    head, codes = quantize_256(x, importance, 31, ATTEMPTS)
    codes = codes.astype(jnp.int32)
    fifth = fields((codes >> 4).reshape(8, 32, -1), 1)
    return jnp.concatenate([head, fifth, nibbles_by_32(codes & 15)])


FORMAT = BlockFormat(
    "Q5_K",
    (Part("d", 0, "f2"), Part("dmin", 2, "f2"), Part("scales", 4, "u4", 3), Part("qh", 16, "u4", 8), Part("qs", 48, "u4", 32)),
    groups,
    "(r g k) -> g r k",
    {"r": 4, "g": 2},
    quantize,
    largest=63 * F16_MAX,
)
