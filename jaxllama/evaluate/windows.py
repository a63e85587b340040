"""Windows of a text, and what a model makes of them: hidden states, and logits for as many positions at a time as fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.decode import LogitsError
from jaxllama.decode.shapes import bucket_for, padded_chunks
from jaxllama.layers.watch import Watch
from jaxllama.models import Config, DecodeState, Params, extend, init_state
from jaxllama.models.forward import project

if TYPE_CHECKING:
    from jaxllama.api import Model

ROWS = 128  # positions whose logits exist at a time


def split_windows(tokens: list[int] | np.ndarray, n_ctx: int, *, limit: int | None = None) -> np.ndarray:
    """Consecutive windows int32[windows, n_ctx] of a text; what is left at the end is dropped, as in llama.cpp.

    Raises:
        ValueError: the text has fewer than two windows, or windows are too short to score anything.
    """
    if n_ctx < 4:
        raise ValueError(f"n_ctx must be at least 4 tokens, not {n_ctx}")
    if len(tokens) < 2 * n_ctx:
        raise ValueError(f"a context of {n_ctx} tokens needs a text of at least {2 * n_ctx} tokens; this one has {len(tokens)}")
    count = len(tokens) // n_ctx
    count = count if limit is None or limit < 0 else min(count, limit)
    return np.asarray(tokens[: count * n_ctx], np.int32).reshape(count, n_ctx)


def batches(windows: np.ndarray, n_batch: int) -> Iterator[np.ndarray]:
    """As many windows at a time as a batch has room for (at least one)."""
    step = max(1, n_batch // windows.shape[1])
    for start in range(0, len(windows), step):
        yield windows[start : start + step]


def with_bos(model: Model, windows: np.ndarray) -> np.ndarray:
    """The windows with the token that texts begin with in the first place, where the model has such a token."""
    bos = model.tokenizer.bos
    if not model.tokenizer.vocabulary.add_bos or bos is None:
        return windows
    return np.concatenate([np.full_like(windows[:, :1], bos), windows[:, 1:]], 1)


@partial(jax.jit, static_argnames=("config",), donate_argnames=("state",))
def _read(params: Params, state: DecodeState, tokens: jax.Array, count: jax.Array, *, config: Config) -> tuple[jax.Array, DecodeState]:
    return extend(params, state, tokens, jnp.broadcast_to(count, state.slots), config=config, logits="none")


@partial(jax.jit, static_argnames=("config", "output"), donate_argnames=("state",))
def _watch(params: Params, state: DecodeState, tokens: jax.Array, count: jax.Array, *, config: Config, output: bool) -> tuple[jax.Array, DecodeState, dict]:
    """Like `_read`, with the squared inputs of all products for the first `count` tokens."""
    watch = Watch(jnp.broadcast_to(jnp.arange(tokens.shape[1])[None] < count, tokens.shape).reshape(-1))
    x, state = extend(params, state, tokens, jnp.broadcast_to(count, state.slots), config=config, logits="none", watch=watch)
    if output:
        watch.see("output", x.reshape(-1, x.shape[-1]))
    return x, state, watch.found


def read(model: Model, windows: np.ndarray) -> jax.Array:
    """Hidden states f32[B, T, D] of windows int32[B, T], each of which begins anew."""
    return jnp.concatenate([x for x, _ in _pieces(model, windows, watched=False, output=False)], 1)


def read_watched(model: Model, windows: np.ndarray, *, output: bool) -> tuple[jax.Array, list[dict]]:
    """The same, and for each piece of the windows what `Watch` has seen."""
    pieces = list(_pieces(model, windows, watched=True, output=output))
    return jnp.concatenate([x for x, _ in pieces], 1), [seen for _, seen in pieces]


def _pieces(model: Model, windows: np.ndarray, *, watched: bool, output: bool) -> Iterator[tuple[jax.Array, dict]]:
    slots, length = windows.shape
    # A whole batch is one dispatch: with several windows in it, each has as many tokens of a piece as all have slots.
    piece = max(1, min(length, model.n_batch // slots))
    state = init_state(model.config, slots, n_ctx=length, padding=bucket_for(piece, model.n_batch), cache_type=model.cache_type)
    for padded, counts in padded_chunks(windows, piece):
        count = int(counts[0])
        arguments = model.params, state, jnp.asarray(padded), jnp.asarray(count, jnp.int32)
        seen: dict = {}
        if watched:
            x, state, seen = model.programs(_watch, *arguments, config=model.config, output=output)
        else:
            x, state = model.programs(_read, *arguments, config=model.config)
        yield x[:, :count], seen


@partial(jax.jit, static_argnames=("config",))
def _project(params: Params, x: jax.Array, start: jax.Array, *, config: Config) -> jax.Array:
    return project(params, jax.lax.dynamic_slice_in_dim(x, start, ROWS), config=config)


def logits_of(model: Model, x: jax.Array) -> Iterator[tuple[int, int, jax.Array]]:
    """(start, stop, logits f32[ROWS, V]) for hidden states f32[R, D], ROWS positions at a time; those from `stop` on are padding."""
    rows = x.shape[0]
    padded = jnp.pad(x, ((0, -rows % ROWS), (0, 0)))
    for start in range(0, rows, ROWS):
        yield start, min(start + ROWS, rows), model.programs(_project, model.params, padded, jnp.asarray(start, jnp.int32), config=model.config)


@jax.jit
def _log_probs(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits, -1), targets[:, None], -1)[:, 0]


def padded_rows(values: np.ndarray, start: int, stop: int) -> jax.Array:
    """values[start:stop], filled up to ROWS with zeros."""
    piece = values[start:stop]
    return jnp.asarray(np.pad(piece, [(0, ROWS - len(piece))] + [(0, 0)] * (piece.ndim - 1)))


def checked(log_probs: np.ndarray) -> np.ndarray:
    """Log-probabilities that are numbers.

    Raises:
        LogitsError: one is not.
    """
    if np.isnan(log_probs).any():
        raise LogitsError
    return log_probs


def log_probs(model: Model, x: jax.Array, targets: np.ndarray) -> np.ndarray:
    """Natural log of the probability f32[R] that hidden states f32[R, D] give the tokens int32[R]."""
    found = [checked(np.asarray(_log_probs(logits, padded_rows(targets, a, b)))[: b - a]) for a, b, logits in logits_of(model, x)]
    return np.concatenate(found) if found else np.zeros(0, np.float32)
