"""What a model remembers between steps: positions and the key/value caches. A pytree; nothing in it changes in place."""

from __future__ import annotations

import math

import flax.struct
import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxllama.environment import available_memory
from jaxllama.layers.attention import BLOCK

from .config import Config

CACHE_TYPES = {"f32": jnp.float32, "f16": jnp.float16, "bf16": jnp.bfloat16}


def cache_dtype(cache_type: str) -> jnp.dtype:
    """The dtype of a KV cache: of "f16", "f32" or "bf16".

    Raises:
        ValueError: it is none of these.
    """
    if not isinstance(cache_type, str) or cache_type not in CACHE_TYPES:
        raise ValueError(f"there is no cache type {cache_type!r}; there are {', '.join(CACHE_TYPES)}")
    return jnp.dtype(CACHE_TYPES[cache_type])


class ContextFull(ValueError):
    """Tokens do not fit the context; the message gives both numbers."""


@flax.struct.dataclass
class DecodeState:
    """State of B sequences ("slots"): their KV cache and positions.

    Attributes:
        positions: int32[B], number of tokens in each slot; the next token gets this position.
        keys, values: [L, B, K, S, H]; entries from `positions` on have no meaning.
        n_ctx: how many tokens a slot may hold; static. S is larger: it has room for the padding of a prompt's last chunk, at least for one token.
    """

    positions: jax.Array
    keys: jax.Array
    values: jax.Array
    n_ctx: int = flax.struct.field(pytree_node=False)

    @property
    def slots(self) -> int:
        return self.keys.shape[1]

    @property
    def capacity(self) -> int:
        """S, positions that the caches have room for."""
        return self.keys.shape[3]

    def __repr__(self) -> str:
        if not isinstance(self.keys, jax.Array) or isinstance(self.positions, Tracer):
            return f"DecodeState(n_ctx={self.n_ctx})"
        size = (self.keys.nbytes + self.values.nbytes) / 1e6
        return f"DecodeState(positions={self.positions.tolist()}, n_ctx={self.n_ctx}, {self.keys.dtype} caches of {size:.1f} MB)"

    def fits(self, length: int) -> jax.Array:
        """bool[B], whether each slot's caches have room for `length` more positions, padding included."""
        return (self.positions >= 0) & (self.positions <= self.capacity - length)


def init_state(config: Config, slots: int = 1, *, n_ctx: int, padding: int, cache_type: str = "f16") -> DecodeState:
    """An empty state.

    Raises:
        ValueError: a size or the cache type is none that a state can have.
        MemoryError: on CPU, where the caches need more memory than is free.

    Args:
        slots: sequences that are decoded together.
        n_ctx: tokens a sequence may have, prompt included.
        padding: positions beyond `n_ctx` that a padded prompt may touch.
        cache_type: "f16", "f32" or "bf16".
    """
    dtype = cache_dtype(cache_type)
    if slots < 1 or n_ctx < 1 or padding < 0:
        raise ValueError(f"slots and n_ctx must be at least 1 and padding at least 0, not {slots}, {n_ctx} and {padding}")
    capacity = -(-(n_ctx + max(padding, 1)) // BLOCK) * BLOCK
    shape = (config.n_layer, slots, config.n_head_kv, capacity, config.head_size)
    nbytes = 2 * math.prod(shape) * dtype.itemsize
    available = available_memory() if jax.default_backend() == "cpu" else None  # an accelerator refuses by itself
    if available is not None and nbytes > available:  # Linux would promise the memory, and end the process when it is used
        raise MemoryError(
            f"the KV cache of {slots} slots with {capacity} positions takes {nbytes / 1e9:.1f} GB, {available / 1e9:.1f} GB of memory are free; lower n_ctx"
        )
    return DecodeState(jnp.zeros(slots, jnp.int32), jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), n_ctx)
