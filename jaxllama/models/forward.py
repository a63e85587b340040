"""The forward pass: embedding, layers, last norm, logits."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.layers.norm import normalize
from jaxllama.layers.watch import Seen, Watch, group_of
from jaxllama.quant import integers, qmatmul, qtake, saturated

from .batch import Batch, rope_tables
from .block import Block
from .checks import check_inputs
from .config import Config
from .memory import Memory
from .parameters import Params
from .state import DecodeState
from .taps import Change, Tap, Wanted, wanted_of
from .walk import runs, walk

Carry = tuple[jax.Array, tuple[Memory, ...]]
Activations = dict[str, jax.Array]
"""By name, such as "blk.3.resid"."""


@overload
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
    intervene: Mapping[str, Change] | None = None,
    watch: Watch | None = None,
) -> tuple[jax.Array, DecodeState]: ...
@overload
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
    capture: Sequence[str],
    intervene: Mapping[str, Change] | None = None,
    watch: Watch | None = None,
) -> tuple[jax.Array, DecodeState, Activations]: ...
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
    capture: Sequence[str] | None = None,
    intervene: Mapping[str, Change] | None = None,
    watch: Watch | None = None,
) -> tuple[jax.Array, DecodeState] | tuple[jax.Array, DecodeState, Activations]:
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
        capture: names of activations to return, such as "blk.3.attn_output": the product of a role's matrix (not of experts'), "queries" and "keys" after they
            were rotated, "values", "heads" (what attention gives each head), "resid_mid" and "resid" (what goes on after either half of a layer). Layers that
            are looked at are compiled by themselves; the others cost nothing.
        intervene: the same names, and for each a function of the activation, which gives what takes its place.
        watch: sees what every matrix of every layer is multiplied with, by the matrix's name, with a leading axis of experts where it has some.

    Returns:
        Logits f32[B, T, V] or f32[B, V], or hidden states f32[B, T, D]; and the state `counts` positions further. With `capture` also the activations by
        name: [B, T, ...].

    Raises:
        ValueError, ContextFull: see `check_inputs`; also where no activation has a name, or an intervention changes a shape.
    """
    given, counted = integers("tokens", tokens), None if counts is None else integers("counts", counts)
    check_inputs(params, state, given, counted, config)
    state = jax.tree.map(jnp.asarray, state)
    length = given.shape[1]
    moved = jnp.full(state.slots, length, jnp.int32) if counted is None else saturated(counted)
    x = _embed(params, saturated(given), vectors, use_vectors, config)
    wanted = wanted_of(config.n_layer, capture or (), intervene or {})
    x, state, found = _layers(params, state, x, moved, config, wanted, watch)
    state = replace(state, positions=state.positions + moved)
    if logits == "last":
        x = jnp.take_along_axis(x, jnp.clip(moved - 1, 0, length - 1)[:, None, None], axis=1)[:, 0]
    out = x if logits == "none" else project(params, x, config=config)
    return (out, state) if capture is None else (out, state, found)


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


def _layers(
    params: Params, state: DecodeState, x: jax.Array, counts: jax.Array, config: Config, wanted: Sequence[Wanted], watch: Watch | None
) -> tuple[jax.Array, DecodeState, Activations]:
    """The last hidden states, normalised, of x f32[B, T, D]; the state with what the layers remember, at the positions where it was; and what was captured."""
    length = x.shape[1]
    fits = state.fits(length)
    # A write beyond the caches is moved back by XLA. With this much room behind the context it meets nothing that counts; else such a slot is not written.
    written = None if length <= state.capacity - state.n_ctx else fits
    ropes = [kind.mixer.rope for kind in config.kinds if kind.mixer.rope is not None]
    tables = rope_tables(ropes, state.positions, length, params.get("rope_freqs"))
    batch = Batch(state.positions, jnp.where(fits, counts, 0), written, tables)

    # Of layers of a kind, those of which something is wanted differ from the others; their parameters lie in the same stack.
    numbers = {kind: number for number, kind in enumerate(config.kinds)}
    sorts = [(numbers[layer], wish) for layer, wish in zip(config.layers, wanted, strict=True)]
    sort_list = tuple(dict.fromkeys(sorts))

    def layer(sort: int, index: jax.Array, carry: Carry) -> tuple[Carry, tuple[Activations, Seen]]:
        x, memories = carry
        kind, wish = sort_list[sort]
        tap = Tap(wish)
        block = Block(params["blocks"][kind], index, norm=config.norm, exact=config.exact, slots=x.shape[0], watch=watch, tap=tap)
        with group_of(watch) as seen:
            x, memory = config.kinds[kind].run(block, x, memories[kind], batch)
        tap.check()
        return (x, (*memories[:kind], memory, *memories[kind + 1 :])), (tap.found, seen)

    (x, memories), outputs = walk(runs(sorts), layer, (x, state.memories), [kind for kind, _ in sort_list])
    captured = _by_layer(sorts, {sort: found for sort, (found, _) in outputs.items()})
    if watch is not None:
        watch.found.update(_by_layer(sorts, {sort: seen for sort, (_, seen) in outputs.items()}))
    positions = state.positions[:, None] + jnp.arange(length, dtype=jnp.int32)[None]
    room = (fits[:, None] & (positions < state.n_ctx))[..., None]
    x = normalize(x, config.norm, params[config.output_norm])
    return jnp.where(room, x, jnp.nan), replace(state, memories=memories), captured


def _by_layer(sorts: Sequence[Hashable], outputs: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Outputs of `walk`, by `blk.N.NAME`."""
    found: dict[str, Any] = {}
    for sort, name in enumerate(dict.fromkeys(sorts)):
        layers = [number for number, own in enumerate(sorts) if own == name]
        for role, stacked in outputs[sort].items():
            found |= {f"blk.{number}.{role}": jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i, number in enumerate(layers)}
    return found


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


@overload
def forward(
    params: Params, state: DecodeState, tokens: jax.Array, *, config: Config, intervene: Mapping[str, Change] | None = None
) -> tuple[jax.Array, DecodeState]: ...
@overload
def forward(
    params: Params, state: DecodeState, tokens: jax.Array, *, config: Config, capture: Sequence[str], intervene: Mapping[str, Change] | None = None
) -> tuple[jax.Array, DecodeState, Activations]: ...
def forward(
    params: Params,
    state: DecodeState,
    tokens: jax.Array,
    *,
    config: Config,
    capture: Sequence[str] | None = None,
    intervene: Mapping[str, Change] | None = None,
) -> tuple[jax.Array, DecodeState] | tuple[jax.Array, DecodeState, Activations]:
    """Run T tokens of every slot through the model and return logits for all of them.

    Args:
        params: packed weights, as `load_params` returns them.
        state: what came before.
        tokens: int32[B, T].
        config: static.
        capture, intervene: see `extend`; static.

    Returns:
        Logits f32[B, T, V]: position t's for the token after it; and the state T positions further. With `capture` also the activations by name.

    Raises:
        ValueError: a shape or a type is wrong; outside of jit also where an id is outside of the vocabulary. Inside of jit ids are clamped to the vocabulary.
        ContextFull: outside of jit, where there is no room for a token. Inside of jit its logits are NaN.

    `forward` is a pure function; jit it with `config` static. It is the definition that `prefill` and `step` are tested against.
    """
    if capture is None:
        return extend(params, state, tokens, config=config, intervene=intervene)
    return extend(params, state, tokens, config=config, capture=capture, intervene=intervene)
