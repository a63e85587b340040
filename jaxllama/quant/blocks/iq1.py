"""IQ1_S and IQ1_M: 256 weights, eight neighbouring ones of which are a point of a grid of 2048. x = d * (2 scale + 1) * (digit + shift).

Digits are -1, 0, 1; shifts are 1/8, or -1/8 where a bit is set. "Eight e" is weights 8 e .. 8 e + 7.

IQ1_S, 50 bytes, a scale and a shift for 32 weights
byte   0..1   d    f16
byte   2..33  qs   lower eight bits of the point of each eight
byte  34..49  qh   16 bits for each 32 weights: upper three bits of the points of its eights at bits 0, 3, 6, 9; scale at bit 12; shift at bit 15

IQ1_M, 56 bytes, a scale for 16 weights and a shift for eight
byte   0..31  qs      lower eight bits of the point of each eight
byte  32..47  qh      nibbles, in order: upper three bits of the point; shift
byte  48..55  scales  four times 16 bits: four scales of three bits each, and four bits of d, an f16, its lowest ones first

Source: ggml block_iq1_s, block_iq1_m.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from ..block import F16_MAX, Array, BlockFormat, Group, Part, lift, shift_right, signed_byte
from ..grid_search import fit
from ..packing import as_f16, to_bytes
from .grids import grid
from .signed_grid import bytes_of, fields_of, grid_weight, pairs, take_words, words_of

SHIFT = 0.125
POINTS = grid("IQ1") - 1
WORDS = words_of(POINTS)


def _halves(words: Array) -> Array:
    """The 16-bit numbers in order, u32[..., 2 * count, 16]."""
    found = shift_right(words[..., None, :], jnp.asarray([0, 16])[:, None]) & jnp.uint32(0xFFFF)
    return rearrange(found, "... c two n -> ... (c two) n")


def _shift(bit: Array) -> Array:
    """What is taken away from a digit."""
    return jnp.where(bit == 0, -SHIFT, SHIFT)


def groups_s(parts: Mapping[str, Array]) -> list[Group]:
    qh = _halves(parts["qh"])
    high = shift_right(qh[..., None, :], jnp.asarray([0, 3, 6, 9])[:, None]) & jnp.uint32(7)
    index = bytes_of(parts["qs"]) | rearrange(high, "... r e n -> ... (r e) n").astype(jnp.int32) << 8
    words = rearrange(take_words(WORDS, index), "... (r e) c n -> ... r (e c) n", e=4)
    scale = parts["d"].astype(jnp.float32)[..., None, :] * (2 * (qh >> 12 & 7) + 1).astype(jnp.float32)
    return [Group((words,), signed_byte, scale, scale * _shift(qh >> 15))]


def groups_m(parts: Mapping[str, Array]) -> list[Group]:
    nibbles = fields_of(bytes_of(parts["qh"]), 4)
    words = take_words(WORDS, bytes_of(parts["qs"]) | (nibbles & 7) << 8)
    packed = _halves(parts["scales"])
    pattern = (packed >> 12 << lift(jnp.arange(0, 16, 4, dtype=jnp.uint32)[:, None], packed)).sum(-2, dtype=jnp.uint32)
    d = jax.lax.bitcast_convert_type(pattern.astype(jnp.uint16), jnp.float16).astype(jnp.float32)
    codes = shift_right(packed[..., None, :], jnp.arange(0, 12, 3)[:, None]) & jnp.uint32(7)
    codes = rearrange(codes, "... h s n -> ... (h s) n")
    scale = jnp.repeat(d[..., None, :] * (2 * codes + 1).astype(jnp.float32), 2, axis=-2)  # one for each eight
    return [Group((words,), signed_byte, scale, scale * _shift(nibbles >> 3))]


def quantize_s(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    groups, weight = (rearrange(v, "(s g p) n -> g p s n", s=8, p=8) for v in (x, grid_weight(x, importance, 2)))
    d, codes, index, minus = fit(groups, weight, [POINTS + SHIFT, POINTS - SHIFT], 8)
    index = rearrange(index, "g s n -> s g n")
    qh = (index >> 8 << jnp.asarray([0, 3, 6, 9])[None, :, None]).sum(1) | codes << 12 | minus << 15
    return jnp.concatenate([as_f16(d)[0], rearrange(index, "s g n -> (s g) n").astype(jnp.uint8), to_bytes(qh.astype(jnp.uint16))])


def quantize_m(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    groups, weight = (rearrange(v, "(s g p) n -> g p s n", s=16, p=8) for v in (x, grid_weight(x, importance, 2)))
    d, codes, index, _ = fit(groups, weight, [np.concatenate([POINTS + SHIFT, POINTS - SHIFT])], 8)
    index = rearrange(index, "g s n -> (s g) n")
    point, minus = index & len(POINTS) - 1, index >> 11
    d_bits = jax.lax.bitcast_convert_type(d.astype(jnp.float16), jnp.uint16).astype(jnp.int32)
    packed = (rearrange(codes, "(h s) n -> h s n", s=4) << jnp.arange(0, 12, 3)[None, :, None]).sum(1)
    packed = packed | (d_bits >> jnp.arange(0, 16, 4)[:, None] & 15) << 12
    return jnp.concatenate([point.astype(jnp.uint8), pairs(point >> 8 | minus << 3), to_bytes(packed.astype(jnp.uint16))])


IQ1_S = BlockFormat(
    "IQ1_S",
    (Part("d", 0, "f2"), Part("qs", 2, "u4", 8), Part("qh", 34, "u4", 4)),
    groups_s,
    "(r k) -> 1 r k",
    {"r": 8},
    quantize_s,
    largest=15 * (1 - SHIFT) * F16_MAX,
)
IQ1_M = BlockFormat(
    "IQ1_M",
    (Part("qs", 0, "u4", 8), Part("qh", 32, "u4", 4), Part("scales", 48, "u4", 2)),
    groups_m,
    "(r k) -> 1 r k",
    {"r": 32},
    quantize_m,
    largest=15 * (1 - SHIFT) * F16_MAX,
)
