"""A mixture of experts: choosing them, and adding up what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from .watch import Seen, Watch

Gate = Literal["softmax", "sigmoid", "softmax_weight", "sqrt_softplus"]
"""How scores become probabilities. "softmax_weight" chooses by the scores, and takes the softmax of those chosen."""

Expert = Callable[[jax.Array, jax.Array], jax.Array]
"""(x f32[R, D], its number) -> f32[R, D]"""

_PROBABILITIES: dict[Gate, Callable[[jax.Array], jax.Array]] = {
    "softmax": lambda scores: jax.nn.softmax(scores, -1),
    "sigmoid": jax.nn.sigmoid,
    "softmax_weight": lambda scores: scores,
    "sqrt_softplus": lambda scores: jnp.sqrt(jax.nn.softplus(scores)),
}
LEAST_SUM = 6.103515625e-5  # the smallest normal f16: what llama.cpp divides weights by at least


def choose(
    scores: jax.Array,
    bias: jax.Array | None,
    *,
    n_used: int,
    gate: Gate = "softmax",
    normalized: bool = True,
    scale: float = 1.0,
    groups: int = 0,
    groups_used: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """The experts of each row.

    Args:
        scores: f32[R, E], of the gate.
        bias: f32[E], added to the probabilities for the choice only.
        n_used: how many to choose.
        normalized: divide the weights by their sum.
        scale: of the weights.
        groups, groups_used: choose within the groups of neighbours whose two best add up to most; 0 for no groups.

    Returns:
        Weights f32[R, n_used] and experts int32[R, n_used].

    Source: llama.cpp's build_moe_ffn.
    """
    probabilities = _PROBABILITIES[gate](scores)
    order = probabilities if bias is None else probabilities + bias[None]
    if groups > 1:
        grouped = order.reshape(order.shape[0], groups, -1)
        best = jax.lax.top_k(grouped, 2)[0].sum(-1)
        _, used = jax.lax.top_k(best, groups_used)
        kept = (used[:, :, None] == jnp.arange(groups)[None, None]).any(1)
        order = jnp.where(kept[:, :, None], grouped, -jnp.inf).reshape(order.shape)
    _, chosen = jax.lax.top_k(order, n_used)
    weights = jnp.take_along_axis(probabilities, chosen, -1)
    if gate == "softmax_weight":
        weights = jax.nn.softmax(weights, -1)
    if normalized:
        weights = weights / jnp.maximum(weights.sum(-1, keepdims=True), LEAST_SUM)
    return weights if scale == 1 else weights * scale, chosen


def mix(x: jax.Array, weights: jax.Array, chosen: jax.Array, expert: Expert, *, n_expert: int, watch: Watch | None = None) -> jax.Array:
    """The weighted sum f32[R, D] of what the chosen experts make of each row.

    Few rows visit just their own experts, one after the other; many rows visit all experts, each row with weight zero where it was not chosen.

    Args:
        x: f32[R, D].
        weights, chosen: f32[R, n_used], int32[R, n_used].
        watch: what the experts' products show their inputs to; it then sees, for each expert, the rows that chose it.
    """
    n_used = chosen.shape[1]
    if watch is None and x.shape[0] * n_used <= n_expert:

        def visit(i: jax.Array, out: jax.Array) -> jax.Array:
            row, j = i // n_used, i % n_used
            y = expert(jax.lax.dynamic_slice_in_dim(x, row, 1), chosen[row, j])
            return out.at[row].add(weights[row, j] * y[0])

        return jax.lax.fori_loop(0, x.shape[0] * n_used, visit, jnp.zeros_like(x))

    def add(e: jax.Array, out: jax.Array) -> jax.Array:
        weight = jnp.where(chosen == e, weights, 0.0).sum(-1, keepdims=True)
        return out + weight * expert(x, e)

    if watch is None:
        return jax.lax.fori_loop(0, n_expert, add, jnp.zeros_like(x))

    def watched(out: jax.Array, e: jax.Array) -> tuple[jax.Array, Seen]:
        with watch.group((chosen == e).any(-1)) as found:
            return add(e, out), found

    out, seen = jax.lax.scan(watched, jnp.zeros_like(x), jnp.arange(n_expert))
    watch.found.update(seen)
    return out
