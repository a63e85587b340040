"""The two ways tokens enter a state: `prefill`, many at a time, and `step`, one at a time. Every loop and driver goes through them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxllama.models import Config, DecodeState, Params, extend
from jaxllama.quant import integers


def prefill(params: Params, state: DecodeState, tokens: jax.Array, lengths: jax.Array, *, config: Config) -> tuple[jax.Array, DecodeState]:
    """Run a padded chunk of every slot's prompt through the model.

    Args:
        params: packed weights. Not donated.
        state: what came before; `jit_prefill` donates it.
        tokens: int32[B, T], each row padded at its end with any id.
        lengths: int32[B], how many tokens of each row count, from 0 to T. The others leave no trace that a later token can see.
        config: static.

    Returns:
        Logits f32[B, V] after each slot's last counted token (without meaning where the length is 0), and the state `lengths` positions further.

    Raises:
        ValueError: a shape or a type is wrong; outside of jit also where an id is outside of the vocabulary. Inside of jit ids are clamped to the vocabulary.
        ContextFull: outside of jit, where there is no room. Inside of jit the logits of such a slot are NaN. `init_state` makes room for one padded chunk
            beyond `n_ctx`.
    """
    return extend(params, state, integers("tokens", tokens), integers("lengths", lengths), config=config, logits="last")


def _flags(active: Any) -> np.ndarray | jax.Array:
    found = active if isinstance(active, jax.Array) else np.asarray(active)
    if found.dtype != np.bool_:
        raise TypeError(f"active must be booleans, one a slot, not {active!r}")
    return found


def step(params: Params, state: DecodeState, tokens: jax.Array, active: jax.Array | None = None, *, config: Config) -> tuple[jax.Array, DecodeState]:
    """Run one token of every slot through the model.

    Args:
        params: packed weights. Not donated.
        state: what came before; `jit_step` donates it, use `fork` to keep a copy.
        tokens: int32[B], the newest token of each slot. A slot that is idle takes any id.
        active: bool[B]; where false the slot's position does not move. All slots by default.
        config: static; a different config is a different program.

    Returns:
        Logits f32[B, V] for the next token, and the state one position further.

    Raises:
        ValueError, ContextFull: as `prefill`.

    Law: `step` after `prefill(tokens[:-1])` equals `prefill(tokens)`.
    """
    moved = None if active is None else _flags(active).astype(np.int32)
    logits, state = extend(params, state, integers("tokens", tokens)[..., None], moved, config=config)
    return logits[:, 0], state


jit_prefill = jax.jit(prefill, static_argnames=("config",), donate_argnames=("state",))
jit_step = jax.jit(step, static_argnames=("config",), donate_argnames=("state",))
