"""The decode loop: several tokens a dispatch, with sampling and the tests for stopping on the device."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum

import flax.struct
import jax
import jax.numpy as jnp

from jaxllama.models import Config, DecodeState, Params

from .chain import REPORTED, Choice, sample
from .constraint import Constraint, DeviceTables, Ready, advance
from .history import History, remember
from .sampling import Sampling
from .shapes import LOOP_TOKENS
from .step import step
from .words import Words


class Stop(IntEnum):
    """Why a sequence stopped."""

    RUNNING = 0
    END = 1  # the model chose a token that ends the generation
    LIMIT = 2  # as many tokens as were asked for
    CONTEXT = 3  # no room for another token
    GRAMMAR = 4  # a dead end: the grammar allows nothing more, and the text may not end; or all that it allows is forbidden
    CALLER = 5  # whoever reads the tokens wants no more of them: a stop string was found
    BROKEN = 6  # the logits are not numbers: the model is damaged
    FORBIDDEN = 7  # biases and samplers have left no token


@flax.struct.dataclass
class Run:
    """Where B generations stand; a pytree.

    Attributes:
        token: int32[B], the newest token of each slot, not yet in the cache.
        reason: int32[B], a `Stop`.
        remaining: int32[B], how many more tokens are wanted.
        history: what samplers remember.
        logits: f32[B, V], for the next token.
        fresh: bool[], whether `logits` come from `prefill`: the first token is chosen from them before the model makes a step.
        unsampled: bool[], whether that token is still to be chosen: a sampler has to see the whole vocabulary, see `choose_again`.
        constraint: where the texts stand in their grammars; None where no slot has one.
    """

    token: jax.Array
    reason: jax.Array
    remaining: jax.Array
    history: History
    logits: jax.Array
    fresh: jax.Array
    unsampled: jax.Array
    constraint: Constraint | None = None

    def going(self) -> jax.Array:
        """bool[], whether the loop can go on: some slot runs, and nothing has to be done outside of the loop first."""
        running = self.reason == Stop.RUNNING
        waiting = self.unsampled if self.constraint is None else self.unsampled | (running & (self.constraint.ready != Ready.YES)).any()
        return running.any() & ~waiting


@flax.struct.dataclass
class Emitted:
    """Tokens that one dispatch made.

    Attributes:
        tokens: int32[B, LOOP_TOKENS]; a slot's tokens are the first `counts` of its row. A token that ends the generation is among them.
        logprobs: f32[B, LOOP_TOKENS].
        counts: int32[B].
        likely, likely_logprobs: int32[B, LOOP_TOKENS, N], f32[B, LOOP_TOKENS, N]: the most likely tokens each time; N is 0 where nobody asked.
    """

    tokens: jax.Array
    logprobs: jax.Array
    counts: jax.Array
    likely: jax.Array
    likely_logprobs: jax.Array


def choose(
    run: Run, state: DecodeState, sampling: Sampling, words: Words, tables: DeviceTables | None, *, report: str = "", whole: bool = False
) -> tuple[Run, Choice]:
    """Sample a token for every running slot from `run.logits` and decide whether it is the last.

    Args:
        whole: look at the whole vocabulary; otherwise the run that comes back may be `unsampled`, and nothing else has changed then. Static.
    """
    choice, history = sample(run.logits, sampling, run.history, state.positions, words, run.constraint, report=report, whole=whole)
    running = run.reason == Stop.RUNNING
    broken = running & jnp.isnan(choice.logprobs)  # one logit that is not a number makes the sum of all, and so every log-probability, none
    choice, running = replace(choice, allowed=choice.allowed & ~broken), running & ~broken
    unsampled = (running & ~choice.enough).any()
    running &= ~unsampled
    stuck = running & ~choice.allowed
    running &= ~stuck
    remaining = run.remaining - running.astype(jnp.int32)
    reason = jnp.where(state.positions >= state.n_ctx, Stop.CONTEXT, Stop.RUNNING)
    reason = jnp.where(remaining <= 0, Stop.LIMIT, reason)
    reason = jnp.where(words.end[choice.tokens], Stop.END, reason)
    reason = jnp.where(broken, Stop.BROKEN, jnp.where(running, reason, run.reason))
    reason = jnp.where(stuck, Stop.FORBIDDEN if run.constraint is None else Stop.GRAMMAR, reason)
    constraint = run.constraint
    if constraint is not None:
        assert tables is not None
        with jax.named_scope("grammar"):
            constraint = advance(tables, constraint, choice.tokens, running & (reason == Stop.RUNNING))
        reason = jnp.where((constraint.ready == Ready.DEAD_END) & (reason == Stop.RUNNING), Stop.GRAMMAR, reason)
    learned = replace(history, **{name: jnp.where(running, getattr(history, name), getattr(run.history, name)) for name in ("surprise", "chosen", "weight")})
    remembered = remember(learned, sampling, choice.tokens, running)
    token = jnp.where(running, choice.tokens, run.token)
    rest = {"fresh": jnp.asarray(False), "unsampled": unsampled, "constraint": constraint}
    return replace(run, token=token, reason=reason, remaining=remaining, history=remembered, **rest), choice


def decode_loop(
    params: Params,
    state: DecodeState,
    run: Run,
    sampling: Sampling,
    words: Words,
    tables: DeviceTables | None,
    steps: jax.Array,
    *,
    config: Config,
    report: str = "",
) -> tuple[Emitted, DecodeState, Run]:
    """Decode up to `steps` tokens for every slot, on the device; the first of a fresh run costs no step of the model.

    Ends early when all slots have stopped, when the tables lack a row that a slot's grammar needs, and when a sampler needs the whole vocabulary sorted.

    Args:
        params: packed weights. Not donated.
        state: `jit_decode_loop` donates it.
        run: where the generations stand, from `begin` or the dispatch before.
        sampling: parameters of the slots.
        words: the vocabulary.
        tables: of the grammars; None where no slot has one.
        steps: int32[], at most `LOOP_TOKENS`; traced, so that no value recompiles.
        config: static.
        report: "before" or "after", to be told the most likely tokens before or after the samplers; static.

    Law: the tokens do not depend on how a generation is cut into dispatches.
    """
    slots, size = run.history.counts.shape
    reported = min(REPORTED, size) if report else 0
    shape = (slots, LOOP_TOKENS)
    empty = Emitted(
        jnp.zeros(shape, jnp.int32), jnp.zeros(shape), jnp.zeros(slots, jnp.int32), jnp.zeros((*shape, reported), jnp.int32), jnp.zeros((*shape, reported))
    )

    def going(carry: tuple[jax.Array, Emitted, DecodeState, Run]) -> jax.Array:
        i, _, _, run = carry
        return (i < jnp.minimum(steps, LOOP_TOKENS)) & run.going()

    def body(carry: tuple[jax.Array, Emitted, DecodeState, Run]) -> tuple[jax.Array, Emitted, DecodeState, Run]:
        i, emitted, state, run = carry
        running = run.reason == Stop.RUNNING

        def stepped(before: tuple[jax.Array, jax.Array, DecodeState]) -> tuple[jax.Array, jax.Array, DecodeState]:
            return jnp.asarray(False), *step(params, before[2], run.token, running, config=config)

        # A loop of one turn or none: a `cond` would copy the state.
        _, logits, state = jax.lax.while_loop(lambda before: before[0], stepped, (~run.fresh, run.logits, state))
        run, choice = choose(replace(run, logits=logits), state, sampling, words, tables, report=report)
        emitted = Emitted(
            emitted.tokens.at[:, i].set(run.token),
            emitted.logprobs.at[:, i].set(choice.logprobs),
            emitted.counts + (running & ~run.unsampled & choice.allowed).astype(jnp.int32),
            emitted.likely.at[:, i].set(choice.likely),
            emitted.likely_logprobs.at[:, i].set(choice.likely_logprobs),
        )
        return i + 1, emitted, state, run

    _, emitted, state, run = jax.lax.while_loop(going, body, (jnp.int32(0), empty, state, run))
    return emitted, state, run


def begin(logits: jax.Array, history: History, limits: jax.Array, constraint: Constraint | None = None) -> Run:
    """A run before its first token, from the logits f32[B, V] of `prefill`. `limits` int32[B]: tokens wanted in all."""
    slots = logits.shape[0]
    reason = jnp.full(slots, Stop.RUNNING, jnp.int32)
    if constraint is not None:
        reason = jnp.where(constraint.ready == Ready.DEAD_END, Stop.GRAMMAR, reason)
    copied = jnp.array(logits, copy=True)  # a run is donated, the logits of a session are not
    return Run(jnp.zeros(slots, jnp.int32), reason, limits, history, copied, jnp.asarray(True), jnp.asarray(False), constraint)


jit_decode_loop = jax.jit(decode_loop, static_argnames=("config", "report"), donate_argnames=("state", "run"))
jit_choose = jax.jit(choose, static_argnames=("report", "whole"))
