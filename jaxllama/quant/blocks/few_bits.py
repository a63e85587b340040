"""Formats of one or two bits a weight with one scale a block: Q1_0, Q2_0, TQ1_0, TQ2_0.

Q1_0, 128 weights in 18 bytes: x = d or -d          Q2_0, 64 weights in 18 bytes: x = d * (q - 1)
byte  0..1   d    f16                               byte  0..1   d    f16
byte  2..17  qs   bit j of the bytes: weight j      byte  2..17  qs   bits 2 j and 2 j + 1 of the bytes: weight j

TQ2_0, 256 weights in 66 bytes: x = d * (q - 1)
byte  0..63  qs   bits 2 l and 2 l + 1 of qs[32 h + m] are weight 128 h + 32 l + m
byte 64..65  d    f16

TQ1_0, 256 weights in 54 bytes: x = d * (q - 1), q a digit to base 3: digit n of byte y is (3 * (y * 3^n mod 256)) / 256
byte  0..47  qs   digit n of qs[m] is weight 32 n + m for m < 32, and weight 160 + 16 n + m - 32 for the others; n from 0 to 4
byte 48..51  qh   digit n of qh[m] is weight 240 + 4 n + m; n from 0 to 3
byte 52..53  d    f16

Source: ggml block_q1_0, block_q2_0, block_tq1_0, block_tq2_0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from einops import rearrange

from ..block import Array, BlockFormat, Group, Part, bits, shift_right
from ..packing import as_f16, bitmap, fields
from ..search import inverse, round_away, total


def _dense_fields(width: int, offset: int, factor: int) -> Callable[[Mapping[str, Array]], list[Group]]:
    """Groups of 32 weights of `width` bits that follow each other: x = d * factor * (q - offset / factor)."""

    def groups(parts: Mapping[str, Array]) -> list[Group]:
        qs = parts["qs"]
        pieces = jnp.arange(0, 32, 4 * width)[:, None]  # four weights each
        words = shift_right(qs[..., None, :], pieces)
        words = words.reshape(*qs.shape[:-2], -1, 8, qs.shape[-1])

        def code(w: Array, byte: Array | int) -> Array:
            return (shift_right(w, width * byte) & jnp.uint32(2**width - 1)).astype(jnp.int32) * factor - offset

        scale = jnp.broadcast_to(parts["d"][..., None, :].astype(jnp.float32), (*words.shape[:-2], words.shape[-1]))
        return [Group((words,), code, scale)]

    return groups


def groups_tq2(parts: Mapping[str, Array]) -> list[Group]:
    qs = parts["qs"]
    words = (qs.reshape(*qs.shape[:-2], 2, 8, qs.shape[-1]),)
    scale = jnp.broadcast_to(parts["d"][..., None, :].astype(jnp.float32), (*words[0].shape[:-2], qs.shape[-1]))
    return [Group(words, lambda w, byte, shift=2 * g: bits(w, byte, shift, 3) - 1, scale) for g in range(4)]


def _digit(byte: Array, power: Array | int) -> Array:
    return ((byte * power & 255) * 3 >> 8) - 1


def groups_tq1(parts: Mapping[str, Array]) -> list[Group]:
    qs, qh, scale = parts["qs"], parts["qh"], parts["d"][..., None, :].astype(jnp.float32)
    found = []
    for places, start in ((range(2), 0), (range(1), 8)):  # 32 bytes, then 16
        for n in range(5):
            for half in places:
                words = qs[..., None, start + 4 * half : start + 4 * half + 4, :]
                found.append(Group((words,), lambda w, byte, power=3**n: _digit(bits(w, byte, 0, 255), power), scale))
    powers = jnp.broadcast_to(jnp.asarray([1, 3, 9, 27], jnp.uint32)[:, None], (*qh.shape[:-1], 1, 4, qh.shape[-1]))
    words = jnp.broadcast_to(qh[..., None, None, :], powers.shape)
    found.append(Group((words, powers), lambda w, power, byte: _digit(bits(w, byte, 0, 255), power.astype(jnp.int32)), scale))
    return found


def quantize_q1(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    """The sign of each weight, and their mean magnitude."""
    return jnp.concatenate([as_f16(total(jnp.abs(x)) / 128)[0], bitmap(x >= 0)])


def _rounded(x: Array) -> tuple[Array, Array]:
    """The bytes of the largest magnitude, and every number as a multiple of it, plus one: 0, 1 or 2."""
    d = jnp.abs(x).max(0, keepdims=True)
    return as_f16(d)[0], (round_away(x * inverse(d)) + 1).astype(jnp.int32)


def quantize_q2(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    d_bytes, codes = _rounded(x)
    return jnp.concatenate([d_bytes, fields(rearrange(codes, "(k f) n -> f k n", f=4), 2)])


def quantize_tq2(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    d_bytes, codes = _rounded(x)
    qs = fields(rearrange(codes, "(h l m) n -> l h m n", h=2, l=4), 2)
    return jnp.concatenate([rearrange(qs, "h m n -> (h m) n"), d_bytes])


def _digits(codes: Array) -> Array:
    """Bytes of five digits [5, K, N] to base 3, as a fraction of 256 (rounded up, so that the first digit is byte * 3 / 256)."""
    number = (codes * jnp.asarray([81, 27, 9, 3, 1])[:, None, None]).sum(0)
    return ((number * 256 + 242) // 243).astype(jnp.uint8)


def quantize_tq1(x: Array, importance: Array | None, row_mean_square: Array) -> Array:
    d_bytes, codes = _rounded(x)
    qs = [_digits(codes[:160].reshape(5, 32, -1)), _digits(codes[160:240].reshape(5, 16, -1))]
    qh = _digits(jnp.pad(codes[240:].reshape(4, 4, -1), ((0, 1), (0, 0), (0, 0))))
    return jnp.concatenate([*qs, qh, d_bytes])


_D, _QS = Part("d", 0, "f2"), Part("qs", 2, "u4", 4)
Q1_0 = BlockFormat("Q1_0", (_D, _QS), _dense_fields(1, 1, 2), "(r k) -> 1 r k", {"r": 4}, quantize_q1)
Q2_0 = BlockFormat("Q2_0", (_D, _QS), _dense_fields(2, 1, 1), "(r k) -> 1 r k", {"r": 2}, quantize_q2)
TQ2_0 = BlockFormat("TQ2_0", (Part("qs", 0, "u4", 16), Part("d", 64, "f2")), groups_tq2, "(r g k) -> g r k", {"r": 2, "g": 4}, quantize_tq2)
TQ1_0 = BlockFormat("TQ1_0", (Part("qs", 0, "u4", 12), Part("qh", 48, "u4"), Part("d", 52, "f2")), groups_tq1, "(g k) -> g 1 k", {"g": 16}, quantize_tq1)
