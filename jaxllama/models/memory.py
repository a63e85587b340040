"""What the layers of one kind remember between steps. Pytrees; nothing in them changes in place. Every leaf has the axes [layers, B, ...]."""

from __future__ import annotations

from typing import ClassVar

import flax.struct
import jax


@flax.struct.dataclass
class KeyValues:
    """The KV cache of attention layers.

    Attributes:
        keys: [layers, B, K, S, H].
        values: [layers, B, K, S, H of the values].
    """

    keys: jax.Array
    values: jax.Array
    shortens: ClassVar[bool] = True

    def used(self, length: int) -> KeyValues:
        """What `length` positions have filled."""
        return KeyValues(self.keys[:, :, :, :length], self.values[:, :, :, :length])


@flax.struct.dataclass
class Latents:
    """What keys and values are made from: one compressed row a position, shared by all heads.

    Attributes:
        rows: [layers, B, 1, S, rank + rotated numbers].
    """

    rows: jax.Array
    shortens: ClassVar[bool] = True

    def used(self, length: int) -> Latents:
        """What `length` positions have filled."""
        return Latents(self.rows[:, :, :, :length])


@flax.struct.dataclass
class Recurrent:
    """A state of fixed size, which all tokens so far have gone into; no token can be taken out again.

    Attributes:
        tail: f32[layers, B, K - 1, C], the last inputs of a convolution over K positions.
        state: f32[layers, B, heads, ...]; None where there is only the convolution.
    """

    tail: jax.Array
    state: jax.Array | None = None
    shortens: ClassVar[bool] = False

    def used(self, length: int) -> Recurrent:
        """All of it."""
        return self


Memory = KeyValues | Latents | Recurrent
