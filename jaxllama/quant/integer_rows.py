"""The product for few rows of activations in plain jnp, everywhere; what kernels are compared with.

One element of the result is a sum over blocks, and one term of it a long expression of the words of a block. XLA computes such an expression at the speed of
its vector instructions as long as all of it is one loop that reads each word once, with the sixteen rows of a tile innermost. Three things keep it so:
- `_word` takes one word of all blocks straight from the stack. Sliced from a matrix that was taken from the stack first, all words are copied before.
- `_apart` parts scales, terms and the sum over blocks. In one loop with the others the sum or the scales would be computed number by number.
- Codes are never unpacked into an array: the words of a block and the codes of a word are written out one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax

from .activations import GROUP, quantize_activations
from .block import LANES, Array, Group
from .blocks import FORMATS
from .order import grouped, tied
from .qtensor import QTensor

Places = Sequence[tuple[int, np.ndarray] | None]  # of a group's words: which part, and which of its items int[R, C]; None for words that are computed


def integer_rows(x: Array, weight: QTensor, index: Array | int) -> Array:
    """x f32[M, columns] -> f32[M, rows] with activations rounded to int8."""
    format_ = weight.block_format
    assert format_.groups is not None
    unpack = format_.groups
    x, weight = tied(x, weight)
    activations = quantize_activations(x)
    merge = "g m b r k -> m (b r) g k"  # what a loop over blocks reads together lies together
    codes = rearrange(grouped(format_, activations.codes.reshape(x.shape)), merge)
    scales = rearrange(grouped(format_, jnp.repeat(activations.scales, GROUP, axis=-1)), merge)[..., 0]  # groups never straddle 32 weights: one for each
    activated = codes, scales, codes.sum(-1)  # codes [M, G, g, K], scales and sums [M, G, g], G = B R

    def factors(weight: QTensor) -> list[tuple[Array, Array | None]]:
        return [jax.tree.map(_all_groups, (group.scale, group.minimum)) for group in unpack(_apart(_widened, weight.named_parts(index)))]

    def terms(weight: QTensor, activated: tuple[Array, Array, Array], factors: list[tuple[Array, Array | None]]) -> Array:
        """f32[T, M, G, 16], one for each run of weights with one scale, all groups together."""
        codes, scales, sums = activated
        total = None
        for g, (group, places) in enumerate(zip(unpack(weight.named_parts(index)), _places(weight.format), strict=True)):
            scale, minimum = factors[g]
            part = _dots(weight, index, group, places, codes[:, :, g]).astype(jnp.float32) * scale[:, None]
            if minimum is not None:
                part = part - sums[..., g].astype(jnp.float32)[None, ..., None] * minimum[:, None]
            part = part * scales[..., g][None, ..., None]
            total = part if total is None else total + part
        assert total is not None
        return total

    total = _apart(terms, weight, activated, _apart(factors, weight))
    return rearrange(total.sum(2), "t m n -> m (t n)")[:, : weight.shape[1]]


def _dots(weight: QTensor, index: Array | int, group: Group, places: Places, codes: Array) -> Array:
    """int32[T, M, G, 16]: the codes of a group times those of the activations, int32[M, G, K]."""
    dots = None
    for c in range(group.words[0].shape[-2]):
        words = []
        for whole, place in zip(group.words, places, strict=True):
            if place is None:
                words.append(_all_groups(whole[..., c, :])[:, None])
            else:
                words.append(_word(weight.parts[place[0]], index, place[1][:, c]))
        for byte in range(4):
            term = group.code(*words, byte) * codes[..., 4 * c + byte][None, ..., None]
            dots = term if dots is None else dots + term
    assert dots is not None
    return dots


def _widened(parts: dict[str, Array]) -> dict[str, Array]:
    """The same with f16 numbers as f32, by operations that XLA turns into vector instructions; its own conversion goes number by number."""

    def wide(part: Array) -> Array:
        if part.dtype != jnp.float16:
            return part
        half = lax.bitcast_convert_type(part, jnp.uint16).astype(jnp.uint32)
        magnitude = half & jnp.uint32(0x7FFF)
        offset = jnp.where(magnitude >= 0x7C00, jnp.uint32(224 << 23), jnp.uint32(112 << 23))  # between the exponents; twice for infinity
        normal = lax.bitcast_convert_type((magnitude << 13) + offset, jnp.float32)
        subnormal = magnitude.astype(jnp.int32).astype(jnp.float32) * 2.0**-24  # not through f32's subnormal numbers, which XLA takes for zero
        value = jnp.where(magnitude < 0x0400, subnormal, normal)
        return jnp.where(half >> 15 != 0, -value, value)

    return {name: wide(part) for name, part in parts.items()}


def _all_groups(x: Array) -> Array:
    """[T, B, R, 16] as [T, G, 16]."""
    return x.reshape(x.shape[0], -1, LANES)


@cache
def _places(format: str) -> list[Places]:
    """Where the words of a format's groups lie, found by unpacking a block whose words are their own numbers."""
    format_ = FORMATS[format]
    assert format_.groups is not None

    def words(first: int) -> list[list[np.ndarray]]:
        with jax.ensure_compile_time_eval():  # also where a product is being traced
            parts = {}
            for number, part in enumerate(format_.parts):
                items = jnp.asarray((np.arange(part.count) + first + 1000 * number).astype(part.dtype)).reshape(1, part.count, 1)
                parts[part.name] = items[..., 0, :] if part.count == 1 else items
            return [[np.asarray(w) for w in group.words] for group in format_.groups(parts)]  # type: ignore[misc]

    found = []
    for group, shifted in zip(words(0), words(5), strict=True):
        places: list[tuple[int, np.ndarray] | None] = []
        for word, other in zip(group, shifted, strict=True):
            items = word.reshape(word.shape[-3:-1]).astype(np.int64)  # [R, C]
            number = int(items.flat[0]) // 1000
            items = items - 1000 * number
            moved = word.dtype == np.uint32 and np.array_equal(other.astype(np.int64) - word, np.full(word.shape, 5))
            places.append((number, items) if moved and _bits(items[:, 0], format_.parts[number].count) is not None else None)
        found.append(places)
    return found


def _bits(items: np.ndarray, count: int) -> list[int] | None:
    """Which bits of their numbers, the highest first, tell the items of a word's repeats apart; None where they do not lie like that."""
    if count & (count - 1):
        return None
    varying = [bit for bit in reversed(range(count.bit_length() - 1)) if np.ptp(items >> bit & 1)]
    fixed = int(items[0]) & ~sum(1 << bit for bit in varying)
    numbers = np.arange(1 << len(varying))
    expected = fixed + sum((numbers >> place & 1) << bit for place, bit in enumerate(reversed(varying)))
    return varying if np.array_equal(items, np.broadcast_to(expected, numbers.shape)) else None


def _word(part: Array, index: Array | int, items: np.ndarray) -> Array:
    """u32[T, 1, B R, 16]: the items of all blocks of matrix `index`, in one slice of the part [stack, T, B, count, 16]."""
    stack, tiles, blocks, count, _ = part.shape
    varying = _bits(items, count)
    assert varying is not None
    bits = list(reversed(range(count.bit_length() - 1)))
    starts = [0 if bit in varying else int(items[0]) >> bit & 1 for bit in bits]
    sizes = [2 if bit in varying else 1 for bit in bits]
    split = part.reshape(stack, tiles, blocks, *[2] * len(bits), LANES)
    return lax.dynamic_slice(split, (index, 0, 0, *starts, 0), (1, tiles, blocks, *sizes, LANES)).reshape(tiles, 1, -1, LANES)


def _apart(work: Callable[..., Any], *inputs: Any) -> Any:
    """work(*inputs), on CPU as a program that XLA does not fuse with what comes before and after: the branch of a choice that is made at run time."""
    if jax.default_backend() != "cpu":
        return work(*inputs)
    shapes = jax.eval_shape(work, *inputs)
    nothing = lambda *_: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)  # noqa: E731
    return lax.cond(lax.optimization_barrier(jnp.bool_(True)), work, nothing, *inputs)
