"""Whole numbers on their way to the device, where they have 32 bits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_LIMITS = np.iinfo(np.int32)


def integers(name: str, given: Any) -> np.ndarray | jax.Array:
    """An array of integers of whatever was given: JAX's as they are, everything else as numpy's, so that no bit is lost.

    Args:
        name: what the numbers are, for the error.

    Raises:
        TypeError: they are no whole numbers.
    """
    try:
        found = given if isinstance(given, jax.Array) else np.asarray(given)
    except (TypeError, ValueError):  # rows of different lengths
        raise TypeError(f"{name} must be whole numbers, not {given!r}") from None
    if not jnp.issubdtype(found.dtype, jnp.integer):
        raise TypeError(f"{name} must be whole numbers, not {given!r}" if found.ndim == 0 else f"{name} must be whole numbers, not {found.dtype}")
    return found


def saturated(numbers: np.ndarray | jax.Array) -> jax.Array:
    """Integers as int32; one that does not fit becomes the nearest that does, and never wraps."""
    if jnp.iinfo(numbers.dtype).max > _LIMITS.max:
        if not isinstance(numbers, Tracer):
            numbers = np.asarray(numbers)
        numbers = numbers.clip(max=_LIMITS.max) if jnp.issubdtype(numbers.dtype, jnp.unsignedinteger) else numbers.clip(_LIMITS.min, _LIMITS.max)
    return jnp.asarray(numbers).astype(jnp.int32) if isinstance(numbers, jax.Array) else jnp.asarray(numbers.astype(np.int32))
