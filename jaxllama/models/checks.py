"""Checks of what goes into the forward pass: shapes and types while a program is traced, values where they are known, outside of jit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxllama.layers.attention import BLOCK
from jaxllama.quant import LayerStack, QTensor

from .config import Config
from .layer import members
from .state import CACHE_TYPES, ContextFull, DecodeState, check_held, memories_for

Leaves = list[tuple[tuple[int, ...], Any]]
"""Shapes and types of a memory's arrays."""


def check_inputs(params: dict[str, Any], state: DecodeState, tokens: np.ndarray | jax.Array, counts: np.ndarray | jax.Array | None, config: Config) -> None:
    """Check the arguments of `extend` against each other.

    Args:
        tokens: int32[B, T].
        counts: how many of each slot's tokens count, int32[B]; None for all.

    Raises:
        TypeError: params, state or config are something else.
        ValueError: a shape or a type is not what this model has; or, where the values are known, a token is outside of the vocabulary.
        ContextFull: the values are known, and a slot has no room for its tokens.
    """
    if not isinstance(config, Config):
        raise TypeError(f"config: expected a model's configuration, which read_config makes, found {type(config).__name__}")
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
        _check_values(state, np.asarray(tokens), np.full(state.slots, tokens.shape[1]) if counts is None else np.asarray(counts), config)


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
    full = (after > state.n_ctx) | (before > state.capacity - tokens.shape[1])
    if (full & (counts > 0)).any():
        slot = int((full & (counts > 0)).argmax())
        raise ContextFull(
            f"slot {slot} would hold {after[slot]} tokens; its context has room for {state.n_ctx}, its caches for {state.capacity} with padding: "
            "make the state with a larger n_ctx or padding, or roll it back"
        )


def _check_state(state: DecodeState, config: Config) -> None:
    check_held(state)
    if state.positions.shape != (state.slots,) or state.positions.dtype != jnp.int32:
        raise ValueError(f"the state's positions are {state.positions.dtype}{list(state.positions.shape)}, expected int32[{state.slots}], one a slot")
    if not 1 <= state.n_ctx < state.capacity or state.capacity % BLOCK:
        raise ValueError(f"the state's caches have {state.capacity} positions, expected a multiple of {BLOCK} above n_ctx = {state.n_ctx}")
    # The type of the caches is the caller's choice; recurrent memories have float32 anyway.
    dtype = next((leaf.dtype for memory in state.memories if memory.shortens for leaf in jax.tree.leaves(memory)), jnp.dtype(jnp.float32))
    if dtype not in CACHE_TYPES.values():
        raise ValueError(f"the state's caches are {dtype}, expected one of {', '.join(CACHE_TYPES)}")
    empty = jax.eval_shape(lambda: memories_for(config, state.slots, state.capacity, dtype))
    found, wanted = ([[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(memory)] for memory in memories] for memories in (state.memories, empty))
    # More layers than the model has are no fault: the first layers of a model are a model.
    if len(found) < len(wanted) or any(not _holds(a, b) for a, b in zip(found, wanted, strict=False)):
        raise ValueError(
            f"the state's caches have shapes {_shapes(found)}, for the {len(config.kinds)} kinds of layers of this model they are {_shapes(wanted)}; "
            "make it with init_state(config, ...)"
        )


def _holds(found: Leaves, wanted: Leaves) -> bool:
    """Whether a memory is as wanted, or of more layers."""
    return len(found) == len(wanted) and all(
        a[1:] == b[1:] and len(a) == len(b) and a[0] >= b[0] and kind == wanted_kind for (a, kind), (b, wanted_kind) in zip(found, wanted, strict=True)
    )


def _shapes(memories: Sequence[Leaves]) -> str:
    return " and ".join(", ".join(f"{dtype}{list(shape)}" for shape, dtype in memory) for memory in memories)


def _check_params(params: dict[str, Any], config: Config) -> None:
    if not isinstance(params, dict) or not {"token_embd", config.output_norm, "blocks"} <= params.keys():
        raise TypeError(f"params: expected a model's parameters, which load_params makes, found {type(params).__name__}")
    embedding: QTensor = params["token_embd"]
    if not isinstance(embedding, QTensor) or embedding.shape != (1, config.n_vocab, config.n_embd) or params[config.output_norm].shape != (config.n_embd,):
        expected = f"[{config.n_vocab}, {config.n_embd}]"
        raise ValueError(f"token_embd has shape {list(embedding.shape[1:])}, expected {expected}: these are the parameters of another model than config's")
    layers = members(config.layers)
    if len(params["blocks"]) < len(layers):
        raise ValueError(f"the parameters have {len(params['blocks'])} kinds of layers, config has {len(layers)}: they are of another model than config's")
    for blocks, numbers in zip(params["blocks"], layers, strict=False):
        for role, stack in blocks.items():
            held = len(stack.choice) if isinstance(stack, LayerStack) else stack.shape[0]
            if held < len(numbers):
                raise ValueError(f"{role} has {held} layers, config has {len(numbers)} of its kind: these are the parameters of another model than config's")
