"""The few-row product with a matrix of F32, F16 or BF16 numbers, in float32 throughout."""

from __future__ import annotations

from jaxllama.kernels.frame import Buffer, Kernel, Work
from jaxllama.kernels.ir import Function
from jaxllama.kernels.vectors import DECLARATIONS, VF, Vectors, constant

from ..block import LANES

DENSE_FORMATS = {"F32": ("float", 4), "F16": ("half", 2), "BF16": ("bfloat", 2)}  # type in LLVM, bytes
DENSE_BATCH = 4  # rows of activations that pass four rows of weights together: their sums fill the registers


def dense_product(format: str, rows: int) -> Kernel:
    """The product of a dense matrix and batches of `rows` rows of activations. A unit is 16 rows of weights.

    Operands: the stack [S, R, columns]; activations f32[batches, rows, columns]; s32[], the index of the matrix. Columns are a multiple of 16.
    Result f32[batches, rows, units * 16]; where R is no multiple of 16, the last row is computed again to fill it up.
    """
    element, size = DENSE_FORMATS[format]

    def prepare(f: Function, operands: list[Buffer], results: list[Buffer]) -> Work:
        weight, x, index = operands
        height, columns, batches = weight.dim(1), weight.dim(2), x.dim(0)
        nbytes = f.mul(f.mul(height, columns), size)
        start = f.mul(f.load_int(index.data()), nbytes)
        units = f.div(f.add(height, LANES - 1), LANES)
        sizes = [("i64", s) for s in (height, columns, batches, units)]
        return Work(units, f.mul(nbytes, batches), [*sizes, ("ptr", f.at(weight.data(), start)), ("ptr", x.data()), ("ptr", results[0].data())])

    def units(f: Function, first: str, last: str, values: list[str]) -> None:
        height, columns, batches, count, weight, x, out = values
        v = Vectors(f)
        steps = f.div(columns, 16)
        final = f.add(height, -1)

        def unit(u: str, _: list[str]) -> list[str]:
            start = f.mul(u, LANES)

            def batch(b: str, _: list[str]) -> list[str]:
                inputs = [f.at(x, f.mul(f.add(f.mul(b, rows), m), f.mul(columns, 4))) for m in range(rows)]

                def products(places: list[int]) -> list[list[str]]:
                    wanted = [f.add(start, p) for p in places]
                    wanted = [f.lesser(w, final) for w in wanted]
                    pointers = [f.at(weight, f.mul(f.mul(w, columns), size)) for w in wanted]

                    def step(n: str, totals: list[str]) -> list[str]:
                        here = f.mul(n, 16)
                        numbers = [v.load(element, p, f.mul(here, size)) for p in pointers]
                        some = [f.load(VF, i, f.mul(here, 4), 4) for i in inputs]
                        return [v.fma(numbers[i // rows], some[i % rows], total) for i, total in enumerate(totals)]

                    found = f.loop(0, steps, [(VF, constant(0.0))] * (len(places) * rows), step)
                    return [found[i * rows : (i + 1) * rows] for i in range(len(places))]

                for m, sums in enumerate(v.sums(products, 4)):
                    f.store(VF, sums, out, f.mul(f.add(f.mul(f.add(f.mul(b, rows), m), count), u), 4 * LANES), 4)
                return []

            return f.loop(0, batches, [], batch)

        f.loop(first, last, [], unit)

    return Kernel(3, 1, prepare, units, declarations=DECLARATIONS)
