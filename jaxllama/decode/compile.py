"""Compiling before the first request comes, without running anything."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from jaxllama.models import Config, Params, init_state

from .history import start_history
from .loop import begin, jit_decode_loop
from .programs import Programs
from .sampling import Sampling
from .shapes import bucket_for, buckets
from .step import jit_prefill
from .words import Words


def compile_ahead(
    params: Params,
    sampling: Sampling,
    *,
    words: Words,
    slots: int,
    prompt: int,
    config: Config,
    programs: Programs,
    n_ctx: int,
    n_batch: int,
    cache_type: str,
) -> None:
    """Compile what `prefill_prompts` and `stream_tokens` run for so many slots: a prefill for each bucket of prompts up to a length, and the decode loop.

    Args:
        sampling: of that many slots; only its chain and the room for its biases count.
        prompt: tokens of the longest prompt.
    """
    padding = bucket_for(min(n_ctx, n_batch), n_batch)
    state = jax.eval_shape(partial(init_state, config, slots, n_ctx=n_ctx, padding=padding, cache_type=cache_type))
    counts = jax.ShapeDtypeStruct((slots,), jnp.int32)
    longest = bucket_for(prompt, n_batch)
    for bucket in buckets(n_batch):
        if bucket <= longest:
            programs.prepare(jit_prefill, params, state, jax.ShapeDtypeStruct((slots, bucket), jnp.int32), counts, config=config)
    logits = jax.ShapeDtypeStruct((slots, config.n_vocab), jnp.float32)
    history = start_history([[0]] * slots, sampling, n_vocab=config.n_vocab, room=n_ctx + 1)
    run = jax.eval_shape(begin, logits, history, counts)
    programs.prepare(jit_decode_loop, params, state, run, sampling, words, None, jnp.int32(1), config=config, report="")
