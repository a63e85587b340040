"""The forward pass of the llama-like family: one block, scanned over the layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from jaxllama.layers.attention import FULL, attend, update_cache
from jaxllama.layers.feed_forward import gated, mixture
from jaxllama.layers.norm import rms_norm
from jaxllama.layers.rope import rope_table, rotate
from jaxllama.layers.watch import Seen, Watch
from jaxllama.quant import LayerStack, qmatmul, qtake, stack_matmul

from .checks import check_inputs
from .config import Config
from .parameters import Params
from .state import DecodeState


class _Layer:
    """The parameters of one layer, by role; the layer's number may be traced."""

    def __init__(self, blocks: dict[str, Any], layer: jax.Array, config: Config, watch: Watch | None = None):
        self.blocks, self.layer, self.config, self.watch = blocks, layer, config, watch

    def vector(self, role: str) -> jax.Array:
        return jax.lax.dynamic_index_in_dim(self.blocks[role], self.layer, 0, keepdims=False)

    def product(self, x: jax.Array, role: str, expert: jax.Array | int = 0) -> jax.Array:
        """x f32[R, inputs] times the matrix of a role, plus its bias where there is one."""
        stack: LayerStack = self.blocks[role]
        if self.watch is not None:
            self.watch.see(role, x)
        y = stack_matmul(x, stack, self.layer, expert, exact=self.config.exact)
        bias = f"{role}.bias"
        return y + self.vector(bias)[None] if bias in self.blocks else y

    def norm(self, x: jax.Array, role: str) -> jax.Array:
        return rms_norm(x, self.vector(role), self.config.norm_epsilon)


def _attention(
    layer: _Layer, x: jax.Array, state: DecodeState, table: tuple[jax.Array, jax.Array], window: jax.Array, fits: jax.Array | None = None
) -> tuple[jax.Array, DecodeState]:
    """Self-attention of x f32[B, T, D] (already normalised). `fits` bool[B]: the slots whose keys and values are written; None for all."""
    config = layer.config
    slots, length, _ = x.shape
    rows = x.reshape(slots * length, -1)

    def heads(role: str) -> jax.Array:
        return rearrange(layer.product(rows, role), "(b t) (n h) -> b t n h", b=slots, h=config.head_size)

    q, k, v = heads("attn_q"), heads("attn_k"), heads("attn_v")
    if config.qk_norm:
        q, k = layer.norm(q, "attn_q_norm"), layer.norm(k, "attn_k_norm")
    q, k = rotate(q, table, config.rope.kind), rotate(k, table, config.rope.kind)
    keys, values = (update_cache(cache, new, layer.layer, state.positions, fits) for cache, new in ((state.keys, k), (state.values, v)))
    state = replace(state, keys=keys, values=values)
    mixed = attend(q, state.keys, state.values, layer.layer, state.positions, window=window, scale=config.attention_scale, softcap=config.attention_softcap)
    out = layer.product(rearrange(mixed, "b t n h -> (b t) (n h)"), "attn_output")
    return out.reshape(x.shape), state


def _feed_forward(layer: _Layer, x: jax.Array) -> jax.Array:
    """Feed-forward of x f32[B, T, D] (already normalised)."""
    config = layer.config
    rows = x.reshape(-1, x.shape[-1])
    if config.n_expert:
        experts = {"n_expert": config.n_expert, "n_used": config.n_expert_used, "scale": config.expert_scale}
        out = mixture(rows, layer.product, config.activation, **experts, watch=layer.watch)
    else:
        out = gated(rows, layer.product, config.activation)
    return out.reshape(x.shape)


def hidden(
    params: Params, state: DecodeState, tokens: jax.Array, counts: jax.Array | None = None, *, config: Config, watch: Watch | None = None
) -> tuple[jax.Array, DecodeState]:
    """The normalised last hidden states f32[B, T, D] of T new tokens a slot, and the state with their keys and values.

    Positions are not moved: the caller knows how many of the tokens count. Where there is no room for a token its hidden state is NaN, and nothing that a
    slot holds is overwritten.

    Args:
        counts: int32[B], how many of each slot's tokens count; only looked at outside of jit, where those have to fit. All by default.
        watch: sees what every matrix of every layer is multiplied with; by role, with a leading axis of layers (and experts).

    Raises:
        ValueError, ContextFull: see `check_inputs`.
    """
    check_inputs(params, state, tokens, counts, config)
    tokens = tokens.astype(jnp.int32)
    length = tokens.shape[1]
    fits = state.fits(length)
    # A write beyond the caches is moved back by XLA. With this much room behind the context it meets nothing that counts; else such a slot is not written.
    written = None if length <= state.capacity - state.n_ctx else fits
    with jax.named_scope("embedding"):
        x = qtake(params["token_embd"], tokens) * config.embedding_scale
        positions = state.positions[:, None] + jnp.arange(length)[None]
        table = rope_table(config.rope, positions, params.get("rope_freqs"))
    windows = jnp.asarray(np.where(np.asarray(config.windows) > 0, config.windows, FULL), jnp.int32)

    def block(carry: tuple[jax.Array, DecodeState], index: jax.Array) -> tuple[tuple[jax.Array, DecodeState], Seen]:
        x, state = carry
        layer = _Layer(params["blocks"], index, config, watch)
        with jax.named_scope("attention"):
            out, state = _attention(layer, layer.norm(x, "attn_norm"), state, table, windows[index], written)
            x = x + (layer.norm(out, "post_attention_norm") if config.post_norms else out)
        with jax.named_scope("feed_forward"):
            out = _feed_forward(layer, layer.norm(x, "ffn_norm"))
            x = x + (layer.norm(out, "post_ffw_norm") if config.post_norms else out)
        return (x, state), {}

    def watched(carry: tuple[jax.Array, DecodeState], index: jax.Array) -> tuple[tuple[jax.Array, DecodeState], Seen]:
        assert watch is not None
        with watch.group() as found:
            return block(carry, index)[0], found

    (x, state), seen = jax.lax.scan(block if watch is None else watched, (x, state), jnp.arange(config.n_layer))
    if watch is not None:
        watch.found.update(seen)
    room = (fits[:, None] & (positions < state.n_ctx))[..., None]
    return jnp.where(room, rms_norm(x, params["output_norm"], config.norm_epsilon), jnp.nan), state


def project(params: Params, x: jax.Array, *, config: Config) -> jax.Array:
    """Logits f32[..., V] of hidden states f32[..., D]."""
    with jax.named_scope("output"):
        logits = qmatmul(x, params.get("output", params["token_embd"]), exact=config.exact)
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
    x, state = hidden(params, state, tokens, config=config)
    return project(params, x, config=config), replace(state, positions=state.positions + tokens.shape[1])
