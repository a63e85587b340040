"""Multi-head latent attention (DeepSeek-V2): keys and values are remembered as one compressed row."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from einops import rearrange

from jaxllama.layers.attention import FULL, attend, update_cache
from jaxllama.layers.rope import Rope, rotate

from ..batch import Batch
from ..block import Block
from ..memory import Latents
from ..tensors import Tensors, matrix, merged, vector


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Attention of all heads to one row a position: the matrices that would unfold it are applied to queries and results instead.

    Attributes:
        n_head: heads of queries.
        rank: numbers of a row, beside those that rotate.
        query_rank: queries are compressed to it first; 0 for not at all.
        plain_size, rotated_size: numbers of a query's head that do not rotate, and that do.
        value_size: numbers of a head's value.
        scale: of the scores.
        rope: how the last `rotated_size` numbers rotate.
    """

    n_head: int
    rank: int
    query_rank: int
    plain_size: int
    rotated_size: int
    value_size: int
    scale: float
    rope: Rope

    def tensors(self, width: int) -> Tensors:
        """See `Layer.tensors`."""
        queries = self.n_head * (self.plain_size + self.rotated_size)
        if self.query_rank:
            inputs = merged(
                matrix("attn_q_a", self.query_rank, width, bias="none"),
                vector("attn_q_a_norm", self.query_rank),
                matrix("attn_q_b", queries, self.query_rank, bias="none"),
            )
        else:
            inputs = matrix("attn_q", queries, width, bias="none")
        return merged(
            inputs,
            matrix("attn_kv_a_mqa", self.rank + self.rotated_size, width, bias="none"),
            vector("attn_kv_a_norm", self.rank),
            matrix("attn_k_b", self.rank, self.plain_size, experts=self.n_head, bias="none"),
            matrix("attn_v_b", self.value_size, self.rank, experts=self.n_head, bias="none"),
            matrix("attn_output", width, self.n_head * self.value_size, bias="none"),
        )

    def memory(self, layers: int, slots: int, capacity: int, dtype: jnp.dtype) -> Latents:
        """The empty cache of so many layers, with `capacity` positions a slot."""
        return Latents(jnp.zeros((layers, slots, 1, capacity, self.rank + self.rotated_size), dtype))

    def run(self, block: Block, x: jax.Array, memory: Latents, batch: Batch) -> tuple[jax.Array, Latents]:
        """See `Layer.run`."""
        slots, length, _ = x.shape
        flat = x.reshape(slots * length, -1)
        table = batch.tables[self.rope]
        if self.query_rank:
            q = block.product(block.norm(block.product(flat, "attn_q_a"), "attn_q_a_norm"), "attn_q_b")
        else:
            q = block.product(flat, "attn_q")
        q = rearrange(q, "(b t) (n h) -> b t n h", b=slots, n=self.n_head)
        plain, turning = jnp.split(q, (self.plain_size,), -1)
        plain = block.each(rearrange(plain, "b t n h -> n (b t) h"), "attn_k_b")
        plain = rearrange(plain, "n (b t) r -> b t n r", b=slots)
        q = jnp.concatenate([plain, rotate(turning, table, self.rope.kind)], -1)
        row, turning = jnp.split(block.product(flat, "attn_kv_a_mqa").reshape(slots, length, 1, -1), (self.rank,), -1)
        row = jnp.concatenate([block.norm(row, "attn_kv_a_norm"), rotate(turning, table, self.rope.kind)], -1)
        rows = update_cache(memory.rows, row, block.index, batch.positions, batch.written)
        mixed = attend(q, rows, None, block.index, batch.positions, window=jnp.int32(FULL), scale=self.scale, value_size=self.rank)
        mixed = block.each(rearrange(mixed, "b t n r -> n (b t) r"), "attn_v_b")
        out = block.product(rearrange(mixed, "n rows h -> rows (n h)"), "attn_output")
        return out.reshape(x.shape), Latents(rows)
