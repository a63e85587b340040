"""The decode loop: several tokens a dispatch, with sampling and the tests for stopping on the device."""

from __future__ import annotations

from enum import IntEnum

import flax.struct
import jax
import jax.numpy as jnp

from jaxllama.models import Config, DecodeState, Params

from .sampling import Sampling, sample
from .shapes import LOOP_TOKENS
from .step import step


class Stop(IntEnum):
    """Why a sequence stopped."""

    RUNNING = 0
    END = 1  # the model chose a token that ends the generation
    LIMIT = 2  # as many tokens as were asked for
    CONTEXT = 3  # no room for another token


@flax.struct.dataclass
class Run:
    """Where B generations stand; a pytree.

    Attributes:
        token: int32[B], the newest token of each slot, not yet in the cache.
        reason: int32[B], a `Stop`.
        remaining: int32[B], how many more tokens are wanted.
    """

    token: jax.Array
    reason: jax.Array
    remaining: jax.Array


@flax.struct.dataclass
class Emitted:
    """Tokens that one dispatch made.

    Attributes:
        tokens: int32[B, LOOP_TOKENS]; a slot's tokens are the first `counts` of its row. A token that ends the generation is among them.
        logprobs: f32[B, LOOP_TOKENS].
        counts: int32[B].
    """

    tokens: jax.Array
    logprobs: jax.Array
    counts: jax.Array


def choose(logits: jax.Array, state: DecodeState, run: Run, sampling: Sampling, end: jax.Array) -> tuple[Run, jax.Array]:
    """Sample a token for every running slot and decide whether it is the last. Returns the new run and log-probabilities f32[B]."""
    tokens, logprobs = sample(logits, sampling, state.positions, end)
    running = run.reason == Stop.RUNNING
    remaining = run.remaining - running.astype(jnp.int32)
    reason = jnp.where(state.positions >= state.n_ctx, Stop.CONTEXT, Stop.RUNNING)
    reason = jnp.where(remaining <= 0, Stop.LIMIT, reason)
    reason = jnp.where(end[tokens], Stop.END, reason)
    return Run(jnp.where(running, tokens, run.token), jnp.where(running, reason, run.reason), remaining), logprobs


def decode_loop(
    params: Params, state: DecodeState, run: Run, sampling: Sampling, end: jax.Array, steps: jax.Array, *, config: Config
) -> tuple[Emitted, DecodeState, Run]:
    """Up to `steps` tokens for every slot; ends early when no slot runs any more.

    Args:
        params: packed weights. Not donated.
        state: `jit_decode_loop` donates it.
        run: where the generations stand, from `begin` or the dispatch before.
        sampling: parameters of the slots.
        end: bool[V], tokens that end a generation.
        steps: int32[], at most `LOOP_TOKENS`; traced, so that no value recompiles.
        config: static.

    Law: the tokens do not depend on how a generation is cut into dispatches.
    """
    slots = run.token.shape[0]
    empty = Emitted(jnp.zeros((slots, LOOP_TOKENS), jnp.int32), jnp.zeros((slots, LOOP_TOKENS), jnp.float32), jnp.zeros(slots, jnp.int32))

    def going(carry: tuple[jax.Array, Emitted, DecodeState, Run]) -> jax.Array:
        i, _, _, run = carry
        return (i < jnp.minimum(steps, LOOP_TOKENS)) & (run.reason == Stop.RUNNING).any()

    def body(carry: tuple[jax.Array, Emitted, DecodeState, Run]) -> tuple[jax.Array, Emitted, DecodeState, Run]:
        i, emitted, state, run = carry
        running = run.reason == Stop.RUNNING
        logits, state = step(params, state, run.token, running, config=config)
        run, logprobs = choose(logits, state, run, sampling, end)
        emitted = Emitted(emitted.tokens.at[:, i].set(run.token), emitted.logprobs.at[:, i].set(logprobs), emitted.counts + running.astype(jnp.int32))
        return i + 1, emitted, state, run

    _, emitted, state, run = jax.lax.while_loop(going, body, (jnp.int32(0), empty, state, run))
    return emitted, state, run


def begin(logits: jax.Array, state: DecodeState, sampling: Sampling, end: jax.Array, limits: jax.Array) -> tuple[Run, jax.Array]:
    """The first token of every slot, from the logits of `prefill`, and its log-probability f32[B]. `limits` int32[B]: tokens wanted in all."""
    slots = logits.shape[0]
    fresh = Run(jnp.zeros(slots, jnp.int32), jnp.full(slots, Stop.RUNNING, jnp.int32), limits)
    return choose(logits, state, fresh, sampling, end)


jit_decode_loop = jax.jit(decode_loop, static_argnames=("config",), donate_argnames=("state", "run"))
jit_begin = jax.jit(begin)
