"""The forward pass: embedding, layers, last norm, logits."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.layers.norm import normalize
from jaxllama.layers.watch import Seen, Watch
from jaxllama.quant import integers, qmatmul, qtake, saturated

from .batch import Batch, rope_tables
from .block import Block
from .checks import check_inputs
from .config import Config
from .layer import members
from .memory import Memory
from .parameters import Params
from .state import DecodeState
from .walk import walk

Carry = tuple[jax.Array, tuple[Memory, ...]]


def hidden(
    params: Params,
    state: DecodeState,
    tokens: np.ndarray | jax.Array,
    counts: np.ndarray | jax.Array | None = None,
    *,
    config: Config,
    watch: Watch | None = None,
) -> tuple[jax.Array, DecodeState]:
    """The normalised last hidden states f32[B, T, D] of T new tokens a slot, and the state with their keys and values.

    Positions are not moved: the caller knows how many of the tokens count. Where there is no room for a token its hidden state is NaN, and nothing that a
    slot holds is overwritten.

    Args:
        counts: int32[B], how many of each slot's tokens count; only looked at outside of jit, where those have to fit. All by default.
        watch: sees what every matrix of every layer is multiplied with, by the matrix's name, with a leading axis of experts where it has some.

    Raises:
        ValueError, ContextFull: see `check_inputs`.
    """
    check_inputs(params, state, tokens, counts, config)
    state = jax.tree.map(jnp.asarray, state)
    tokens = saturated(tokens)
    length = tokens.shape[1]
    fits = state.fits(length)
    # A write beyond the caches is moved back by XLA. With this much room behind the context it meets nothing that counts; else such a slot is not written.
    written = None if length <= state.capacity - state.n_ctx else fits
    with jax.named_scope("embedding"):
        x = qtake(params["token_embd"], tokens) * config.embedding_scale
    ropes = [kind.mixer.rope for kind in config.kinds if kind.mixer.rope is not None]
    batch = Batch(state.positions, written, rope_tables(ropes, state.positions, length, params.get("rope_freqs")))

    def layer(kind: int, index: jax.Array, carry: Carry) -> tuple[Carry, Seen]:
        x, memories = carry
        block = Block(params["blocks"][kind], index, norm=config.norm, exact=config.exact, watch=watch)
        x, memory = config.kinds[kind].run(block, x, memories[kind], batch)
        return (x, (*memories[:kind], memory, *memories[kind + 1 :])), {}

    def watched(kind: int, index: jax.Array, carry: Carry) -> tuple[Carry, Seen]:
        assert watch is not None
        with watch.group() as found:
            return layer(kind, index, carry)[0], found

    (x, memories), seen = walk(config.runs, layer if watch is None else watched, (x, state.memories))
    if watch is not None:
        for kind, numbers in enumerate(members(config.layers)):
            for role, found in seen[kind].items():
                watch.found.update({f"blk.{n}.{role}": jax.tree.map(lambda leaf, i=i: leaf[i], found) for i, n in enumerate(numbers)})
    positions = state.positions[:, None] + jnp.arange(length, dtype=jnp.int32)[None]
    room = (fits[:, None] & (positions < state.n_ctx))[..., None]
    x = normalize(x, config.norm, params["output_norm"])
    return jnp.where(room, x, jnp.nan), replace(state, memories=memories)


def project(params: Params, x: jax.Array, *, config: Config) -> jax.Array:
    """Logits f32[..., V] of hidden states f32[..., D]."""
    with jax.named_scope("output"):
        logits = qmatmul(x, params.get("output", params["token_embd"]), exact=config.exact)
        if "output.scale" in params:
            logits = logits * params["output.scale"][0]
        if "output.bias" in params:
            logits = logits + params["output.bias"].reshape((1,) * (logits.ndim - 1) + (-1,))
        if config.final_softcap:
            logits = config.final_softcap * jnp.tanh(logits / config.final_softcap)
        return logits


def forward(params: Params, state: DecodeState, tokens: jax.Array, *, config: Config) -> tuple[jax.Array, DecodeState]:
    """Run T tokens of every slot through the model and return logits for all of them.

    Args:
        params: packed weights, as `load_params` returns them.
        state: what came before.
        tokens: int32[B, T].
        config: static.

    Returns:
        Logits f32[B, T, V]: position t's for the token after it; and the state T positions further.

    Raises:
        ValueError: a shape or a type is wrong; outside of jit also where an id is outside of the vocabulary. Inside of jit ids are clamped to the vocabulary.
        ContextFull: outside of jit, where there is no room for a token. Inside of jit its logits are NaN.

    `forward` is a pure function; jit it with `config` static. It is the definition that `prefill` and `step` are tested against.
    """
    ids = integers("tokens", tokens)
    x, state = hidden(params, state, ids, config=config)
    return project(params, x, config=config), replace(state, positions=state.positions + ids.shape[1])
