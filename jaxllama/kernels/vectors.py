"""Sixteen floats at a time: what kernels do with them, in words that LLVM translates for every processor."""

from __future__ import annotations

from collections.abc import Callable
from math import e, log, log2
from typing import TypeVar

import numpy as np

from .ir import Function

VF, V32, MASK = "<16 x float>", "<16 x i32>", "<16 x i1>"

DECLARATIONS = f"""
declare {VF} @llvm.fma.v16f32({VF}, {VF}, {VF})
declare {VF} @llvm.rint.v16f32({VF})
declare {VF} @llvm.maxnum.v16f32({VF}, {VF})
declare {VF} @llvm.minnum.v16f32({VF}, {VF})
declare float @llvm.vector.reduce.fmax.v16f32({VF})
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare float @llvm.vector.reduce.fadd.v16f32(float, {VF})
"""


def number(value: float) -> str:
    """A float constant as LLVM spells it: the bits of the double with the same value."""
    return f"0x{np.float64(np.float32(value)).view(np.uint64):016X}"


def word(value: int) -> str:
    """A vector of one unsigned integer."""
    return "<" + ", ".join([f"i32 {value - 2**32 if value >= 2**31 else value}"] * 16) + ">"


def constant(value: float) -> str:
    """A vector of one float."""
    return "<" + ", ".join([f"float {number(value)}"] * 16) + ">"


T = TypeVar("T")


def _tree(leaves: list[int], leaf: Callable[[int], T], join: Callable[[T, T, int], T], block: int = 1) -> T:
    """Join 16 leaves in pairs, depth first; `join` is told the size of the blocks to fold."""
    if len(leaves) == 1:
        return leaf(leaves[0])
    half = len(leaves) // 2
    return join(_tree(leaves[:half], leaf, join, 2 * block), _tree(leaves[half:], leaf, join, 2 * block), block)


def _folded(block: int) -> tuple[list[int], list[int]]:
    """Which places of two vectors side by side are added to which, for blocks of `block` numbers: the even blocks, and the odd ones."""
    lane = 16 if block >= 4 else 4  # small blocks move within 128 bits: cheaper
    even = [16 * v + at + i for start in range(0, 16, lane) for v in range(2) for at in range(start, start + lane, 2 * block) for i in range(block)]
    return even, [place + block for place in even]


def _order() -> list[int]:
    """The order of 16 vectors in which their folded sums come out in places 0 to 15."""
    places = _tree(list(range(16)), lambda i: [i] * 16, lambda a, b, block: [[*a, *b][i] for i in _folded(block)[0]])
    return [places.index(i) for i in range(16)]


_ORDER = _order()


class Vectors:
    """Operations on vectors of 16 floats in a function under construction."""

    def __init__(self, f: Function):
        self.f = f

    def load(self, type_: str, pointer: str, offset: str | int = 0) -> str:
        """16 numbers as floats; `type_` is float, half or bfloat."""
        if type_ == "float":
            return self.f.load(VF, pointer, offset, 4)
        if type_ == "half":
            return self.f.let(f"fpext <16 x half> {self.f.load('<16 x half>', pointer, offset, 2)} to {VF}")
        wide = self.f.let(f"zext <16 x i16> {self.f.load('<16 x i16>', pointer, offset, 2)} to {V32}")
        high = self.f.let(f"shl {V32} {wide}, {word(16)}")
        return self.f.let(f"bitcast {V32} {high} to {VF}")

    def splat(self, value: str) -> str:
        return self.f.splat("float", 16, value)

    def add(self, a: str, b: str) -> str:
        return self.f.let(f"fadd {VF} {a}, {b}")

    def sub(self, a: str, b: str) -> str:
        return self.f.let(f"fsub {VF} {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        return self.f.let(f"fmul {VF} {a}, {b}")

    def div(self, a: str, b: str) -> str:
        return self.f.let(f"fdiv {VF} {a}, {b}")

    def fma(self, a: str, b: str, c: str) -> str:
        """a * b + c, rounded once."""
        return self._call("fma", a, b, c)

    def maximum(self, a: str, b: str) -> str:
        return self._call("maxnum", a, b)

    def minimum(self, a: str, b: str) -> str:
        return self._call("minnum", a, b)

    def select(self, mask: str, a: str, b: str) -> str:
        return self.f.let(f"select {MASK} {mask}, {VF} {a}, {VF} {b}")

    def highest(self, a: str) -> str:
        """The largest of the 16, in all places."""
        return self.splat(self.f.let(f"call nnan float @llvm.vector.reduce.fmax.v16f32({VF} {a})"))

    def sum(self, a: str) -> str:
        """The sum of the 16, in all places."""
        return self.splat(self.f.let(f"call reassoc float @llvm.vector.reduce.fadd.v16f32(float 0.0, {VF} {a})"))

    def exp(self, x: str) -> str:
        """e^x for finite x, to a unit in the last place or two; below -87 it stays at e^-87.

        x = n log 2 + r with |r| <= log 2 / 2; a polynomial for e^r (Cephes' expf) and n added to the exponent.
        """
        x = self.maximum(self.minimum(x, constant(88.0)), constant(-87.0))
        n = self._call("rint", self.mul(x, constant(log2(e))))
        high = 0.693359375  # of log 2, exact in few bits
        r = self.fma(n, constant(-high), x)
        r = self.fma(n, constant(high - log(2)), r)
        p = constant(1.9875691500e-4)
        for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            p = self.fma(p, r, constant(c))
        p = self.add(self.fma(p, self.mul(r, r), r), constant(1.0))
        power = self.f.let(f"fptosi {VF} {n} to {V32}")
        biased = self.f.let(f"add {V32} {power}, {word(127)}")
        bits = self.f.let(f"shl {V32} {biased}, {word(23)}")
        return self.mul(p, self.f.let(f"bitcast {V32} {bits} to {VF}"))

    def tanh(self, x: str) -> str:
        """1 - 2 / (e^2x + 1)."""
        denominator = self.add(self.exp(self.mul(x, constant(2.0))), constant(1.0))
        return self.sub(constant(1.0), self.div(constant(2.0), denominator))

    def sums(self, vectors: Callable[[list[int]], list[list[str]]], together: int) -> list[str]:
        """Sums over the places of 16 vectors, as one vector with the sum of vector i in place i; for several such sets at once.

        Halves are folded onto halves, two vectors at a time, so that 16 sums take 15 additions and 30 shuffles. The vectors are asked for a few at a time, in
        an order in which few of them need to be kept.

        Args:
            vectors: for each number in a list, that vector of every set.
            together: how many are asked for at a time: 1, 2, 4, 8 or 16.
        """

        def join(left: list[str], right: list[str], block: int) -> list[str]:
            even, odd = (", ".join(f"i32 {i}" for i in part) for part in _folded(block))
            found = []
            for a, b in zip(left, right, strict=True):
                low = self.f.let(f"shufflevector {VF} {a}, {VF} {b}, <16 x i32> <{even}>")
                high = self.f.let(f"shufflevector {VF} {a}, {VF} {b}, <16 x i32> <{odd}>")
                found.append(self.add(low, high))
            return found

        ready: dict[int, list[str]] = {}

        def leaf(i: int) -> list[str]:
            if i not in ready:
                first = _ORDER.index(i)
                some = _ORDER[first : first + together]
                ready.update(zip(some, vectors(some), strict=True))
            return ready[i]

        return _tree(_ORDER, leaf, join)

    def _call(self, name: str, *arguments: str) -> str:
        return self.f.let(f"call {VF} @llvm.{name}.v16f32({', '.join(f'{VF} {a}' for a in arguments)})")
