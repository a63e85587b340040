"""Attention on CPU as a kernel assembled at run time: reads the used part of the cache once for all queries that share a key/value head.

The same arithmetic as `attention.attend_plain`, which is its oracle and its fallback: scores in float32, a softmax accumulated block by block.

A unit is a chunk of the rows (queries, all heads that share a key/value head) of one slot and one key/value head, and where there are few heads one of several
stretches of the cache, whose results the caller puts together. For a block of positions and up to four rows: dot products, sixteen positions to a vector; their
exponentials, kept on the stack; and the sum of the values with those weights.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxllama.environment import thread_count
from jaxllama.kernels.assemble import kernels_run
from jaxllama.kernels.call import Operand, Output, call_kernel, index_operand
from jaxllama.kernels.frame import Buffer, Kernel, Work
from jaxllama.kernels.ir import Function
from jaxllama.kernels.vectors import DECLARATIONS, MASK, V32, VF, Vectors, constant, number

POSITIONS = 32  # of the cache at a time: their keys, values and scores stay in the first-level cache
TILE = 4  # rows at a time: a key is converted once for all of them
TOGETHER = 4  # positions at a time: a query's numbers are loaded once for all of them
CHUNK = 64  # rows of a unit
MASKED = -1e30  # finite, so that a block without a visible position gives 0 and not NaN
_TYPES = {"float32": ("float", 4), "float16": ("half", 2), "bfloat16": ("bfloat", 2)}


def available(head: int, dtype: jnp.dtype) -> bool:
    """Whether a kernel for heads of this size and this type of cache can run here."""
    return kernels_run() and head % 16 == 0 and head <= 512 and jnp.dtype(dtype).name in _TYPES


def attend(
    q: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    layer: jax.Array,
    positions: jax.Array,
    *,
    window: jax.Array,
    scale: float,
    softcap: float = 0.0,
    sinks: jax.Array | None = None,
) -> jax.Array:
    """See `attention.attend`."""
    slots, length, heads, head = q.shape
    kv_heads, capacity = keys.shape[2:4]
    if heads % kv_heads or capacity % POSITIONS or length > capacity:
        raise ValueError(
            f"attention: {heads} query heads must be a multiple of {kv_heads} key/value heads, the cache's {capacity} positions one of {POSITIONS}, "
            f"and {length} new positions must fit them"
        )
    rows = length * heads // kv_heads
    chunk = min(rows, CHUNK)
    # The number of stretches must not depend on the slots: a slot's text would depend on its company through rounding.
    stretches = max(1, -(-2 * thread_count() // kv_heads)) if rows <= CHUNK else 1
    tile = min(rows, TILE)
    name = f"jaxllama_attention_{head}_{keys.dtype.name}_{chunk}_{tile}_{stretches}_{number(softcap)}"
    partials = slots * kv_heads * chunk * stretches * state_size(head) if stretches > 1 else 1
    operands = [
        Operand("q", q.astype(jnp.float32) * scale, "B T N H", jnp.float32),
        Operand("keys", keys, "L B K S H", keys.dtype),
        Operand("values", values, "L B K S H", keys.dtype),
        index_operand("layer", layer, keys.shape[0]),
        Operand("positions", jnp.clip(positions, 0, capacity - length), "B", jnp.int32),
        Operand("window", jnp.asarray(window, jnp.int32), "", jnp.int32),
        Operand("sinks", sinks_or_none(sinks, heads), "N", jnp.float32),
    ]
    outputs = [Output("B T N H", jnp.float32), Output(str(partials), jnp.float32)]
    return call_kernel(name, lambda _: kernel(head, keys.dtype.name, chunk, tile, stretches, softcap), operands, outputs)[0]


def sinks_or_none(sinks: jax.Array | None, heads: int) -> jax.Array:
    """The sinks f32[N]; where there are none, scores so low that they add nothing."""
    return jnp.full(heads, MASKED, jnp.float32) if sinks is None else sinks


def state_size(head: int) -> int:
    """Floats that a row carries from block to block: the sum of weighted values, 16 partial sums of weights, and the highest score 16 times."""
    return head + 32


def kernel(head: int, dtype: str, chunk: int, tile: int, stretches: int, softcap: float) -> Kernel:
    """The kernel for heads of `head` numbers and caches of a type.

    Args:
        chunk: rows of a unit.
        tile: rows that pass a block of positions together.
        stretches: how many units share the positions of a chunk.
        softcap: of the scores; 0 for none.

    Operands: q f32[B, T, N, H], scaled; keys and values [L, B, K, S, H]; s32[], the layer; s32[B], positions; s32[], the window;
    f32[N], the sinks. Results: f32[B, T, N, H], and
    with several stretches room for what each has found, f32[units * chunk * state_size(head)].
    """
    element, size = _TYPES[dtype]

    def prepare(f: Function, operands: list[Buffer], results: list[Buffer]) -> Work:
        q, keys, values, layer, positions, window, sinks = operands
        slots, length, heads = (q.dim(axis) for axis in range(3))
        kv_heads, capacity = keys.dim(2), keys.dim(3)
        groups = f.div(heads, kv_heads)
        rows = f.mul(length, groups)
        chunks = f.div(f.add(rows, chunk - 1), chunk)
        per_head = f.mul(capacity, head * size)
        start = f.mul(f.mul(f.load_int(layer.data()), slots), f.mul(kv_heads, per_head))
        at = positions.data()

        def held(slot: str, total: list[str]) -> list[str]:
            here = f.load_int(at, f.mul(slot, 4))
            return [f.add(total[0], f.add(here, length))]

        (tokens,) = f.loop(0, slots, [("i64", "0")], held)
        nbytes = f.mul(f.mul(tokens, chunks), f.mul(kv_heads, 2 * head * size))
        units = f.mul(f.mul(f.mul(slots, kv_heads), chunks), stretches)
        pointers = [q.data(), f.at(keys.data(), start), f.at(values.data(), start), at, window.data(), sinks.data(), results[0].data(), results[1].data()]
        sizes = [length, heads, kv_heads, capacity, groups, rows, chunks, units]
        return Work(units, nbytes, [*(("i64", s) for s in sizes), *(("ptr", p) for p in pointers)])

    def units(f: Function, first: str, last: str, given: list[str]) -> None:
        unit = _Unit(f, given, head, element, size, chunk, tile, stretches, softcap)
        f.loop(first, last, [], lambda u, _: unit.run(u))

    def finish(f: Function, given: list[str]) -> None:
        _Rows(f, given, head, chunk, stretches).put_together()

    return Kernel(7, 2, prepare, units, finish if stretches > 1 else None, DECLARATIONS)


class _Rows:
    """Where the rows of a unit are: the part that computing and putting together share."""

    def __init__(self, f: Function, given: list[str], head: int, chunk: int, stretches: int):
        self.f, self.v = f, Vectors(f)
        self.head, self.chunk, self.stretches = head, chunk, stretches
        self.length, self.heads, self.kv_heads, self.capacity, self.groups, self.rows, self.chunks, self.units = given[:8]
        self.q, self.keys, self.values, self.positions, self.window, self.sinks, self.out, self.partials = given[8:]

    def place(self, unit: str) -> tuple[str, str, str, str]:
        """(slot, key/value head, chunk, stretch) of a unit."""
        f = self.f
        rest, stretch = f.divmod(unit, self.stretches)
        rest, chunk = f.divmod(rest, self.chunks)
        slot, kv_head = f.divmod(rest, self.kv_heads)
        return slot, kv_head, chunk, stretch

    def row(self, slot: str, kv_head: str, number: str) -> tuple[str, str]:
        """(position after the slot's, offset in bytes of its numbers in q and in the result) of a row; rows beyond the last are the last once more."""
        f = self.f
        number = f.lesser(number, f.add(self.rows, -1))
        t, g = f.divmod(number, self.groups)
        head = f.add(f.mul(f.add(f.mul(slot, self.length), t), self.heads), f.add(f.mul(kv_head, self.groups), g))
        return t, f.mul(head, 4 * self.head)

    def used(self, chunk: str) -> str:
        """How many rows a chunk has."""
        return self.f.lesser(self.f.sub(self.rows, self.f.mul(chunk, self.chunk)), str(self.chunk))

    def put_together(self) -> None:
        """For every row: the partial results of all stretches, faded to the highest score of all, added and divided."""
        f, v = self.f, self.v
        size, stretch_size = 4 * state_size(self.head), 4 * state_size(self.head) * self.chunk

        def group(number: str, _carried: list[str]) -> list[str]:
            first = f.mul(number, self.stretches)
            slot, kv_head, chunk, _ = self.place(first)
            start = f.at(self.partials, f.mul(first, stretch_size))

            def row(i: str, _carried: list[str]) -> list[str]:
                states = [f.at(start, f.add(s * stretch_size, f.mul(i, size))) for s in range(self.stretches)]
                peaks = [f.load(VF, s, 4 * (self.head + 16), 4) for s in states]
                highest = peaks[0]
                for peak in peaks[1:]:
                    highest = v.maximum(highest, peak)
                fades = [v.exp(v.sub(peak, highest)) for peak in peaks]

                def total(offset: int) -> str:
                    found = constant(0.0)
                    for state, fade in zip(states, fades, strict=True):
                        found = v.fma(f.load(VF, state, offset, 4), fade, found)
                    return found

                weight = v.sum(total(4 * self.head))
                _, offset = self.row(slot, kv_head, f.add(f.mul(chunk, self.chunk), i))
                for h in range(0, 4 * self.head, 64):
                    f.store(VF, v.div(total(h), weight), f.at(self.out, offset), h, 4)
                return []

            f.loop(0, self.used(chunk), [], row)
            return []

        f.loop(0, f.div(self.units, self.stretches), [], group)


class _Unit(_Rows):
    """The computation of one unit."""

    def __init__(self, f: Function, given: list[str], head: int, element: str, size: int, chunk: int, tile: int, stretches: int, softcap: float):
        super().__init__(f, given, head, chunk, stretches)
        self.element, self.size, self.tile, self.softcap = element, size, tile, softcap
        self.ahead = chunk <= 4 * tile
        self.state = f.let(f"alloca [{chunk + tile} x [{state_size(head)} x float]], align 64")
        self.weights = f.let(f"alloca [{tile} x [{POSITIONS} x float]], align 64")

    def run(self, unit: str) -> list[str]:
        f = self.f
        slot, kv_head, chunk, stretch = self.place(unit)
        self.slot, self.kv_head = slot, kv_head
        cache = f.mul(f.add(f.mul(slot, self.kv_heads), kv_head), f.mul(self.capacity, self.head * self.size))
        keys, values = f.at(self.keys, cache), f.at(self.values, cache)
        self.here = here = f.load_int(self.positions, f.mul(slot, 4))
        self.window_size = window = f.load_int(self.window)
        count = self.used(chunk)
        first_row = f.mul(chunk, self.chunk)
        earliest, _ = self.row(slot, kv_head, first_row)
        latest, _ = self.row(slot, kv_head, f.add(f.add(first_row, count), -1))
        visible = f.sub(f.add(f.add(here, earliest), 1), window)
        start = f.div(f.greater(visible, "0"), POSITIONS)
        filled = f.add(f.add(here, latest), 1)
        stop = f.lesser(f.div(f.add(filled, POSITIONS - 1), POSITIONS), f.div(self.capacity, POSITIONS))
        if self.stretches > 1:
            blocks = f.sub(stop, start)
            start, stop = (f.add(start, f.div(f.mul(blocks, s), self.stretches)) for s in (stretch, f.add(stretch, 1)))
        tiles = f.div(f.add(count, self.tile - 1), self.tile)
        f.loop(0, f.mul(tiles, self.tile), [], lambda i, _: self._clear(i, f.add(first_row, i), stretch))

        def block(b: str, _: list[str]) -> list[str]:
            at = f.mul(b, POSITIONS)
            some = f.lesser(f.sub(filled, at), str(POSITIONS))
            skip = f.mul(at, self.head * self.size)

            def tile(i: str, _: list[str]) -> list[str]:
                number = f.mul(i, self.tile)
                self._tile(f.add(first_row, number), number, at, some, f.at(keys, skip), f.at(values, skip))
                return []

            return f.loop(0, tiles, [], tile)

        f.if_(f.let(f"icmp slt i64 {start}, {stop}"), lambda: f.loop(start, stop, [], block))
        if self.stretches > 1:
            nbytes = 4 * self.chunk * state_size(self.head)
            target = f.at(self.partials, f.mul(unit, nbytes))
            f.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {self.state}, i64 {nbytes}, i1 false)")
        else:
            f.loop(0, count, [], lambda i, _: self._write(first_row, i))
        return []

    def _clear(self, i: str, row: str, stretch: str) -> list[str]:
        """Begin row `i` of the unit: nothing but its head's sink, of weight one, in the first stretch."""
        f, state = self.f, self._state_at(i)
        for h in range(0, self.head, 16):
            f.store(VF, constant(0.0), state, 4 * h, 4)
        _, offset = self.row(self.slot, self.kv_head, row)
        head = f.let(f"srem i64 {f.div(offset, 4 * self.head)}, {self.heads}")
        first = f.let(f"icmp eq i64 {stretch}, 0")
        sink = f.let(f"select i1 {first}, float {f.load('float', self.sinks, f.mul(head, 4), 4)}, float {number(MASKED)}")
        weight = f.let(f"select i1 {first}, float 1.0, float 0.0")
        f.store(VF, f.let(f"insertelement {VF} zeroinitializer, float {weight}, i64 0"), state, 4 * self.head, 4)
        f.store(VF, self.v.splat(sink), state, 4 * (self.head + 16), 4)
        return []

    def _state_at(self, row: str) -> str:
        return self.f.at(self.state, self.f.mul(row, 4 * state_size(self.head)))

    def _write(self, first_row: str, i: str) -> list[str]:
        f, v, state = self.f, self.v, self._state_at(i)
        weight = v.sum(f.load(VF, state, 4 * self.head, 4))
        _, offset = self.row(self.slot, self.kv_head, f.add(first_row, i))
        for h in range(0, 4 * self.head, 64):
            f.store(VF, v.div(f.load(VF, state, h, 4), weight), f.at(self.out, offset), h, 4)
        return []

    def _tile(self, row: str, i: str, at: str, some: str, keys: str, values: str) -> None:
        """One block of positions from `at` on, of which `some` are filled, for the rows from `row` on, number i of the unit."""
        f, v = self.f, self.v
        rows = [self.row(self.slot, self.kv_head, f.add(row, m)) for m in range(self.tile)]
        self._scores([f.at(self.q, offset) for _, offset in rows], keys, values)
        states = [self._state_at(f.add(i, m)) for m in range(self.tile)]
        fades = [self._softmax(m, state, f.add(self.here, t), at) for m, ((t, _), state) in enumerate(zip(rows, states, strict=True))]
        width = 4  # vectors of a head at a time: their sums for all rows stay in registers
        for h in range(0, self.head // 16, width):
            part = range(h, min(h + width, self.head // 16))
            sums = [("<16 x float>", v.mul(f.load(VF, state, 64 * n, 4), fade)) for state, fade in zip(states, fades, strict=True) for n in part]

            def position(p: str, sums: list[str], part: range = part) -> list[str]:
                place = f.at(values, f.mul(p, self.head * self.size))
                if self.ahead:
                    for n in part:
                        if n * 16 * self.size % 64 == 0:
                            f.prefetch(f.at(keys, f.mul(f.add(p, POSITIONS), self.head * self.size)), 16 * self.size * n)
                value = [v.load(self.element, place, 16 * self.size * n) for n in part]
                weights = [v.splat(f.load("float", f.at(self.weights, 4 * POSITIONS * m), f.mul(p, 4), 4)) for m in range(self.tile)]
                return [v.fma(weights[j // len(part)], value[j % len(part)], total) for j, total in enumerate(sums)]

            found = f.loop(0, some, sums, position)
            for j, total in enumerate(found):
                f.store(VF, total, states[j // len(part)], 64 * part[j % len(part)], 4)

    def _scores(self, queries: list[str], keys: str, values: str) -> None:
        """Dot products of all rows of the tile with the block's keys, into `weights`."""
        f, v = self.f, self.v

        def sixteen(j: str, _: list[str]) -> list[str]:
            start = f.at(keys, f.mul(j, 16 * self.head * self.size))
            ahead = f.at(values, f.mul(j, 16 * self.head * self.size))

            def products(places: list[int]) -> list[list[str]]:
                totals = [[constant(0.0)] * self.tile for _ in places]
                for n in range(self.head // 16):
                    offsets = [(p * self.head + 16 * n) * self.size for p in places]
                    some = [v.load(self.element, start, offset) for offset in offsets]
                    for offset in offsets:
                        if self.ahead and offset % 64 == 0:
                            f.prefetch(ahead, offset)
                    for m, query in enumerate(queries):
                        x = f.load(VF, query, 64 * n, 4)
                        for key, total in zip(some, totals, strict=True):
                            total[m] = v.fma(key, x, total[m])
                return totals

            for m, scores in enumerate(v.sums(products, TOGETHER)):
                f.store(VF, scores, f.at(self.weights, 4 * POSITIONS * m), f.mul(j, 64), 4)
            return []

        f.loop(0, POSITIONS // 16, [], sixteen)

    def _softmax(self, m: int, state: str, position: str, at: str) -> str:
        """Turn row m's scores into weights, bring its sum of weights and its highest score up to date; returns what earlier sums fade by."""
        f, v = self.f, self.v
        places = f.at(self.weights, 4 * POSITIONS * m)
        newest = f.sub(position, at)
        gone = f.sub(newest, self.window_size)  # the newest position that the window has left behind
        newest, gone = (f.splat("i32", 16, f.let(f"trunc i64 {x} to i32")) for x in (newest, gone))
        peak = f.load(VF, state, 4 * (self.head + 16), 4)
        scores, masks, best = [], [], peak
        for j in range(POSITIONS // 16):
            score = f.load(VF, places, 64 * j, 4)
            if self.softcap:
                score = v.mul(v.tanh(v.mul(score, constant(1 / self.softcap))), constant(self.softcap))
            here = "<" + ", ".join(f"i32 {16 * j + n}" for n in range(16)) + ">"
            early = f.let(f"icmp sle {V32} {here}, {newest}")
            late = f.let(f"icmp sgt {V32} {here}, {gone}")
            masks.append(f.let(f"and {MASK} {early}, {late}"))
            scores.append(v.select(masks[-1], score, constant(MASKED)))
            best = v.maximum(best, scores[-1])
        best = v.highest(best)
        fade = v.exp(v.sub(peak, best))
        total = v.mul(f.load(VF, state, 4 * self.head, 4), fade)
        for j, (score, mask) in enumerate(zip(scores, masks, strict=True)):
            weight = v.select(mask, v.exp(v.sub(score, best)), constant(0.0))
            f.store(VF, weight, places, 64 * j, 4)
            total = v.add(total, weight)
        f.store(VF, total, state, 4 * self.head, 4)
        f.store(VF, best, state, 4 * (self.head + 16), 4)
        return fade
