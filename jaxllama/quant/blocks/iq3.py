"""IQ3_XXS and IQ3_S: 256 weights, four neighbouring ones of which are a point of a grid. x = d * (2 scale + 1) * magnitude * sign, a scale for 32 weights.

"Four f" is weights 4 f .. 4 f + 3; both formats start with d, f16, in bytes 0..1.

IQ3_XXS, 98 bytes, grid of 256; magnitudes are 1, 3, 5, 7, 9, 11, 13, 15.5
byte   2..65   qs      the point of each four
byte  66..97   signs   for each 32 weights a word: seven signs of eight i at bit 7 i, and the scale at bit 28

IQ3_S, 110 bytes, grid of 512; magnitudes are 1, 3, 5, 7, 9, 11, 13, 15
byte   2..65   qs      lower eight bits of the point of each four
byte  66..73   qh      bit f of the bytes: ninth bit of the point
byte  74..105  signs   eight signs of each eight weights
byte 106..109  scales  nibbles, in order

Source: ggml block_iq3_xxs, block_iq3_s.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from einops import rearrange

from ..block import F16_MAX, Array, BlockFormat, Group, Part, signed_byte
from ..packing import as_f16, bitmap, to_bytes
from .signed_grid import (
    bytes_of,
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

POINTS = {
    "IQ3_XXS": magnitudes("IQ3_XXS", (4, 12, 20, 28, 36, 44, 52, 62)),  # four times the magnitude
    "IQ3_S": magnitudes("IQ3_S", (1, 3, 5, 7, 9, 11, 13, 15)),
}
WORDS = {name: words_of(points) for name, points in POINTS.items()}


def _group(name: str, index: Array, signs: Array, scale: Array) -> Group:
    """The group of points int32[..., 64, 16] and eight signs u32[..., 32, 16] for two of them."""
    words = take_words(WORDS[name], index)[..., 0, :]
    signs = nibbles_of_signs(signs)
    words = with_signs(rearrange(words, "... (r c) n -> ... r c n", c=8), rearrange(signs, "... (r e) two n -> ... r (e two) n", e=4))
    return Group((words,), signed_byte, scale)


def groups_xxs(parts: Mapping[str, Array]) -> list[Group]:
    signs, scale = split_word(parts["signs"])
    return [_group("IQ3_XXS", bytes_of(parts["qs"]), signs, parts["d"].astype(jnp.float32)[..., None, :] * scale * 0.5)]


def groups_s(parts: Mapping[str, Array]) -> list[Group]:
    index = bytes_of(parts["qs"]) | fields_of(bytes_of(parts["qh"]), 1) << 8
    codes = fields_of(bytes_of(parts["scales"][..., None, :]), 4)
    scale = parts["d"].astype(jnp.float32)[..., None, :] * (2 * codes + 1).astype(jnp.float32)
    return [_group("IQ3_S", index, bytes_of(parts["signs"]).astype(jnp.uint32), scale)]


def quantize_xxs(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    weight = grid_weight(x, importance, 2)
    d, scales, index, signs = quantize(x, weight, POINTS["IQ3_XXS"] / 4, 32, even=True)
    return jnp.concatenate([as_f16(d)[0], index.astype(jnp.uint8), to_bytes(join_word(signs, scales))])


def quantize_s(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    weight = grid_weight(x, importance, 2)
    d, scales, index, signs = quantize(x, weight, POINTS["IQ3_S"], 32, even=False)
    return jnp.concatenate([as_f16(d)[0], index.astype(jnp.uint8), bitmap(index >> 8), signs.astype(jnp.uint8), pairs(scales)])


_LARGEST = 31 * F16_MAX  # with the smallest magnitude, which all weights of a point can have
_D, _QS = Part("d", 0, "f2"), Part("qs", 2, "u4", 16)
IQ3_XXS = BlockFormat("IQ3_XXS", (_D, _QS, Part("signs", 66, "u4", 8)), groups_xxs, "(r k) -> 1 r k", {"r": 8}, quantize_xxs, largest=_LARGEST)
IQ3_S = BlockFormat(
    "IQ3_S",
    (_D, _QS, Part("qh", 66, "u4", 2), Part("signs", 74, "u4", 8), Part("scales", 106, "u4")),
    groups_s,
    "(r k) -> 1 r k",
    {"r": 8},
    quantize_s,
    largest=_LARGEST,
)
