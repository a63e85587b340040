"""Attention with a cache of keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from einops import rearrange

from jaxllama.layers.attention import FULL, attend, update_cache
from jaxllama.layers.rope import Rope, rotate

from ..batch import Batch
from ..block import Block
from ..memory import KeyValues
from ..tensors import TensorRow, Tensors, matrix, merged, vector


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Multi-head attention, heads of queries sharing heads of keys and values.

    Attributes:
        n_head, n_head_kv: heads of queries, and of keys and values.
        key_size, value_size: numbers of a head.
        scale: of the scores.
        rope: how queries and keys rotate; None for not at all.
        window: how many positions a query sees, its own included; 0 for all.
        softcap: scores s become softcap * tanh(s / softcap); 0 for none.
        head_norm: whether each head of queries and keys is normalised before it is rotated.
        sinks: whether each head has a score of its own that takes part in the softmax and has no value.
        fused: whether queries, keys and values come from one matrix.
        gated: whether each head's result is multiplied with the sigmoid of a gate, which comes beside its query.
    """

    n_head: int
    n_head_kv: int
    key_size: int
    value_size: int
    scale: float
    rope: Rope | None
    window: int = 0
    softcap: float = 0.0
    head_norm: bool = False
    sinks: bool = False
    fused: bool = False
    gated: bool = False

    def tensors(self, width: int) -> Tensors:
        """See `Layer.tensors`."""
        queries, keys, values = self._outputs()
        if self.fused:
            inputs = matrix("attn_qkv", queries + keys + values, width)
        else:
            inputs = merged(matrix("attn_q", queries, width), matrix("attn_k", keys, width), matrix("attn_v", values, width))
        return merged(
            inputs,
            matrix("attn_output", width, self.n_head * self.value_size),
            merged(vector("attn_q_norm", self.key_size), vector("attn_k_norm", self.key_size)) if self.head_norm else {},
            {"attn_sinks.weight": TensorRow((self.n_head,))} if self.sinks else {},
        )

    def _outputs(self) -> tuple[int, int, int]:
        """Numbers of the queries, with their gates, of the keys and of the values."""
        return self.n_head * self.key_size * (2 if self.gated else 1), self.n_head_kv * self.key_size, self.n_head_kv * self.value_size

    def memory(self, layers: int, slots: int, capacity: int, dtype: jnp.dtype) -> KeyValues:
        """The empty cache of so many layers, with `capacity` positions a slot."""
        shape = (layers, slots, self.n_head_kv, capacity)
        return KeyValues(jnp.zeros((*shape, self.key_size), dtype), jnp.zeros((*shape, self.value_size), dtype))

    def run(self, block: Block, x: jax.Array, memory: KeyValues, batch: Batch) -> tuple[jax.Array, KeyValues]:
        """See `Layer.run`."""
        q, k, v = self._inputs(block, x)
        q, gate = jnp.split(q, 2, -1) if self.gated else (q, None)
        if self.head_norm:
            q, k = block.norm(q, "attn_q_norm"), block.norm(k, "attn_k_norm")
        if self.rope is not None:
            table = batch.tables[self.rope]
            q, k = rotate(q, table, self.rope.kind), rotate(k, table, self.rope.kind)
        q, k, v = block.tap("queries", q), block.tap("keys", k), block.tap("values", v)
        keys, values = (update_cache(cache, new, block.index, batch.positions, batch.written) for cache, new in ((memory.keys, k), (memory.values, v)))
        mixed = attend(
            q,
            keys,
            values,
            block.index,
            batch.positions,
            window=jnp.int32(self.window or FULL),
            scale=self.scale,
            softcap=self.softcap,
            sinks=block.array("attn_sinks") if self.sinks else None,
        )
        mixed = block.tap("heads", mixed)
        if gate is not None:
            mixed = mixed * jax.nn.sigmoid(gate)
        out = block.product(rearrange(mixed, "b t n h -> (b t) (n h)"), "attn_output")
        return out.reshape(x.shape), KeyValues(keys, values)

    def _inputs(self, block: Block, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, with their gates behind them, keys and values f32[B, T, heads, H] of x f32[B, T, D]."""
        rows = x.reshape(-1, x.shape[-1])

        def heads(flat: jax.Array, size: int) -> jax.Array:
            return rearrange(flat, "(b t) (n h) -> b t n h", b=x.shape[0], h=size)

        if not self.fused:
            q, k, v = (block.product(rows, role) for role in ("attn_q", "attn_k", "attn_v"))
        else:
            queries, keys, _ = self._outputs()
            q, k, v = jnp.split(block.product(rows, "attn_qkv"), (queries, queries + keys), -1)
        return heads(q, self.key_size * (2 if self.gated else 1)), heads(k, self.key_size), heads(v, self.value_size)
