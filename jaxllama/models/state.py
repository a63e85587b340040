"""What a model remembers between steps: positions, and a memory for each kind of layers. A pytree; nothing in it changes in place."""

from __future__ import annotations

import math
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxllama.environment import available_memory
from jaxllama.layers.attention import BLOCK
from jaxllama.numeric import whole_of

from .config import Config
from .layer import members
from .memory import Memory

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
    """State of B sequences ("slots"): what the layers remember of them, and their positions.

    Attributes:
        positions: int32[B], number of tokens in each slot; the next token gets this position.
        memories: one for each kind of layers, see `Config.kinds`; entries from `positions` on have no meaning.
        n_ctx: how many tokens a slot may hold; static.
        capacity: S, positions that the caches have room for; static. It is larger than n_ctx: it has room for the padding of a prompt's last chunk, at least
            for one token.
    """

    positions: jax.Array
    memories: tuple[Memory, ...]
    n_ctx: int = flax.struct.field(pytree_node=False)
    capacity: int = flax.struct.field(pytree_node=False)

    @property
    def slots(self) -> int:
        return self.positions.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all memories."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.memories))

    def __repr__(self) -> str:
        if not isinstance(self.positions, jax.Array) or isinstance(self.positions, Tracer):
            return f"DecodeState(n_ctx={self.n_ctx})"
        if given_away(self):
            return f"DecodeState(given away, n_ctx={self.n_ctx})"
        types = ", ".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(self.memories)}))
        return f"DecodeState(positions={self.positions.tolist()}, n_ctx={self.n_ctx}, {types} caches of {self.nbytes / 1e6:.1f} MB)"

    @property
    def shortens(self) -> bool:
        """Whether tokens can be taken out again, see `rollback`: not from recurrent layers."""
        return all(memory.shortens for memory in self.memories)

    def fits(self, length: int) -> jax.Array:
        """bool[B], whether each slot's caches have room for `length` more positions, padding included."""
        check_held(self)
        return (self.positions >= 0) & (self.positions <= self.capacity - length)


def given_away(state: DecodeState) -> bool:
    """Whether a state was donated to a call."""
    return any(not isinstance(leaf, Tracer) and leaf.is_deleted() for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array))


def check_held(state: DecodeState) -> None:
    """Raises ValueError where a state was donated: another one goes on with its caches. And TypeError where it is none."""
    if not isinstance(state, DecodeState):
        raise TypeError(f"expected a state, which init_state makes, found {type(state).__name__}")
    if given_away(state):
        raise ValueError("the state was given away to a call that continued it; use the state that the call returned, or fork it before")


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
    if not isinstance(config, Config):
        raise TypeError(f"config: expected a model's configuration, which read_config makes, found {type(config).__name__}")
    slots, n_ctx, padding = whole_of("slots", slots, 1), whole_of("n_ctx", n_ctx, 1), whole_of("padding", padding)
    capacity = -(-(n_ctx + max(padding, 1)) // BLOCK) * BLOCK
    make = partial(memories_for, config, slots, capacity, dtype)
    nbytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(make)))
    available = available_memory() if jax.default_backend() == "cpu" else None  # an accelerator refuses by itself
    if available is not None and nbytes > available:  # Linux would promise the memory, and end the process when it is used
        raise MemoryError(
            f"the KV cache of {slots} slots with {capacity} positions takes {nbytes / 1e9:.1f} GB, {available / 1e9:.1f} GB of memory are free; lower n_ctx"
        )
    return DecodeState(jnp.zeros(slots, jnp.int32), make(), n_ctx, capacity)


def memories_for(config: Config, slots: int, capacity: int, dtype: jnp.dtype) -> tuple[Memory, ...]:
    """An empty memory for each kind of layers."""
    return tuple(kind.mixer.memory(len(layers), slots, capacity, dtype) for kind, layers in zip(config.kinds, members(config.layers), strict=True))
