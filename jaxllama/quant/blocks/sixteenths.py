"""What Q2_K, Q3_K and Q6_K share: sixteen sub-blocks of 16 weights, each with a byte of scale.

A block has two halves h of four quarters g of two sub-blocks i of 16 weights. The scale of sub-block (h, g, i) is byte 8 h + 2 g + i; two bits of weight k of a
sub-block lie in byte 32 h + 16 i + k of their array, at bit 2 g.
"""

from __future__ import annotations

from einops import rearrange

from ..block import Array
from ..packing import fields

ORDER = "(h g i k) -> g (h i) k"
SIZES = {"h": 2, "g": 4, "i": 2}


def by_quarter(scales: Array) -> Array:
    """Scales [..., word, byte, 16] of sixteen bytes in order -> [..., quarter, (h i), 16]."""
    return rearrange(scales, "... (h v) (u i) n -> ... (v u) (h i) n", h=2, u=2)  # a word holds the scales of two quarters, two each


def pairs_of_bits(words: Array) -> Array:
    """The words of 64 bytes of two-bit fields, [..., 16, 16] -> [..., (h i), 4, 16]; quarter g is at bit 2 g of each byte."""
    return rearrange(words, "... (r c) n -> ... r c n", c=4)


def pack_pairs_of_bits(codes: Array) -> Array:
    """The 64 bytes of codes [256, N] below 4."""
    return rearrange(fields(rearrange(codes, "(h g l) n -> g h l n", h=2, g=4), 2), "h l n -> (h l) n")


def in_order(groups: Array) -> Array:
    """The inverse of `by_group`."""
    return rearrange(groups, "k s n -> (s k) n")
