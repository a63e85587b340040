"""What a model remembers between steps: positions and the key/value caches. A pytree; nothing in it changes in place."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp

from jaxllama.layers.attention import BLOCK

from .config import Config

CACHE_TYPES = {"f32": jnp.float32, "f16": jnp.float16, "bf16": jnp.bfloat16}


@flax.struct.dataclass
class DecodeState:
    """State of B sequences ("slots").

    Attributes:
        positions: int32[B], tokens each slot holds; the next token gets this position.
        keys, values: [L, B, K, S, H]; entries from `positions` on have no meaning.
        n_ctx: how many tokens a slot may hold; static. S is larger: it has room for the padding of a prompt's last chunk.
    """

    positions: jax.Array
    keys: jax.Array
    values: jax.Array
    n_ctx: int = flax.struct.field(pytree_node=False)

    @property
    def slots(self) -> int:
        return self.keys.shape[1]


def init_state(config: Config, slots: int = 1, *, n_ctx: int, padding: int, cache_type: str = "f16") -> DecodeState:
    """An empty state.

    Args:
        slots: sequences that are decoded together.
        n_ctx: tokens a sequence may have, prompt included.
        padding: positions beyond `n_ctx` that a padded prompt may touch.
        cache_type: "f16", "f32" or "bf16".
    """
    if cache_type not in CACHE_TYPES:
        raise ValueError(f"no cache type '{cache_type}'; there are {', '.join(CACHE_TYPES)}")
    if slots < 1 or n_ctx < 1:
        raise ValueError(f"a state needs at least one slot and one token, not {slots} and {n_ctx}")
    capacity = -(-(n_ctx + padding) // BLOCK) * BLOCK
    shape = (config.n_layer, slots, config.n_head_kv, capacity, config.head_size)
    dtype = CACHE_TYPES[cache_type]
    return DecodeState(jnp.zeros(slots, jnp.int32), jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), n_ctx)
