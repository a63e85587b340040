"""What the layers of one kind remember between steps. Pytrees; nothing in them changes in place. Every leaf has the axes [layers, B, ...]."""

from __future__ import annotations

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

    def used(self, length: int) -> KeyValues:
        """What `length` positions have filled."""
        return KeyValues(self.keys[:, :, :, :length], self.values[:, :, :, :length])


Memory = KeyValues
