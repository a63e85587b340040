"""The product of packed weights in vector registers: loops over tiles, batches of activations and blocks, the same for all formats.

A format is a generator of `Group`s for one block (see `formats`). A group's codes are unsigned bytes, four neighbouring weights of each of the 16 rows in a
vector <16 x i32>.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jaxllama.kernels.frame import Buffer, Kernel, Work
from jaxllama.kernels.instructions import InstructionSet
from jaxllama.kernels.ir import Function
from jaxllama.kernels.vectors import DECLARATIONS, V32, VF, word

from ..block import LANES, BlockFormat


@dataclass(frozen=True)
class Group:
    """Weights with one scale: x = scale * (code - offset) - minimum.

    Attributes:
        at: the group's first weight in the block.
        codes: makes the words with number `c` of the group, 4 weights of each row.
        scale, minimum: floats of each row; no minimum is zero.
    """

    at: int
    codes: Callable[[int], Any]
    scale: Any
    minimum: Any = None


class Values(Protocol):
    """A block of a tile while its code is written: loads of its parts, and the few operations that formats need.

    Formats do not know what a value is: a register's name in IR (`Block`), or an array (`pallas.Arrays`). All have 32 bits for each of the 16 rows.
    """

    def word(self, part: str, item: int) -> Any:
        """Word `item` of a part."""

    def wide(self, part: str, bits: int) -> Any:
        """A part of 8 or 16 bits an item as words."""

    def half(self, part: str) -> Any:
        """An f16 part as floats."""

    def half_power(self, part: str) -> Any:
        """2^(e - 128) for an 8-bit part, as floats."""

    def op(self, name: str, a: Any, b: Any) -> Any:
        """LLVM's operation of that name on words; a number stands for a vector of it."""

    def bits(self, word: Any, shift: int, mask: int) -> Any:
        """(word >> shift) & mask, the mask given for one byte and applied to all four."""

    def to_float(self, words: Any) -> Any: ...

    def times(self, a: Any, b: Any) -> Any: ...

    def negative(self, a: Any) -> Any: ...

    def look_up(self, table: Sequence[int], codes: Any) -> Any:
        """table[code] for the four codes of each word, from 0 to 15; the values are unsigned bytes."""


class Block:
    """`Values` in a function under construction: <16 x i32> and <16 x float>."""

    def __init__(self, f: Function, instructions: InstructionSet, pointers: Mapping[str, str], ahead: int = 0):
        self.f, self._instructions, self._pointers, self._ahead = f, instructions, pointers, ahead

    def word(self, part: str, item: int) -> str:
        if self._ahead:
            self.f.prefetch(self._pointers[part], 64 * item + self._ahead)
        return self.f.load(V32, self._pointers[part], 64 * item)

    def wide(self, part: str, bits: int) -> str:
        return self.f.let(f"zext <16 x i{bits}> {self.f.load(f'<16 x i{bits}>', self._pointers[part])} to {V32}")

    def half(self, part: str) -> str:
        return self.f.let(f"fpext <16 x half> {self.f.load('<16 x half>', self._pointers[part])} to {VF}")

    def half_power(self, part: str) -> str:
        e = self.wide(part, 8)
        small = self.f.let(f"icmp ult {V32} {e}, {word(2)}")
        tiny = self.f.let(f"shl {V32} {word(0x200000)}, {e}")  # subnormal below 2
        usual = self.op("shl", self.op("sub", e, 1), 23)
        pattern = self.f.let(f"select <16 x i1> {small}, {V32} {tiny}, {V32} {usual}")
        return self.f.let(f"bitcast {V32} {pattern} to {VF}")

    def op(self, name: str, a: str, b: int | str) -> str:
        return self.f.let(f"{name} {V32} {a}, {b if isinstance(b, str) else word(b)}")

    def bits(self, word: str, shift: int, mask: int) -> str:
        shifted = self.op("lshr", word, shift) if shift else word
        return self.op("and", shifted, mask * 0x01010101)

    def to_float(self, words: str) -> str:
        return self.f.let(f"sitofp {V32} {words} to {VF}")

    def times(self, a: str, b: str) -> str:
        return self.f.let(f"fmul {VF} {a}, {b}")

    def negative(self, a: str) -> str:
        return self.f.let(f"fneg {VF} {a}")

    def look_up(self, table: Sequence[int], codes: str) -> str:
        return self._instructions.look_up(self.f, table, codes)


@dataclass(frozen=True)
class KernelFormat:
    """How a kernel reads a block format.

    Attributes:
        groups: generates the groups of a block.
        size: weights in a group, 16 or 32.
        offset: what is subtracted from every code. A format has an offset or minima, not both.
        ahead: how many bytes ahead words are asked for; 0: the processor's own guess is better, as it is for all formats that do some work on a word.
    """

    groups: Callable[[Values], Iterator[Group]]
    size: int = 32
    offset: int = 0
    ahead: int = 0


def product(format_: BlockFormat, kernel: KernelFormat, rows: int, instructions: InstructionSet) -> Kernel:
    """The product of packed weights and batches of `rows` rows of activations. A unit is a tile: 16 rows of weights.

    Operands: the parts of the weight, [S, T, B, count, 16] each; codes s8[batches, rows, columns]; scales f32[batches, rows, columns / 32]; a correction for
    each group of weights, [batches, rows, columns / size]: with an offset, s32, what the sum of products begins with (minus the offset times the sum of the
    activation codes); with minima, f32, what a minimum is multiplied with (minus the sum of the activations); and s32[], the index of the matrix in the stack.
    Result f32[batches, rows, tiles * 16]. A tile stays in the processor's cache while all batches pass.
    """
    count = len(format_.parts)

    def prepare(f: Function, operands: list[Buffer], results: list[Buffer]) -> Work:
        tiles, blocks = operands[0].dim(1), operands[0].dim(2)
        batches = operands[count].dim(0)
        index = f.load_int(operands[-1].data())
        size = f.mul(tiles, blocks)  # blocks of tiles in one matrix
        before = f.mul(index, size)
        weights = [f.at(o.data(), f.mul(before, LANES * p.nbytes)) for o, p in zip(operands, format_.parts, strict=False)]
        pointers = [*weights, *(o.data() for o in operands[count:-1]), results[0].data()]
        nbytes = f.mul(f.mul(size, LANES * format_.type.bytes), batches)
        return Work(tiles, nbytes, [("i64", tiles), ("i64", blocks), ("i64", batches), *(("ptr", p) for p in pointers)])

    def units(f: Function, first: str, last: str, values: list[str]) -> None:
        tiles, blocks, batches = values[:3]
        parts, (codes, scales, corrections, out) = values[3 : 3 + count], values[3 + count :]
        columns = f.mul(blocks, format_.type.weights)

        def batch(t: str, start: str, number: str) -> None:
            row = f.mul(number, rows)

            def block(n: str, totals: list[str]) -> list[str]:
                place = f.add(start, n)
                pointers = {p.name: f.at(pointer, f.mul(place, LANES * p.nbytes)) for p, pointer in zip(format_.parts, parts, strict=True)}
                at = f.mul(n, format_.type.weights)
                places = [f.add(at, f.mul(columns, f.add(row, m))) for m in range(rows)]
                x = [f.at(codes, place) for place in places]
                # Four bytes of scale for 32 weights, four of correction for a group.
                x_scales = [f.at(scales, f.let(f"lshr i64 {place}, 3")) for place in places]
                x_corrections = [f.at(corrections, f.let(f"lshr i64 {place}, {2 if kernel.size == 16 else 3}")) for place in places]
                for group in kernel.groups(Block(f, instructions, pointers, kernel.ahead)):
                    correct = [f.at(c, group.at // kernel.size * 4) for c in x_corrections]
                    dots = _dots(f, kernel, instructions, group, x, correct)
                    totals = _close(f, group, totals, dots, [f.at(s, group.at // 32 * 4) for s in x_scales], correct)
                return totals

            totals = f.loop(0, blocks, [(VF, "zeroinitializer")] * rows, block)
            for m, total in enumerate(totals):
                f.store(VF, total, out, f.mul(f.add(f.mul(tiles, f.add(row, m)), t), 64), 4)

        def tile(t: str, _: list[str]) -> list[str]:
            start = f.mul(t, blocks)

            def one(number: str, _: list[str]) -> list[str]:
                batch(t, start, number)
                return []

            return f.loop(0, batches, [], one)

        f.loop(first, last, [], tile)

    return Kernel(count + 4, 1, prepare, units, declarations=DECLARATIONS)


def _dots(f: Function, kernel: KernelFormat, instructions: InstructionSet, group: Group, x: list[str], correct: list[str]) -> list[str]:
    """Integer sums <16 x i32> of (code - offset) * activation for every row of activations."""
    signed = kernel.offset == 128 and not instructions.wide_codes  # then code - 128 is what is multiplied, and nothing is left to correct
    chains = 2 if len(x) < 4 else 1  # with few rows two sums side by side hide the latency of the product
    sums = [["zeroinitializer"] * chains for _ in x]
    if kernel.offset and not signed:
        for m, pointer in enumerate(correct):
            sums[m][0] = f.splat("i32", 16, f.load("i32", pointer, align=4))
    for c in range(kernel.size // 4):
        codes = group.codes(c)
        if signed:
            codes = f.let(f"xor {V32} {codes}, {word(0x80808080)}")
        for m, pointer in enumerate(x):
            four = f.splat("i32", 16, f.load("i32", pointer, group.at + 4 * c))
            sums[m][c % chains] = instructions.dot(f, sums[m][c % chains], codes, four, signed=signed)
    return [f.let(f"add {V32} {s[0]}, {s[1]}") if chains == 2 else s[0] for s in sums]


def _close(f: Function, group: Group, totals: list[str], dots: list[str], x_scales: list[str], correct: list[str]) -> list[str]:
    """totals + activation scale * (scale * dots - minimum * sum of the activation codes)."""
    found = []
    for total, dot, scale_at, correct_at in zip(totals, dots, x_scales, correct, strict=True):
        scale = f.let(f"fmul {VF} {group.scale}, {f.splat('float', 16, f.load('float', scale_at, align=4))}")
        number = f.let(f"sitofp {V32} {dot} to {VF}")
        total = f.let(f"call {VF} @llvm.fma.v16f32({VF} {number}, {VF} {scale}, {VF} {total})")
        if group.minimum is not None:
            less = f.splat("float", 16, f.load("float", correct_at, align=4))
            total = f.let(f"call {VF} @llvm.fma.v16f32({VF} {group.minimum}, {VF} {less}, {VF} {total})")
        found.append(total)
    return found
