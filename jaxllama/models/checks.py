"""Checks of what goes into the forward pass: shapes and types while a program is traced, values where they are known, outside of jit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxllama.layers.attention import BLOCK
from jaxllama.quant import LayerStack, QTensor

from .config import Config
from .state import CACHE_TYPES, ContextFull, DecodeState


def check_inputs(params: dict[str, Any], state: DecodeState, tokens: jax.Array, counts: jax.Array | int | None, config: Config) -> None:
    """Check the arguments of `hidden` against each other.

    Args:
        tokens: int32[B, T].
        counts: how many of each slot's tokens count, int32[B]; None for all.

    Raises:
        ValueError: a shape or a type is not what this model has; or, where the values are known, a token is outside of the vocabulary.
        ContextFull: the values are known, and a slot has no room for its tokens.
    """
    _check_state(state, config)
    _check_params(params, config)
    if tokens.ndim != 2 or tokens.shape[0] != state.slots or not 1 <= tokens.shape[1] <= state.capacity or not jnp.issubdtype(tokens.dtype, jnp.integer):
        found = f"{tokens.dtype}{list(tokens.shape)}"
        raise ValueError(
            f"tokens are {found}, expected integers [{state.slots}, T], a row a slot, with T from 1 to the {state.capacity} positions of the caches"
        )
    if counts is not None and jnp.shape(counts) != (state.slots,):
        raise ValueError(f"expected a number for each of {state.slots} slots, found shape {jnp.shape(counts)}")
    if not any(isinstance(x, Tracer) for x in (tokens, state.positions, counts)):
        _check_values(
            state, np.asarray(tokens).astype(np.int64), np.full(state.slots, tokens.shape[1]) if counts is None else np.asarray(counts).astype(int), config
        )


def _check_values(state: DecodeState, tokens: np.ndarray, counts: np.ndarray, config: Config) -> None:
    if (counts < 0).any() or (counts > tokens.shape[1]).any():
        raise ValueError(f"of {tokens.shape[1]} tokens a slot, from 0 to {tokens.shape[1]} can count, not {counts.tolist()}")
    counted = tokens[np.arange(tokens.shape[1])[None] < counts[:, None]]
    if (outside := counted[(counted < 0) | (counted >= config.n_vocab)]).size:
        raise ValueError(f"token {outside[0]} is not in the vocabulary; ids are from 0 to {config.n_vocab - 1}")
    before = np.asarray(state.positions).astype(int)
    if (before < 0).any():
        raise ValueError(f"a state's positions are at least 0, not {before.tolist()}")
    after = before + counts
    full = (after > state.n_ctx) | ~np.asarray(state.fits(tokens.shape[1]))
    if (full & (counts > 0)).any():
        slot = int((full & (counts > 0)).argmax())
        raise ContextFull(
            f"slot {slot} would hold {after[slot]} tokens; its context has room for {state.n_ctx}, its caches for {state.capacity} with padding: "
            "make the state with a larger n_ctx or padding, or roll it back"
        )


def given_away(state: DecodeState) -> bool:
    """Whether a state was donated to a call."""
    return any(not isinstance(a, Tracer) and a.is_deleted() for a in (state.positions, state.keys, state.values))


def check_held(state: DecodeState) -> None:
    """Raises ValueError where a state was donated: another one goes on with its caches."""
    if given_away(state):
        raise ValueError("the state was given away to a call that continued it; use the state that the call returned, or fork it before")


def _check_state(state: DecodeState, config: Config) -> None:
    check_held(state)
    keys, per_layer = state.keys, (state.slots, config.n_head_kv, state.capacity, config.head_size) if state.keys.ndim == 5 else ()
    # More layers than the model has are no fault: the first layers of a model are a model.
    if keys.shape[1:] != per_layer or state.values.shape != keys.shape or keys.shape[0] < config.n_layer or 0 in keys.shape:
        found = f"{list(keys.shape)} and {list(state.values.shape)}"
        wanted = f"[{config.n_layer}, B, {config.n_head_kv}, S, {config.head_size}]"
        raise ValueError(f"the state's keys and values have shapes {found}, for this model they are {wanted}; make it with init_state(config, ...)")
    if keys.dtype not in CACHE_TYPES.values() or state.values.dtype != keys.dtype:
        raise ValueError(f"the state's keys and values are {keys.dtype} and {state.values.dtype}, expected one of {', '.join(CACHE_TYPES)} for both")
    if state.positions.shape != (state.slots,) or state.positions.dtype != jnp.int32:
        raise ValueError(f"the state's positions are {state.positions.dtype}{list(state.positions.shape)}, expected int32[{state.slots}], one a slot")
    if not 1 <= state.n_ctx < state.capacity or state.capacity % BLOCK:
        raise ValueError(f"the state's caches have {state.capacity} positions, expected a multiple of {BLOCK} above n_ctx = {state.n_ctx}")


def _check_params(params: dict[str, Any], config: Config) -> None:
    embedding: QTensor = params["token_embd"]
    if embedding.shape != (1, config.n_vocab, config.n_embd) or params["output_norm"].shape != (config.n_embd,):
        expected = f"[{config.n_vocab}, {config.n_embd}]"
        raise ValueError(f"token_embd has shape {list(embedding.shape[1:])}, expected {expected}: these are the parameters of another model than config's")
    for role, stack in params["blocks"].items():
        layers = len(stack.choice) if isinstance(stack, LayerStack) else stack.shape[0]
        if layers < config.n_layer:
            raise ValueError(f"{role} has {layers} layers, config has {config.n_layer}: these are the parameters of another model than config's")
