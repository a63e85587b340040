"""Following tokens' bytes through grammars' tables as a CPU kernel: one text after the other, each as far as it goes. XLA takes all of them in step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxllama.grammar.automaton import MOST_PUSHES
from jaxllama.grammar.tables import ACCEPTS, LEAST, LIMIT, UNKNOWN
from jaxllama.kernels.call import Operand, Output, call_kernel
from jaxllama.kernels.frame import Buffer, Kernel, Work
from jaxllama.kernels.ir import Function

from .verdicts import FOLLOWED, GOING, LOCAL, MISSING, REFUSED, TOO_DEEP, UNSAFE

_EFFECT = 4 * (4 + MOST_PUSHES)  # bytes of an effect
_TABLES = ("info", "steps", "effects", "text")
_TABLE_AXES = ("S I", "S 256", f"E {4 + MOST_PUSHES}", "X")
_TEXTS = ("starts", "ends", "states", "counters", "depths", "verdicts")


def follow(tables: tuple[jax.Array, ...], slots: tuple[jax.Array, jax.Array], lanes: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Where texts lead.

    Args:
        tables: info int32[S, I], steps int32[S, 256], effects int32[E, 4 + MOST_PUSHES], text uint8[T].
        slots: frames and their counters, int32[B, D].
        lanes: where the U texts of each slot begin and end, and their states, counters, depths and verdicts, int32[B, U]; those that are `GOING` are followed.

    Returns:
        Verdicts, states, counters, depths and added frames, int32[B, U], and those frames and their counters, int32[B, U, LOCAL]. Of texts that were not
        followed only the verdict has a meaning.
    """
    text, frames = tables[3], slots[0]
    starts, ends, states, counts, depths, verdicts = lanes
    within = jnp.clip(starts, 0, text.shape[0]), jnp.clip(ends, 0, text.shape[0]), states, counts, jnp.clip(depths, 0, frames.shape[1]), verdicts
    operands = [
        *(Operand(name, x, axes, jnp.uint8 if name == "text" else jnp.int32) for name, x, axes in zip(_TABLES, tables, _TABLE_AXES, strict=True)),
        *(Operand(name, x, "B D", jnp.int32) for name, x in zip(("frames", "frames' counters"), slots, strict=True)),
        *(Operand(name, x, "B U", jnp.int32) for name, x in zip(_TEXTS, within, strict=True)),
    ]
    outputs = [*[Output("B U", jnp.int32)] * 5, *[Output(f"B U {LOCAL}", jnp.int32)] * 2]
    return tuple(call_kernel("jaxllama_follow", lambda _: kernel(), operands, outputs))


def kernel() -> Kernel:
    """The kernel; operands and results as in `follow`. A unit is a text."""

    def prepare(f: Function, operands: list[Buffer], results: list[Buffer]) -> Work:
        lanes = operands[6]
        slots, each = lanes.dim(0), lanes.dim(1)
        pointers = [*(o.data() for o in operands), *(r.data() for r in results)]
        units = f.mul(slots, each)
        sizes = [each, *(operands[0].dim(axis) for axis in (0, 1)), operands[2].dim(0), operands[4].dim(1)]
        return Work(units, f.mul(units, 64), [*(("i64", s) for s in sizes), *(("ptr", p) for p in pointers)])

    def units(f: Function, first: str, last: str, values: list[str]) -> None:
        each, most_states, columns, most_effects, deepest, info, steps, effects, text, base_frames, base_counts, *rest = values
        starts, ends, states, counts, depths, verdicts = rest[:6]
        out_verdict, out_state, out_count, out_depth, out_added, out_frames, out_counts = rest[6:]
        at, end, state, count, depth, added, verdict = (f.let("alloca i64") for _ in range(7))

        def get(variable: str) -> str:
            return f.load("i64", variable, 0, 8)

        def put(variable: str, value: str | int) -> None:
            f.store("i64", value, variable, 0, 8)

        def ints(pointer: str, index: str) -> str:
            return f.load_int(pointer, f.mul(index, 4))

        def narrow(value: str, pointer: str, index: str) -> None:
            f.store("i32", f.let(f"trunc i64 {value} to i32"), pointer, f.mul(index, 4), 4)

        def test(kind: str, a: str, b: str | int) -> str:
            return f.let(f"icmp {kind} i64 {a}, {b}")

        def within(index: str, size: str | int) -> str:
            """An index from a table, which is not trusted: no table may lead outside another."""
            return f.greater(f.lesser(index, f.add(size, -1)), "0")

        def both(a: str, b: str) -> str:
            return f.let(f"and i1 {a}, {b}")

        def opposite(a: str) -> str:
            return f.let(f"xor i1 {a}, true")

        def unit(u: str, _: list[str]) -> list[str]:
            slot = f.div(u, each)
            local, base = f.mul(u, LOCAL), f.mul(slot, deepest)

            def step() -> None:
                here = within(get(state), most_states)
                byte = f.let(f"zext i8 {f.load('i8', text, get(at))} to i64")
                code = ints(steps, f.add(f.mul(here, 256), byte))
                unknown = test("eq", code, UNKNOWN)
                f.if_(unknown, lambda: put(verdict, MISSING))
                f.if_(opposite(unknown), lambda: known(here, code))

            def known(here: str, code: str) -> None:
                size = f.let(f"select i1 {test('slt', code, 0)}, i64 {f.sub(0, code)}, i64 {code}")
                effect, numbers = f.at(effects, f.mul(within(size, most_effects), _EFFECT)), f.at(info, f.mul(f.mul(here, columns), 4))
                room = f.let(f"or i1 {test('eq', f.load_int(effect, 8), 0)}, {test('slt', get(count), f.load_int(numbers, 4 * LIMIT))}")
                takes = both(test("ne", code, 0), room)
                beneath = test("sgt", f.add(get(added), get(depth)), 0)
                unsafe = both(takes, both(test("slt", code, 0), beneath))
                pushes = within(f.load_int(effect, 12), MOST_PUSHES + 1)
                deep = both(takes, test("sgt", f.add(get(added), pushes), LOCAL))
                ended = both(test("sgt", f.load_int(numbers, 4 * ACCEPTS), 0), test("sge", get(count), f.load_int(numbers, 4 * LEAST)))
                leaves = both(opposite(takes), both(ended, beneath))
                f.if_(both(opposite(takes), opposite(leaves)), lambda: put(verdict, REFUSED))
                f.if_(deep, lambda: put(verdict, TOO_DEEP))
                f.if_(unsafe, lambda: put(verdict, UNSAFE))
                good = both(takes, both(opposite(unsafe), opposite(deep)))
                f.if_(good, lambda: take(effect, pushes))
                f.if_(leaves, leave)

            def take(effect: str, pushes: str) -> None:
                counted = f.add(get(count), f.load_int(effect, 4))
                before = get(added)

                def push() -> None:
                    def one(n: str, _: list[str]) -> list[str]:
                        place = f.add(local, f.add(before, n))
                        narrow(f.load_int(effect, f.add(f.mul(n, 4), 16)), out_frames, place)
                        narrow(f.let(f"select i1 {test('eq', n, 0)}, i64 {counted}, i64 0"), out_counts, place)
                        return []

                    f.loop(0, pushes, [], one)

                some = test("sgt", pushes, 0)
                f.if_(some, push)
                put(added, f.add(before, pushes))
                put(state, f.load_int(effect, 0))
                put(count, f.let(f"select i1 {some}, i64 0, i64 {counted}"))
                following = f.add(get(at), 1)
                put(at, following)
                f.if_(test("sge", following, get(end)), lambda: put(verdict, FOLLOWED))

            def leave() -> None:
                own = test("sgt", get(added), 0)
                f.if_(own, lambda: put(added, f.sub(get(added), 1)))
                f.if_(opposite(own), lambda: put(depth, f.sub(get(depth), 1)))
                place = f.let(f"select i1 {own}, i64 {f.add(local, get(added))}, i64 {f.add(base, get(depth))}")
                frames = f.let(f"select i1 {own}, ptr {out_frames}, ptr {base_frames}")
                kept = f.let(f"select i1 {own}, ptr {out_counts}, ptr {base_counts}")
                frame = ints(frames, place)
                put(state, f.let(f"ashr i64 {frame}, 1"))
                put(count, f.add(ints(kept, place), f.let(f"and i64 {frame}, 1")))

            for variable, source in ((at, starts), (end, ends), (state, states), (count, counts), (depth, depths), (verdict, verdicts)):
                put(variable, ints(source, u))
            put(added, 0)
            going = test("eq", get(verdict), GOING)
            f.if_(both(going, test("sge", get(at), get(end))), lambda: put(verdict, FOLLOWED))
            f.while_(lambda: test("eq", get(verdict), GOING), step)
            for variable, out in ((verdict, out_verdict), (state, out_state), (count, out_count), (depth, out_depth), (added, out_added)):
                narrow(get(variable), out, u)
            return []

        f.loop(first, last, [], unit)

    return Kernel(12, 7, prepare, units)
