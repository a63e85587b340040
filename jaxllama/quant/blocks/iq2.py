"""IQ2_XXS, IQ2_XS, IQ2_S: 256 weights, eight neighbouring ones of which are a point of a grid. x = d / 8 * (2 scale + 1) * magnitude * sign.

Magnitudes are 8, 25, 43. "Eight e" is weights 8 e .. 8 e + 7; every format starts with d, f16, in bytes 0..1.

IQ2_XXS, 66 bytes, grid of 256, a scale for 32 weights
byte   2..65  qs      for each 32 weights: four bytes, the points of its eights; then a word, with seven signs of eight i at bit 7 i and the scale at bit 28

IQ2_XS, 74 bytes, grid of 512, a scale for 16 weights
byte   2..65  qs      for each eight 16 bits: the lower nine the point, then seven signs
byte  66..73  scales  nibbles, in order

IQ2_S, 82 bytes, grid of 1024, a scale for 16 weights
byte   2..33  qs      lower eight bits of the point of each eight
byte  34..65  signs   eight signs of each eight
byte  66..73  qh      upper two bits of the point, in order
byte  74..81  scales  nibbles, in order

Source: ggml block_iq2_xxs, block_iq2_xs, block_iq2_s.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from einops import rearrange

from ..block import F16_MAX, Array, BlockFormat, Group, Part, signed_byte
from ..packing import as_f16, fields, to_bytes
from .signed_grid import (
    bytes_of,
    complete_signs,
    fields_of,
    grid_weight,
    join_word,
    magnitudes,
    nibbles_of_signs,
    pairs,
    quantize,
    split_word,
    take_words,
    with_signs,
    words_of,
)

LEVELS = (8, 25, 43)
POINTS = {name: magnitudes(name, LEVELS) for name in ("IQ2_XXS", "IQ2_XS", "IQ2_S")}
WORDS = {name: words_of(points) for name, points in POINTS.items()}
ORDER = "(r k) -> 1 r k"


def _scales(parts: Mapping[str, Array]) -> Array:
    """For each 16 weights, f32[..., 16, 16], of nibbles in order."""
    codes = fields_of(bytes_of(parts["scales"]), 4)
    return parts["d"].astype(jnp.float32)[..., None, :] * (codes.astype(jnp.float32) + 0.5) * 0.25


def _group(name: str, index: Array, signs: Array, scale: Array, eights: int) -> Group:
    """The group of points int32[..., 32, 16] and eight signs u32 each, `eights` of which share a scale."""
    words = with_signs(take_words(WORDS[name], index), nibbles_of_signs(signs))
    words = rearrange(words, "... (r e) c n -> ... r (e c) n", e=eights)
    return Group((words,), signed_byte, scale)


def groups_xxs(parts: Mapping[str, Array]) -> list[Group]:
    pairs_of_words = rearrange(parts["qs"], "... (r two) n -> ... r two n", two=2)
    signs, scale = split_word(pairs_of_words[..., 1, :])
    scale = parts["d"].astype(jnp.float32)[..., None, :] * scale * 0.25
    return [_group("IQ2_XXS", bytes_of(pairs_of_words[..., 0, :]), signs, scale, 4)]


def groups_xs(parts: Mapping[str, Array]) -> list[Group]:
    halves = jnp.stack([parts["qs"] & 0xFFFF, parts["qs"] >> 16], -2)
    halves = rearrange(halves, "... r two n -> ... (r two) n")
    return [_group("IQ2_XS", (halves & 511).astype(jnp.int32), complete_signs(halves >> 9), _scales(parts), 2)]


def groups_s(parts: Mapping[str, Array]) -> list[Group]:
    index = bytes_of(parts["qs"]) | fields_of(bytes_of(parts["qh"]), 2) << 8
    return [_group("IQ2_S", index, bytes_of(parts["signs"]).astype(jnp.uint32), _scales(parts), 2)]


def quantize_xxs(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    weight = grid_weight(x, importance, 1)
    d, scales, index, signs = quantize(x, weight, POINTS["IQ2_XXS"] / 8, 32, even=True)
    index = rearrange(index, "(r e) n -> r e n", e=4).astype(jnp.uint8)
    qs = jnp.concatenate([index, rearrange(to_bytes(join_word(signs, scales)[None]), "b r n -> r b n")], 1)
    return jnp.concatenate([as_f16(d)[0], rearrange(qs, "r b n -> (r b) n")])


def quantize_xs(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    weight = grid_weight(x, importance, 1)
    d, scales, index, signs = quantize(x, weight, POINTS["IQ2_XS"] / 8, 16, even=True)
    qs = to_bytes((index | (signs & 127) << 9).astype(jnp.uint16))
    return jnp.concatenate([as_f16(d)[0], qs, pairs(scales)])


def quantize_s(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    weight = grid_weight(x, importance, 2)
    d, scales, index, signs = quantize(x, weight, POINTS["IQ2_S"] / 8, 16, even=False)
    high = fields(rearrange(index >> 8, "(b f) n -> f b n", f=4), 2)
    return jnp.concatenate([as_f16(d)[0], index.astype(jnp.uint8), signs.astype(jnp.uint8), high, pairs(scales)])


_LARGEST = 15.5 / 4 * LEVELS[0] * F16_MAX  # the level that all weights of a point can have
_D, _QS, _SIXTEEN = Part("d", 0, "f2"), Part("qs", 2, "u4", 16), {"r": 16}
IQ2_XXS = BlockFormat("IQ2_XXS", (_D, _QS), groups_xxs, ORDER, {"r": 8}, quantize_xxs, largest=_LARGEST)
IQ2_XS = BlockFormat("IQ2_XS", (_D, _QS, Part("scales", 66, "u4", 2)), groups_xs, ORDER, _SIXTEEN, quantize_xs, largest=_LARGEST)
IQ2_S = BlockFormat(
    "IQ2_S",
    (_D, Part("qs", 2, "u4", 8), Part("signs", 34, "u4", 8), Part("qh", 66, "u4", 2), Part("scales", 74, "u4", 2)),
    groups_s,
    ORDER,
    _SIXTEEN,
    quantize_s,
    largest=_LARGEST,
)
