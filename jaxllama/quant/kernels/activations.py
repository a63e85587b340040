"""Rounding activations to int8 for the kernels' products; the same numbers as `quant.activations`."""

from __future__ import annotations

from jaxllama.kernels.frame import Buffer, Kernel, Work
from jaxllama.kernels.ir import Function
from jaxllama.kernels.vectors import V32, VF, Vectors, word

from ..activations import GROUP
from .tiles import KernelFormat

_DECLARATIONS = f"""
declare {VF} @llvm.rint.v16f32({VF})
declare {V32} @llvm.umax.v16i32({V32}, {V32})
declare i32 @llvm.vector.reduce.umax.v16i32({V32})
declare i32 @llvm.vector.reduce.add.v16i32({V32})
"""


def rounding(format_: KernelFormat) -> Kernel:
    """Codes, scales and corrections, as the product of a format wants them (see `tiles.product`). A unit is a row.

    Operand: f32[M, columns]. Results: codes s8[P, columns], scales f32[P, columns / 32] and corrections [P, columns / size] with P >= M rows; those beyond M
    are zeros.
    """

    def prepare(f: Function, operands: list[Buffer], results: list[Buffer]) -> Work:
        rows, columns, padded = operands[0].dim(0), operands[0].dim(1), results[0].dim(0)
        pointers = [operands[0].data(), *(r.data() for r in results)]
        nbytes = f.mul(f.mul(rows, columns), 8)  # counted twice: a byte here costs more time than a weight's
        return Work(padded, nbytes, [("i64", rows), ("i64", columns), *(("ptr", p) for p in pointers)])

    def units(f: Function, first: str, last: str, values: list[str]) -> None:
        rows, columns, x, codes, scales, corrections = values
        v = Vectors(f)
        groups = f.div(columns, GROUP)

        def group(row: str, n: str, real: bool) -> None:
            at = f.add(f.mul(row, columns), f.mul(n, GROUP))
            scale_at, correct_at = f.at(scales, f.let(f"lshr i64 {at}, 3")), f.at(corrections, f.let(f"lshr i64 {at}, {2 if format_.size == 16 else 3}"))
            parts = GROUP // 16
            if not real:
                f.store("<32 x i8>", "zeroinitializer", f.at(codes, at))
                f.store("float", "0.0", scale_at, align=4)
                f.store(f"<{GROUP // format_.size} x i32>", "zeroinitializer", correct_at, align=4)
                return
            numbers = [f.load(VF, f.at(x, f.mul(at, 4)), 64 * i, 4) for i in range(parts)]
            # Sizes are compared as integers, which orders them alike and puts NaN above all: it reaches the scale.
            sizes = [f.let(f"and {V32} {f.let(f'bitcast {VF} {a} to {V32}')}, {word(0x7FFFFFFF)}") for a in numbers]
            most = f.let(f"call {V32} @llvm.umax.v16i32({V32} {sizes[0]}, {V32} {sizes[1]})")
            most = f.let(f"bitcast i32 {f.let(f'call i32 @llvm.vector.reduce.umax.v16i32({V32} {most})')} to float")
            scale = f.let(f"fdiv float {most}, 127.0")
            f.store("float", scale, scale_at, align=4)
            inverse = f.let(f"select i1 {f.let(f'fcmp ogt float {scale}, 0.0')}, float {f.let(f'fdiv float 1.0, {scale}')}, float 0.0")
            inverse = v.splat(inverse)
            sums = []
            for i, a in enumerate(numbers):
                rounded = f.let(f"call {VF} @llvm.rint.v16f32({VF} {v.mul(a, inverse)})")
                code = f.let(f"freeze {V32} {f.let(f'fptosi {VF} {rounded} to {V32}')}")
                f.store("<16 x i8>", f.let(f"trunc {V32} {code} to <16 x i8>"), f.at(codes, at), 16 * i)
                sums.append(code)
            if format_.size == GROUP:
                sums = [f.let(f"add {V32} {sums[0]}, {sums[1]}")]
            for i, s in enumerate(sums):
                total = f.let(f"call i32 @llvm.vector.reduce.add.v16i32({V32} {s})")
                if format_.offset:
                    f.store("i32", f.let(f"mul i32 {total}, {-format_.offset}"), correct_at, 4 * i, 4)
                else:
                    less = f.let(f"fmul float {f.let(f'sitofp i32 {total} to float')}, {f.let(f'fneg float {scale}')}")
                    f.store("float", less, correct_at, 4 * i, 4)

        def row(m: str, _: list[str]) -> list[str]:
            def all_groups(real: bool) -> None:
                def one(n: str, _: list[str]) -> list[str]:
                    group(m, n, real)
                    return []

                f.loop(0, groups, [], one)

            f.if_(f.let(f"icmp slt i64 {m}, {rows}"), lambda: all_groups(True))
            f.if_(f.let(f"icmp sge i64 {m}, {rows}"), lambda: all_groups(False))
            return []

        f.loop(first, last, [], row)

    return Kernel(1, 3, prepare, units, declarations=_DECLARATIONS)
