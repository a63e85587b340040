"""Gated feed-forward layers, dense and with experts."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .watch import Seen, Watch

Product = Callable[..., jax.Array]  # (x, role, expert) -> x @ W.T

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),  # ggml's GELU is the tanh form
}


def gated(x: jax.Array, product: Product, activation: str, suffix: str = "", expert: jax.Array | int = 0) -> jax.Array:
    """down(activation(gate(x)) * up(x)), x f32[R, D] (Shazeer, 2020)."""
    gate = product(x, f"ffn_gate{suffix}", expert)
    up = product(x, f"ffn_up{suffix}", expert)
    return product(ACTIVATIONS[activation](gate) * up, f"ffn_down{suffix}", expert)


def mixture(x: jax.Array, product: Product, activation: str, *, n_expert: int, n_used: int, scale: float = 1.0, watch: Watch | None = None) -> jax.Array:
    """A softmax-gated mixture: the `n_used` best experts of each row, their weights normalised to one (Mixtral).

    Few rows visit just their own experts, one after the other; many rows visit all experts, each row with weight zero where it was not chosen.

    Args:
        x: f32[R, D].
        scale: of the normalised weights.
        watch: what `product` shows its inputs to; it then sees, for each expert, the rows that chose it.
    """
    probabilities = jax.nn.softmax(product(x, "ffn_gate_inp", 0), -1)
    weights, chosen = jax.lax.top_k(probabilities, n_used)  # [R, n_used]
    weights = weights / jnp.maximum(weights.sum(-1, keepdims=True), 6.103515625e-5) * scale  # the smallest normal f16, as in llama.cpp

    if watch is None and x.shape[0] * n_used <= n_expert:

        def visit(i: jax.Array, out: jax.Array) -> jax.Array:
            row, j = i // n_used, i % n_used
            y = gated(jax.lax.dynamic_slice_in_dim(x, row, 1), product, activation, "_exps", chosen[row, j])
            return out.at[row].add(weights[row, j] * y[0])

        return jax.lax.fori_loop(0, x.shape[0] * n_used, visit, jnp.zeros_like(x))

    def expert(e: jax.Array, out: jax.Array) -> jax.Array:
        weight = jnp.where(chosen == e, weights, 0.0).sum(-1, keepdims=True)
        return out + weight * gated(x, product, activation, "_exps", e)

    if watch is None:
        return jax.lax.fori_loop(0, n_expert, expert, jnp.zeros_like(x))

    def watched(out: jax.Array, e: jax.Array) -> tuple[jax.Array, Seen]:
        with watch.group((chosen == e).any(-1)) as found:
            return expert(e, out), found

    out, seen = jax.lax.scan(watched, jnp.zeros_like(x), jnp.arange(n_expert))
    watch.found.update(seen)
    return out
