"""Grammars on the device: which tokens each slot may take next, and where its text stands, as functions of arrays.

The automata are those of `jaxllama.grammar`; see there how they come about. A slot's stack is a fixed number of frames. What a token does is found by following
its bytes, in the same way for the token that was chosen and for those of which a row leaves open whether they are allowed, so that a token is allowed exactly
when it can be taken.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.grammar.automaton import MOST_PUSHES
from jaxllama.grammar.tables import (
    ACCEPTS,
    ALWAYS,
    COUNT,
    FIRST,
    LEAST,
    LIMIT,
    MOST_NEED,
    NEEDS,
    OTHERS,
    ROW,
    SPECIAL,
    SPECIALS,
    UNKNOWN,
    Tables,
)
from jaxllama.kernels.assemble import kernels_run

from .follow_kernel import follow
from .verdicts import FOLLOWED, GOING, LOCAL, MISSING, REFUSED, TOO_DEEP, UNSAFE

DEPTH = 128  # frames a slot can hold
LANES = 128  # listed tokens that are followed together; in a kernel all that there mostly are
_LANES_OF_KERNEL = 512


_BITS = np.arange(32, dtype=np.uint32)[None, None]


class Ready(IntEnum):
    """Whether a slot's mask can be used."""

    YES = 0
    MISSING = 1  # the tables lack something
    UNSAFE = 2  # the automaton cannot tell; one that cuts nothing can
    TOO_DEEP = 3  # the stack is full
    DEAD_END = 4  # nothing is allowed, and the text may not end


@flax.struct.dataclass
class DeviceTables:
    """The arrays of `jaxllama.grammar.tables`, with the vocabulary; a pytree.

    Attributes:
        info, steps, effects, rows, needs, listed, special: see there.
        text: uint8, the texts of all tokens; token t's from `starts[t]` to `starts[t + 1]`.
        ends: uint32[W], the tokens that end a generation.
    """

    info: jax.Array
    steps: jax.Array
    effects: jax.Array
    rows: jax.Array
    needs: jax.Array
    listed: jax.Array
    special: jax.Array
    text: jax.Array
    starts: jax.Array
    ends: jax.Array


@flax.struct.dataclass
class Constraint:
    """Where the texts of B slots stand in their grammars; a pytree. State 0 allows everything.

    Attributes:
        state, count, depth: int32[B].
        frames, counts: int32[B, DEPTH].
        mask: uint32[B, W], a bit for every token that may come next.
        ready: int32[B], a `Ready`: whether the mask is what it should be.
    """

    state: jax.Array
    count: jax.Array
    depth: jax.Array
    frames: jax.Array
    counts: jax.Array
    mask: jax.Array
    ready: jax.Array


@flax.struct.dataclass
class _Lanes:
    """Texts that are followed side by side, U for each slot: int32[B, U] but for the frames that each adds, int32[B, U, LOCAL]."""

    at: jax.Array
    end: jax.Array
    state: jax.Array
    count: jax.Array
    depth: jax.Array
    added: jax.Array
    frames: jax.Array
    counts: jax.Array
    verdict: jax.Array


def empty_tables(tables: Tables) -> DeviceTables:
    """Arrays in which nothing is written yet."""
    arrays = {name: jnp.full(shape, fill, dtype) for name, (shape, dtype, fill) in tables.shapes().items()}
    starts = np.concatenate([tables.trie.starts, np.full(max(tables.size - tables.trie.size, 0), tables.trie.starts[-1])])
    text = np.concatenate([tables.trie.text, np.zeros(1, np.uint8)])
    return DeviceTables(**arrays, text=jnp.asarray(text), starts=jnp.asarray(starts, jnp.int32), ends=jnp.asarray(tables.ends))


def write(tables: DeviceTables, changes: dict[str, tuple[jax.Array, jax.Array]]) -> DeviceTables:
    """The tables with one part of `Tables.changes` written in."""
    return replace(tables, **{name: getattr(tables, name).at[places].set(values, mode="drop") for name, (places, values) in changes.items()})


def unconstrained(slots: int, tables: DeviceTables) -> Constraint:
    """Slots without a grammar."""
    zero, frames = jnp.zeros(slots, jnp.int32), jnp.zeros((slots, DEPTH), jnp.int32)
    return Constraint(zero, zero, zero, frames, frames, jnp.full((slots, tables.rows.shape[1]), 2**32 - 1, jnp.uint32), zero)


def _follow(tables: DeviceTables, constraint: Constraint, lanes: _Lanes) -> _Lanes:
    """Follow the bytes of all lanes to their end, or to where they are refused. Lanes that are going have added nothing yet."""
    if kernels_run():
        arrays = (tables.info, tables.steps, tables.effects, tables.text), (constraint.frames, constraint.counts)
        found = follow(*arrays, (lanes.at, lanes.end, lanes.state, lanes.count, lanes.depth, lanes.verdict))
        names = ("verdict", "state", "count", "depth", "added", "frames", "counts")

        def followed(new: jax.Array, old: jax.Array) -> jax.Array:
            going = lanes.verdict == GOING
            return jnp.where(going if new.ndim == 2 else going[..., None], new, old)

        return replace(lanes, **{name: followed(new, getattr(lanes, name)) for name, new in zip(names, found, strict=True)})
    steps = tables.steps.reshape(-1)
    places = jnp.arange(LOCAL, dtype=jnp.int32)

    def going(lanes: _Lanes) -> jax.Array:
        return (lanes.verdict == GOING).any()

    def move(lanes: _Lanes) -> _Lanes:
        active = (lanes.verdict == GOING) & (lanes.at < lanes.end)
        byte = tables.text[jnp.where(active, lanes.at, 0)].astype(jnp.int32)
        code = steps[lanes.state * 256 + byte]
        effect = tables.effects[jnp.where(code == UNKNOWN, 0, jnp.abs(code))]
        info = tables.info[lanes.state]
        takes = (code != 0) & ((effect[..., 2] == 0) | (lanes.count < info[..., LIMIT]))
        beneath = (lanes.added > 0) | (lanes.depth > 0)
        leaves = ~takes & (info[..., ACCEPTS] > 0) & (lanes.count >= info[..., LEAST]) & beneath

        # Leaving: back to the frame beneath, which this text added or the slot had before.
        own = jnp.maximum(lanes.added - 1, 0)[..., None]
        base = jnp.maximum(lanes.depth - 1, 0)

        def beneath_of(added: jax.Array, before: jax.Array) -> jax.Array:
            mine = jnp.take_along_axis(added, own, axis=-1)[..., 0]
            return jnp.where(lanes.added > 0, mine, jnp.take_along_axis(before, base, axis=-1))

        frame, kept = beneath_of(lanes.frames, constraint.frames), beneath_of(lanes.counts, constraint.counts)

        # Taking the byte.
        pushes = jnp.where(active & takes, effect[..., 3], 0)
        count = lanes.count + effect[..., 1]

        def push(n: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            here = (places[None, None] == (lanes.added + n)[..., None]) & (n < pushes)[..., None]
            value = jnp.take_along_axis(effect, jnp.broadcast_to(4 + n, (*effect.shape[:-1], 1)), axis=-1)
            return jnp.where(here, value, pair[0]), jnp.where(here, jnp.where(n == 0, count, 0)[..., None], pair[1])

        frames, counts = jax.lax.fori_loop(0, pushes.max(), push, (lanes.frames, lanes.counts))
        verdict = jnp.where(takes | leaves, GOING, REFUSED)
        verdict = jnp.where(takes & (lanes.added + pushes > LOCAL), TOO_DEEP, verdict)
        verdict = jnp.where((code < 0) & takes & beneath, UNSAFE, verdict)
        verdict = jnp.where(code == UNKNOWN, MISSING, verdict)
        at = jnp.where(active & takes, lanes.at + 1, lanes.at)
        verdict = jnp.where(active, verdict, lanes.verdict)
        verdict = jnp.where((verdict == GOING) & (at >= lanes.end), FOLLOWED, verdict)
        pop = active & leaves

        def chosen(taken: jax.Array, left: jax.Array, before: jax.Array) -> jax.Array:
            return jnp.where(pop, left, jnp.where(active & takes, taken, before))

        return _Lanes(
            at=at,
            end=lanes.end,
            state=chosen(effect[..., 0], frame >> 1, lanes.state),
            count=chosen(jnp.where(pushes > 0, 0, count), kept + (frame & 1), lanes.count),
            depth=jnp.where(pop & (lanes.added == 0), lanes.depth - 1, lanes.depth),
            added=jnp.where(pop, jnp.maximum(lanes.added - 1, 0), lanes.added + pushes),
            frames=frames,
            counts=counts,
            verdict=verdict,
        )

    return jax.lax.while_loop(going, move, lanes)


def _lanes(constraint: Constraint, at: jax.Array, end: jax.Array, verdict: jax.Array) -> _Lanes:
    """Lanes [B, U] that begin where their slots stand."""

    def spread(x: jax.Array) -> jax.Array:
        return jnp.broadcast_to(x[:, None], at.shape)

    local = jnp.zeros((*at.shape, LOCAL), jnp.int32)
    return _Lanes(at, end, spread(constraint.state), spread(constraint.count), spread(constraint.depth), jnp.zeros_like(at), local, local, verdict)


def _special(tables: DeviceTables, constraint: Constraint, tokens: jax.Array) -> jax.Array:
    """The effects int32[B] of tokens that slots take as such; 0 where there are none."""
    info = tables.info[constraint.state]

    def look(n: jax.Array, found: jax.Array) -> jax.Array:
        entry = tables.special[jnp.minimum(info[:, SPECIAL] + n, tables.special.shape[0] - 1)]
        return jnp.where((n < info[:, SPECIALS]) & (entry[:, 0] == tokens), entry[:, 1], found)

    return jax.lax.fori_loop(0, info[:, SPECIALS].max(), look, info[:, OTHERS])


def advance(tables: DeviceTables, constraint: Constraint, tokens: jax.Array, active: jax.Array) -> Constraint:
    """Take a token in every active slot, and find out which may come after it.

    Args:
        tokens: int32[B], each allowed by its slot's mask, and not one that ends the generation.
        active: bool[B]; other slots stay where they are.
    """
    effect = _special(tables, constraint, tokens)
    start = tables.starts[tokens]
    taken = tables.effects[effect]
    special = active & (effect > 0)
    # A token that is taken as such has its effect's pushes and state, and no bytes.
    end = jnp.where(special | ~active, start, tables.starts[tokens + 1])
    lanes = _lanes(constraint, start[:, None], end[:, None], jnp.where(special | ~active, FOLLOWED, GOING)[:, None])
    pushed = jnp.zeros((tokens.shape[0], LOCAL), jnp.int32).at[:, :MOST_PUSHES].set(taken[:, 4:])
    lanes = replace(
        lanes,
        state=jnp.where(special[:, None], taken[:, :1], lanes.state),
        added=jnp.where(special[:, None], taken[:, 3:4], lanes.added),
        frames=jnp.where(special[:, None, None], pushed[:, None], lanes.frames),
    )
    lanes = _follow(tables, constraint, lanes)
    depth, added = lanes.depth[:, 0], lanes.added[:, 0]
    where = jnp.arange(DEPTH, dtype=jnp.int32)[None] - depth[:, None]
    new = (where >= 0) & (where < added[:, None])
    local = jnp.clip(where, 0, LOCAL - 1)
    moved = replace(
        constraint,
        state=lanes.state[:, 0],
        count=lanes.count[:, 0],
        depth=depth + added,
        frames=jnp.where(new, jnp.take_along_axis(lanes.frames[:, 0], local, axis=1), constraint.frames),
        counts=jnp.where(new, jnp.take_along_axis(lanes.counts[:, 0], local, axis=1), constraint.counts),
    )
    verdict = jnp.where(depth + added > DEPTH, TOO_DEEP, lanes.verdict[:, 0])
    return refresh(tables, moved, verdict)


def _may_end(tables: DeviceTables, constraint: Constraint) -> jax.Array:
    """bool[B], whether each text may end."""
    info = tables.info[constraint.state]
    top = (info[:, ACCEPTS] > 0) & (constraint.count >= info[:, LEAST])
    beneath = tables.info[constraint.frames >> 1]
    ends = (beneath[..., ACCEPTS] > 0) & (constraint.counts + (constraint.frames & 1) >= beneath[..., LEAST])
    return top & (ends | (jnp.arange(DEPTH)[None] >= constraint.depth[:, None])).all(-1)


def refresh(tables: DeviceTables, constraint: Constraint, verdict: jax.Array | None = None) -> Constraint:
    """The same places with their masks found anew. `verdict`: how the last token fared, if one was taken."""
    slots = constraint.state.shape[0]
    info = tables.info[constraint.state]
    missing = info[:, ROW] < 0
    words = tables.rows[jnp.maximum(info[:, ROW], 0)]
    room = info[:, LIMIT] - constraint.count
    short = info[:, MOST_NEED] > room

    def fitting() -> jax.Array:
        fits = tables.needs[info[:, NEEDS]].astype(jnp.int32) <= room[:, None]
        packed = (fits.reshape(slots, -1, 32).astype(jnp.uint32) << _BITS).sum(-1, dtype=jnp.uint32)
        return jnp.where(short[:, None], words & packed, words)

    words = jax.lax.cond(short.any(), fitting, lambda: words)
    listed = jnp.where(missing, 0, info[:, COUNT])

    lanes_at_once = _LANES_OF_KERNEL if kernels_run() else LANES

    def look(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        first, words, worst = carry
        number = first + jnp.arange(lanes_at_once, dtype=jnp.int32)[None]
        real = number < listed[:, None]
        entry = tables.listed[jnp.where(real, info[:, FIRST][:, None] + number, 0)]
        token, offset, items = entry[..., 0], entry[..., 1], entry[..., 2]
        count = constraint.count[:, None] + items
        leaves = offset >= 0
        fits = (count <= info[:, LIMIT][:, None]) & (~leaves | ((count >= info[:, LEAST][:, None]) & (constraint.depth > 0)[:, None]))
        start = tables.starts[token]
        going = jnp.where(offset == ALWAYS, FOLLOWED, GOING)
        lanes = _lanes(constraint, start + jnp.maximum(offset, 0), tables.starts[token + 1], jnp.where(real & fits, going, REFUSED))
        below = jnp.maximum(constraint.depth - 1, 0)[:, None]
        frame, kept = (jnp.take_along_axis(x, below, axis=1) for x in (constraint.frames, constraint.counts))
        lanes = replace(
            lanes,
            state=jnp.where(leaves, frame >> 1, lanes.state),
            count=jnp.where(leaves, kept + (frame & 1), lanes.count),
            depth=jnp.where(leaves, lanes.depth - 1, lanes.depth),
        )
        verdict = _follow(tables, constraint, lanes).verdict
        bit = jnp.where(verdict == FOLLOWED, jnp.uint32(1) << (token & 31).astype(jnp.uint32), jnp.uint32(0))
        row = jnp.arange(slots)[:, None]
        return first + lanes_at_once, words.at[row, token >> 5].add(bit), jnp.maximum(worst, jnp.where(verdict > REFUSED, verdict, 0).max(-1))

    _, words, worst = jax.lax.while_loop(lambda c: c[0] < listed.max(), look, (jnp.int32(0), words, jnp.zeros(slots, jnp.int32)))
    words = jnp.where(_may_end(tables, constraint)[:, None], words | tables.ends[None], words)
    if verdict is not None:
        worst = jnp.maximum(worst, verdict)
    ready = jnp.where(worst > REFUSED, worst - MISSING + Ready.MISSING, Ready.YES)
    ready = jnp.where(missing & (ready == Ready.YES), Ready.MISSING, ready)
    ready = jnp.where((ready == Ready.YES) & ~(words != 0).any(-1), Ready.DEAD_END, ready)
    return replace(constraint, mask=words, ready=ready)


def masked(logits: jax.Array, constraint: Constraint) -> jax.Array:
    """Logits f32[B, V] with -inf for tokens that are not allowed."""
    slots, size = logits.shape
    bits = (constraint.mask[:, :, None] >> _BITS) & 1
    return jnp.where(bits.reshape(slots, -1)[:, :size] > 0, logits, -jnp.inf)


jit_write = jax.jit(write, donate_argnames=("tables",))
jit_refresh = jax.jit(refresh)
