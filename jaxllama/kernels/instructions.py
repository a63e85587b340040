"""Sets of vector instructions: what the integer products of kernels are made of on each kind of processor.

Kernels are written on vectors of 16 numbers; LLVM cuts those into what the processor has. Only what LLVM has no word for stands here: products of bytes,
and looking up 16 bytes at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .ir import Function
from .vectors import V32


@dataclass(frozen=True)
class InstructionSet:
    """How to multiply and look up bytes.

    Attributes:
        name: for people.
        tag: for the names of kernels.
        features: Linux's names of what the processor must have.
        triple, cpu, llvm_features: what LLVM compiles for when it is not the host.
        lanes: 32-bit numbers in a register.
        wide_codes: whether codes may be unsigned bytes up to 255 in `dot`; otherwise at most 127, or signed.
        declarations: of the intrinsics.
        pause: what a thread does while it waits for another.
    """

    name: str
    tag: str
    features: frozenset[str]
    triple: str
    cpu: str
    llvm_features: str
    lanes: int
    wide_codes: bool
    declarations: str
    pause: str

    def dot(self, f: Function, total: str, codes: str, x: str, *, signed: bool = False) -> str:
        """total + the sum of four products in each lane.

        Args:
            total: <16 x i32>.
            codes: <16 x i32>, four codes in each: unsigned, or signed bytes when `signed` (only sets without `wide_codes` can).
            x: <16 x i32>, four signed bytes in each, from -127 to 127.
        """
        pieces = [self._dot(f, self._piece(f, total, i), self._piece(f, codes, i), self._piece(f, x, i), signed) for i in range(16 // self.lanes)]
        return _joined(f, pieces, self.lanes)

    def look_up(self, f: Function, table: Sequence[int], codes: str) -> str:
        """table[code] for the four codes of each lane, from 0 to 15; the table has unsigned bytes."""
        pieces = [self._look_up(f, table, self._piece(f, codes, i)) for i in range(16 // self.lanes)]
        return _joined(f, pieces, self.lanes)

    def _piece(self, f: Function, vector: str, number: int) -> str:
        """A register's part of a vector."""
        if self.lanes == 16:
            return vector
        places = ", ".join(f"i32 {number * self.lanes + i}" for i in range(self.lanes))
        return f.let(f"shufflevector {V32} {vector}, {V32} poison, <{self.lanes} x i32> <{places}>")

    @property
    def _words(self) -> str:
        return f"<{self.lanes} x i32>"

    @property
    def _bytes(self) -> str:
        return f"<{4 * self.lanes} x i8>"

    def _as_bytes(self, f: Function, words: str) -> str:
        return f.let(f"bitcast {self._words} {words} to {self._bytes}")

    def _dot(self, f: Function, total: str, codes: str, x: str, signed: bool) -> str:
        raise NotImplementedError

    def _look_up(self, f: Function, table: Sequence[int], codes: str) -> str:
        values = ", ".join(f"i8 {v - 256 if v > 127 else v}" for v in [*table] * (self.lanes // 4))
        found = self._shuffle(f, f"{self._bytes} <{values}>", f"{self._bytes} {self._as_bytes(f, codes)}")
        return f.let(f"bitcast {self._bytes} {found} to {self._words}")

    def _shuffle(self, f: Function, table: str, index: str) -> str:
        raise NotImplementedError


class _Vnni(InstructionSet):
    """`vpdpbusd`: unsigned times signed bytes, four to a lane, added up in 32 bits."""

    def _dot(self, f: Function, total: str, codes: str, x: str, signed: bool) -> str:
        assert not signed
        width = 32 * self.lanes
        a, b = self._as_bytes(f, codes), self._as_bytes(f, x)
        return f.let(f"call {self._words} @llvm.x86.avx512.vpdpbusd.{width}({self._words} {total}, {self._bytes} {a}, {self._bytes} {b})")

    def _shuffle(self, f: Function, table: str, index: str) -> str:
        name = "avx512.pshuf.b.512" if self.lanes == 16 else "avx2.pshuf.b"
        return f.let(f"call {self._bytes} @llvm.x86.{name}({table}, {index})")


class _Avx2(InstructionSet):
    """`vpmaddubsw` and `vpmaddwd`: pairs of products in 16 bits, which 127 * 127 * 2 fits; signed codes lend their sign to x."""

    def _dot(self, f: Function, total: str, codes: str, x: str, signed: bool) -> str:
        a, b = self._as_bytes(f, codes), self._as_bytes(f, x)
        if signed:
            b = f.let(f"call {self._bytes} @llvm.x86.avx2.psign.b({self._bytes} {b}, {self._bytes} {a})")
            a = f.let(f"call {self._bytes} @llvm.abs.v32i8({self._bytes} {a}, i1 false)")
        pairs = f.let(f"call <16 x i16> @llvm.x86.avx2.pmadd.ub.sw({self._bytes} {a}, {self._bytes} {b})")
        ones = "<" + ", ".join(["i16 1"] * 16) + ">"
        four = f.let(f"call {self._words} @llvm.x86.avx2.pmadd.wd(<16 x i16> {pairs}, <16 x i16> {ones})")
        return f.let(f"add {self._words} {total}, {four}")

    def _shuffle(self, f: Function, table: str, index: str) -> str:
        return f.let(f"call {self._bytes} @llvm.x86.avx2.pshuf.b({table}, {index})")


class _Neon(InstructionSet):
    """`sdot`: signed bytes, four to a lane, added up in 32 bits."""

    def _dot(self, f: Function, total: str, codes: str, x: str, signed: bool) -> str:
        a, b = self._as_bytes(f, codes), self._as_bytes(f, x)
        return f.let(f"call {self._words} @llvm.aarch64.neon.sdot.v4i32.v16i8({self._words} {total}, {self._bytes} {a}, {self._bytes} {b})")

    def _shuffle(self, f: Function, table: str, index: str) -> str:
        return f.let(f"call {self._bytes} @llvm.aarch64.neon.tbl1.v16i8({table}, {index})")


def _joined(f: Function, pieces: Sequence[str], lanes: int) -> str:
    """One vector <16 x i32> of several."""
    while len(pieces) > 1:
        places = ", ".join(f"i32 {i}" for i in range(2 * lanes))
        pairs = zip(pieces[::2], pieces[1::2], strict=True)
        pieces = [f.let(f"shufflevector <{lanes} x i32> {a}, <{lanes} x i32> {b}, <{2 * lanes} x i32> <{places}>") for a, b in pairs]
        lanes *= 2
    return pieces[0]


_X86_FLOATS = frozenset({"avx2", "fma", "f16c"})
_X86_PAUSE = "call void @llvm.x86.sse2.pause()"
_AVX2_LOOK_UP = "declare <32 x i8> @llvm.x86.avx2.pshuf.b(<32 x i8>, <32 x i8>)"
_X86 = "declare void @llvm.x86.sse2.pause()"

# Best first.
INSTRUCTION_SETS: tuple[InstructionSet, ...] = (
    _Vnni(
        "AVX-512 VNNI",
        "avx512vnni",
        _X86_FLOATS | {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"},
        "x86_64-unknown-linux-gnu",
        "icelake-server",
        "",
        16,
        True,
        f"""{_X86}
declare <16 x i32> @llvm.x86.avx512.vpdpbusd.512(<16 x i32>, <64 x i8>, <64 x i8>)
declare <64 x i8> @llvm.x86.avx512.pshuf.b.512(<64 x i8>, <64 x i8>)""",
        _X86_PAUSE,
    ),
    _Vnni(
        "AVX-VNNI",
        "avxvnni",
        _X86_FLOATS | {"avx_vnni"},
        "x86_64-unknown-linux-gnu",
        "alderlake",
        "",
        8,
        True,
        f"""{_X86}
{_AVX2_LOOK_UP}
declare <8 x i32> @llvm.x86.avx512.vpdpbusd.256(<8 x i32>, <32 x i8>, <32 x i8>)""",
        _X86_PAUSE,
    ),
    _Avx2(
        "AVX2",
        "avx2",
        _X86_FLOATS,
        "x86_64-unknown-linux-gnu",
        "haswell",
        "",
        8,
        False,
        f"""{_X86}
{_AVX2_LOOK_UP}
declare <32 x i8> @llvm.x86.avx2.psign.b(<32 x i8>, <32 x i8>)
declare <32 x i8> @llvm.abs.v32i8(<32 x i8>, i1)
declare <16 x i16> @llvm.x86.avx2.pmadd.ub.sw(<32 x i8>, <32 x i8>)
declare <8 x i32> @llvm.x86.avx2.pmadd.wd(<16 x i16>, <16 x i16>)""",
        _X86_PAUSE,
    ),
    _Neon(
        "NEON with dot products",
        "neon",
        frozenset({"asimd", "asimddp"}),
        "aarch64-unknown-linux-gnu",
        "neoverse-n1",
        "",
        4,
        False,
        """declare void @llvm.aarch64.hint(i32)
declare <4 x i32> @llvm.aarch64.neon.sdot.v4i32.v16i8(<4 x i32>, <16 x i8>, <16 x i8>)
declare <16 x i8> @llvm.aarch64.neon.tbl1.v16i8(<16 x i8>, <16 x i8>)""",
        "call void @llvm.aarch64.hint(i32 1)",
    ),
)
