"""The forward pass: embedding, layers, last norm, logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

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


def extend(
    params: Params,
    state: DecodeState,
    tokens: np.ndarray | jax.Array,
    counts: np.ndarray | jax.Array | None = None,
    *,
    config: Config,
    logits: Literal["all", "last", "none"] = "all",
    vectors: jax.Array | None = None,
    use_vectors: jax.Array | None = None,
    watch: Watch | None = None,
) -> tuple[jax.Array, DecodeState]:
    """Run T new tokens of every slot through the model: the one way in, for prompts, single steps, embeddings and evaluation.

    Where there is no room for a token the result is NaN, and nothing that a slot holds is overwritten.

    Args:
        params: packed weights, as `load_params` returns them.
        state: what came before.
        tokens: int32[B, T].
        counts: int32[B], how many of each slot's tokens count; the others leave no trace that a later token can see. All by default.
        config: static.
        logits: "all" for the logits after every token, "last" for those after each slot's last token that counts, "none" for the last hidden states.
        vectors: f32[B, T, D], what goes into the first layer instead of tokens' embeddings.
        use_vectors: bool[B, T], where it does; everywhere by default.
        watch: sees what every matrix of every layer is multiplied with, by the matrix's name, with a leading axis of experts where it has some.

    Returns:
        Logits f32[B, T, V] or f32[B, V], or hidden states f32[B, T, D]; and the state `counts` positions further.

    Raises:
        ValueError, ContextFull: see `check_inputs`.
    """
    given, counted = integers("tokens", tokens), None if counts is None else integers("counts", counts)
    check_inputs(params, state, given, counted, config)
    state = jax.tree.map(jnp.asarray, state)
    length = given.shape[1]
    moved = jnp.full(state.slots, length, jnp.int32) if counted is None else saturated(counted)
    x = _embed(params, saturated(given), vectors, use_vectors, config)
    x, state = _layers(params, state, x, moved, config, watch)
    state = replace(state, positions=state.positions + moved)
    if logits == "none":
        return x, state
    if logits == "last":
        x = jnp.take_along_axis(x, jnp.clip(moved - 1, 0, length - 1)[:, None, None], axis=1)[:, 0]
    return project(params, x, config=config), state


def _embed(params: Params, tokens: jax.Array, vectors: jax.Array | None, use_vectors: jax.Array | None, config: Config) -> jax.Array:
    """What goes into the first layer: f32[B, T, D]."""
    with jax.named_scope("embedding"):
        if vectors is not None and (vectors.shape != (*tokens.shape, config.n_embd) or not jnp.issubdtype(vectors.dtype, jnp.floating)):
            raise ValueError(f"vectors are {vectors.dtype}{list(vectors.shape)}, expected numbers [B, T, D] = {[*tokens.shape, config.n_embd]}")
        if use_vectors is not None and (vectors is None or use_vectors.shape != tokens.shape or use_vectors.dtype != jnp.bool_):
            raise ValueError(f"use_vectors says for each token whether its vector counts: bool[B, T] = {list(tokens.shape)}, beside vectors")
        if vectors is not None and use_vectors is None:
            return vectors.astype(jnp.float32)
        x = qtake(params["token_embd"], tokens) * config.embedding_scale
        return x if vectors is None or use_vectors is None else jnp.where(use_vectors[..., None], vectors.astype(jnp.float32), x)


def _layers(params: Params, state: DecodeState, x: jax.Array, counts: jax.Array, config: Config, watch: Watch | None) -> tuple[jax.Array, DecodeState]:
    """The last hidden states, normalised, of x f32[B, T, D]; and the state with what the layers remember, at the positions where it was."""
    length = x.shape[1]
    fits = state.fits(length)
    # A write beyond the caches is moved back by XLA. With this much room behind the context it meets nothing that counts; else such a slot is not written.
    written = None if length <= state.capacity - state.n_ctx else fits
    ropes = [kind.mixer.rope for kind in config.kinds if kind.mixer.rope is not None]
    tables = rope_tables(ropes, state.positions, length, params.get("rope_freqs"))
    batch = Batch(state.positions, jnp.where(fits, counts, 0), written, tables)

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
    x = normalize(x, config.norm, params[config.output_norm])
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
    return extend(params, state, tokens, config=config)
