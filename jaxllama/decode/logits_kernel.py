"""The most likely token and the sum of all exponentials in one pass over the logits, on all cores; XLA takes several passes on one.

A unit is a stretch of one slot's logits. What the units find is put together by a few operations on small arrays.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxllama.kernels.call import Operand, Output, call_kernel
from jaxllama.kernels.frame import Buffer, Kernel, Work
from jaxllama.kernels.ir import Function
from jaxllama.kernels.vectors import DECLARATIONS, MASK, V32, VF, Vectors, constant

STRETCH = 4096  # logits of a unit: they stay in the first-level cache
_LOWEST = -3.0e38  # below every logit, and finite: differences of two remain numbers

_DECLARATIONS = f"""{DECLARATIONS}
declare {VF} @llvm.masked.load.v16f32.p0(ptr, i32, {MASK}, {VF})
declare <16 x i8> @llvm.masked.load.v16i8.p0(ptr, i32, {MASK}, <16 x i8>)
declare i32 @llvm.vector.reduce.smin.v16i32({V32})
"""


def best_and_total(logits: jax.Array, forbidden: jax.Array, strict: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first index of the largest allowed logit, int32[B], and log(sum(exp(logits))), f32[B]: NaN where a logit is NaN or infinite.

    Args:
        logits: f32[B, V].
        forbidden: bool[V], tokens that slots with `strict` bool[B] may not choose; they count in the sum all the same.
    """
    stretches = -(-logits.shape[-1] // STRETCH)
    operands = [
        Operand("logits", logits, "B V", jnp.float32),
        Operand("forbidden", forbidden.astype(jnp.int8), "V", jnp.int8),
        Operand("strict", strict.astype(jnp.int32), "B", jnp.int32),
    ]
    outputs = [Output(f"B {stretches}", dtype) for dtype in (jnp.float32, jnp.int32, jnp.float32, jnp.float32)]
    best, place, highest, total = call_kernel("jaxllama_logits", lambda _: kernel(), operands, outputs)
    token = jnp.take_along_axis(place, best.argmax(-1)[:, None], axis=1)[:, 0]
    peak = highest.max(-1)
    return token, peak + jnp.log((total * jnp.exp(highest - peak[:, None])).sum(-1))


def kernel() -> Kernel:
    """The kernel.

    Operands: logits f32[B, V], forbidden s8[V], strict s32[B]. Results, one a stretch: the largest allowed logit, its index, the largest logit of all, and the
    sum of exponentials of differences to that.
    """

    def prepare(f: Function, operands: list[Buffer], results: list[Buffer]) -> Work:
        logits, stretches = operands[0], results[0].dim(1)
        slots, size = logits.dim(0), logits.dim(1)
        pointers = [*(o.data() for o in operands), *(r.data() for r in results)]
        return Work(f.mul(slots, stretches), f.mul(f.mul(slots, size), 4), [("i64", size), ("i64", stretches), *(("ptr", p) for p in pointers)])

    def units(f: Function, first: str, last: str, values: list[str]) -> None:
        size, stretches, logits, forbidden, strict, best_out, place_out, highest_out, total_out = values
        v = Vectors(f)
        lanes = "<" + ", ".join(f"i32 {i}" for i in range(16)) + ">"

        def unit(u: str, _: list[str]) -> list[str]:
            slot, stretch = f.divmod(u, stretches)
            start = f.mul(stretch, STRETCH)
            end = f.lesser(f.add(start, STRETCH), size)
            row = f.at(logits, f.mul(f.mul(slot, size), 4))
            ban = f.splat("i32", 16, f.load("i32", strict, f.mul(slot, 4), 4))
            count = f.div(f.add(f.sub(end, start), 15), 16)
            limit = f.splat("i32", 16, f.let(f"trunc i64 {end} to i32"))

            def read(n: str) -> tuple[str, str, str]:
                """(logits, those that do not exist being the lowest; their indices; which exist)."""
                at = f.add(start, f.mul(n, 16))
                index = f.let(f"add {V32} {lanes}, {f.splat('i32', 16, f.let(f'trunc i64 {at} to i32'))}")
                real = f.let(f"icmp slt {V32} {index}, {limit}")
                place = f.at(row, f.mul(at, 4))
                return f.let(f"call {VF} @llvm.masked.load.v16f32.p0(ptr {place}, i32 4, {MASK} {real}, {VF} {constant(_LOWEST)})"), index, real

            def look(n: str, found: list[str]) -> list[str]:
                best, places, highest = found
                x, index, real = read(n)
                marks = f.at(forbidden, f.add(start, f.mul(n, 16)))
                marked = f.let(f"call <16 x i8> @llvm.masked.load.v16i8.p0(ptr {marks}, i32 1, {MASK} {real}, <16 x i8> zeroinitializer)")
                wide = f.let(f"zext <16 x i8> {marked} to {V32}")
                banned = f.let(f"icmp ne {V32} {f.let(f'and {V32} {wide}, {ban}')}, zeroinitializer")
                allowed = v.select(banned, constant(_LOWEST), x)
                more = f.let(f"fcmp ogt {VF} {allowed}, {best}")
                places = f.let(f"select {MASK} {more}, {V32} {index}, {V32} {places}")
                return [v.select(more, allowed, best), places, v.maximum(highest, x)]

            lowest = constant(_LOWEST)
            beginning = f.splat("i32", 16, f.let(f"trunc i64 {start} to i32"))
            best, places, highest = f.loop(0, count, [(VF, lowest), (V32, beginning), (VF, lowest)], look)
            most, peak = v.highest(best), v.highest(highest)
            winners = f.let(f"select {MASK} {f.let(f'fcmp oeq {VF} {best}, {most}')}, {V32} {places}, {V32} {f.splat('i32', 16, str(2**31 - 1))}")

            def add(n: str, total: list[str]) -> list[str]:
                x, _, real = read(n)
                off = v.sub(x, peak)
                no_number = f.let(f"fcmp uno {VF} {off}, {off}")  # `exp` and `maximum` would make numbers of these
                return [v.add(total[0], v.select(real, v.select(no_number, off, v.exp(off)), constant(0.0)))]

            (total,) = f.loop(0, count, [(VF, constant(0.0))], add)
            at = f.mul(u, 4)
            for vector, out in ((most, best_out), (peak, highest_out), (v.sum(total), total_out)):
                f.store("float", f.let(f"extractelement {VF} {vector}, i32 0"), out, at, 4)
            f.store("i32", f.let(f"call i32 @llvm.vector.reduce.smin.v16i32({V32} {winners})"), place_out, at, 4)
            return []

        f.loop(first, last, [], unit)

    return Kernel(3, 4, prepare, units, declarations=_DECLARATIONS)
