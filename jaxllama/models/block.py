"""The parameters of one layer, by role: what a mixer or a feed-forward computes with."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxllama.layers.norm import Norm, normalize
from jaxllama.layers.watch import Seen, Watch, group_of
from jaxllama.quant import LayerStack, stack_matmul

from .taps import NOTHING, Tap

Parameters = Mapping[str, LayerStack | jax.Array]
"""Of all layers of a kind, by role: packed matrices, and arrays f32[layers, ...]. Roles are the file's names without ".weight"."""


class Block:
    """The parameters of layer `index` of its kind; the index may be traced.

    Attributes:
        norm_kind: of all norms of the model.
        exact: products in float32 throughout.
        watch: sees what matrices are multiplied with.
        tap: sees the layer's activations, and may change them.
    """

    def __init__(
        self, parameters: Parameters, index: jax.Array, *, norm: Norm, exact: bool, slots: int = 1, watch: Watch | None = None, tap: Tap | None = None
    ):
        self.parameters, self.index = parameters, index
        self.norm_kind, self.exact, self.watch = norm, exact, watch
        self.tap = tap or Tap(NOTHING)
        self._slots = slots

    def has(self, role: str) -> bool:
        """Whether the layer has such a tensor."""
        return role in self.parameters

    def array(self, role: str) -> jax.Array:
        """What is no matrix: f32[...]."""
        return jax.lax.dynamic_index_in_dim(self.parameters[role], self.index, 0, keepdims=False)  # type: ignore[arg-type]

    def product(self, x: jax.Array, role: str, expert: jax.Array | int = 0) -> jax.Array:
        """x f32[R, inputs] times the matrix of a role, with its scale and its bias where it has them: f32[R, outputs]."""
        stack = self.parameters[role]
        assert isinstance(stack, LayerStack)
        if self.watch is not None:
            self.watch.see(role, x)
        y = stack_matmul(x, stack, self.index, expert, exact=self.exact)
        if self.has(f"{role}.scale"):
            y = y * self._entry(f"{role}.scale", expert)
        if self.has(f"{role}.bias"):
            bias = self.array(f"{role}.bias")
            y = y + (self._entry(f"{role}.bias", expert) if bias.ndim == 2 else bias)[None]
        if stack.experts > 1:  # in a loop, which nothing traced may leave
            return y
        return self.tap(role, y.reshape(self._slots, -1, y.shape[-1])).reshape(y.shape)

    def each(self, x: jax.Array, role: str) -> jax.Array:
        """x f32[E, R, inputs], each part times its own of a role's E matrices: f32[E, R, outputs]."""

        def one(_: None, now: tuple[jax.Array, jax.Array]) -> tuple[None, tuple[jax.Array, Seen]]:
            expert, rows = now
            with group_of(self.watch) as found:
                y = self.product(rows, role, expert)
            return None, (y, found)

        _, (y, seen) = jax.lax.scan(one, None, (jnp.arange(x.shape[0]), x))
        if self.watch is not None:
            self.watch.found.update(seen)
        return y

    def _entry(self, role: str, expert: jax.Array | int) -> jax.Array:
        return jax.lax.dynamic_index_in_dim(self.array(role), expert, 0, keepdims=False)

    def norm(self, x: jax.Array, role: str) -> jax.Array:
        """x f32[..., D], normalised."""
        return normalize(x, self.norm_kind, self.array(role), self.array(f"{role}.bias") if self.has(f"{role}.bias") else None)
