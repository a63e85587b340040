"""For each block format, how the words of 16 rows become codes and scales: a generator of the block's groups, for CPU kernels and for Pallas alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..blocks import fp4, iq4
from .tiles import Group, KernelFormat, Values


def q4_0(b: Values) -> Iterator[Group]:
    def codes(c: int) -> Any:
        return b.bits(b.word("qs", c % 4), 4 * (c // 4), 15)

    yield Group(0, codes, b.half("d"))


def q4_1(b: Values) -> Iterator[Group]:
    def codes(c: int) -> Any:
        return b.bits(b.word("qs", c % 4), 4 * (c // 4), 15)

    yield Group(0, codes, b.half("d"), b.negative(b.half("m")))


def _five_bits(b: Values) -> Callable[[int], Any]:
    """Codes of Q5_0 and Q5_1: nibbles and a word with a bit for each of the 32 weights."""

    def codes(c: int) -> Any:
        four = b.op("lshr", b.word("qh", 0), 4 * c) if c else b.word("qh", 0)
        high = None
        for byte in range(4):  # bit `byte` goes to bit 4 of its byte
            bit = b.op("and", b.op("shl", four, 7 * byte + 4), 16 << 8 * byte)
            high = bit if high is None else b.op("or", bit, high)
        return b.op("or", b.bits(b.word("qs", c % 4), 4 * (c // 4), 15), high)

    return codes


def q5_0(b: Values) -> Iterator[Group]:
    yield Group(0, _five_bits(b), b.half("d"))


def q5_1(b: Values) -> Iterator[Group]:
    yield Group(0, _five_bits(b), b.half("d"), b.negative(b.half("m")))


def q8_0(b: Values) -> Iterator[Group]:
    # The product wants unsigned codes: adding 128 to an int8 is flipping its highest bit.
    yield Group(0, lambda c: b.op("xor", b.word("qs", c), 0x80808080), b.half("d"))


def _k_scales(b: Values, j: int) -> tuple[Any, Any]:
    """Scale and minimum of sub-block j as floats; see `blocks.k_scales`."""

    def byte(word: int, shift: int, mask: int) -> Any:
        return b.op("and", b.op("lshr", b.word("scales", word), shift), mask)

    if j < 4:
        scale, minimum = byte(0, 8 * j, 63), byte(1, 8 * j, 63)
    else:
        n = 8 * (j - 4)
        scale = b.op("or", byte(2, n, 15), byte(0, n + 2, 48))
        minimum = b.op("or", byte(2, n + 4, 15), byte(1, n + 2, 48))
    return b.times(b.to_float(scale), b.half("d")), b.times(b.to_float(minimum), b.half("dmin"))


def q4_k(b: Values) -> Iterator[Group]:
    for j in range(8):
        scale, minimum = _k_scales(b, j)
        yield Group(32 * j, lambda c, j=j: b.bits(b.word("qs", 8 * (j // 2) + c), 4 * (j % 2), 15), scale, minimum)


def q5_k(b: Values) -> Iterator[Group]:
    for j in range(8):
        scale, minimum = _k_scales(b, j)

        def codes(c: int, j: int = j) -> Any:
            low = b.bits(b.word("qs", 8 * (j // 2) + c), 4 * (j % 2), 15)
            return b.op("or", low, b.op("shl", b.bits(b.word("qh", c), j, 1), 4))

        yield Group(32 * j, codes, scale, minimum)


def q2_k(b: Values) -> Iterator[Group]:
    d, dmin = b.half("d"), b.half("dmin")
    for n in range(16):  # sub-blocks of 16 weights, in order
        half, quarter, i = n // 8, n // 2 % 4, n % 2
        both = b.op("lshr", b.word("scales", n // 4), 8 * (n % 4))
        scale, minimum = b.op("and", both, 15), b.op("and", b.op("lshr", both, 4), 15)
        yield Group(
            16 * n,
            lambda c, at=8 * half + 4 * i, shift=2 * quarter: b.bits(b.word("qs", at + c), shift, 3),
            b.times(b.to_float(scale), d),
            b.times(b.to_float(minimum), dmin),
        )


def q3_k(b: Values) -> Iterator[Group]:
    d = b.half("d")
    for n in range(16):
        half, quarter, i = n // 8, n // 2 % 4, n % 2

        def codes(c: int, half: int = half, quarter: int = quarter, i: int = i) -> Any:
            low = b.bits(b.word("qs", 8 * half + 4 * i + c), 2 * quarter, 3)
            return b.op("or", low, b.op("shl", b.bits(b.word("hmask", 4 * i + c), 4 * half + quarter, 1), 2))

        word = n // 4  # of the unpacked scales
        low = b.op("and", b.op("lshr", b.word("scales", word % 2), 4 * (word // 2) + 8 * (n % 4)), 15)
        high = b.op("and", b.op("lshr", b.word("scales", 2), 2 * word + 8 * (n % 4)), 3)
        scale = b.op("sub", b.op("or", low, b.op("shl", high, 4)), 32)
        yield Group(16 * n, codes, b.times(b.to_float(scale), d))


def q6_k(b: Values) -> Iterator[Group]:
    d = b.half("d")
    for n in range(16):  # sub-blocks of 16 weights, in order
        half, quarter, i = n // 8, n // 2 % 4, n % 2

        def codes(c: int, half: int = half, quarter: int = quarter, i: int = i) -> Any:
            low = b.bits(b.word("ql", 16 * half + 8 * (quarter % 2) + 4 * i + c), 4 * (quarter // 2), 15)
            return b.op("or", low, b.op("shl", b.bits(b.word("qh", 8 * half + 4 * i + c), 2 * quarter, 3), 4))

        scale = b.op("ashr", b.op("shl", b.word("scales", n // 4), 24 - 8 * (n % 4)), 24)
        yield Group(16 * n, codes, b.times(b.to_float(scale), d))


_IQ4 = tuple(v + 128 for v in iq4.VALUES)
_FP4 = tuple(v + 128 for v in fp4.VALUES)


def iq4_nl(b: Values) -> Iterator[Group]:
    yield Group(0, lambda c: b.look_up(_IQ4, b.bits(b.word("qs", c % 4), 4 * (c // 4), 15)), b.half("d"))


def iq4_xs(b: Values) -> Iterator[Group]:
    d, tops = b.half("d"), b.wide("scales_h", 16)
    for j in range(8):
        low = b.op("and", b.op("lshr", b.word("scales_l", 0), 4 * j), 15)
        high = b.op("and", b.op("lshr", tops, 2 * j), 3)
        scale = b.op("sub", b.op("or", low, b.op("shl", high, 4)), 32)

        def codes(c: int, j: int = j) -> Any:
            return b.look_up(_IQ4, b.bits(b.word("qs", 4 * j + c % 4), 4 * (c // 4), 15))

        yield Group(32 * j, codes, b.times(b.to_float(scale), d))


def mxfp4(b: Values) -> Iterator[Group]:
    yield Group(0, lambda c: b.look_up(_FP4, b.bits(b.word("qs", c % 4), 4 * (c // 4), 15)), b.half_power("e"))


KERNEL_FORMATS: dict[str, KernelFormat] = {
    "Q4_0": KernelFormat(q4_0, offset=8),
    "Q4_1": KernelFormat(q4_1),
    "Q5_0": KernelFormat(q5_0, offset=16),
    "Q5_1": KernelFormat(q5_1),
    "Q8_0": KernelFormat(q8_0, offset=128, ahead=4096),
    "Q2_K": KernelFormat(q2_k, size=16),
    "Q3_K": KernelFormat(q3_k, size=16, offset=4),
    "Q4_K": KernelFormat(q4_k),
    "Q5_K": KernelFormat(q5_k),
    "Q6_K": KernelFormat(q6_k, size=16, offset=32),
    "IQ4_NL": KernelFormat(iq4_nl, offset=128),
    "IQ4_XS": KernelFormat(iq4_xs, offset=128),
    "MXFP4": KernelFormat(mxfp4, offset=128),
}
