"""Numbers as callers give them: Python's, numpy's or JAX's, alone, in lists or in arrays. Booleans are none. (No JAX is imported here.)"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np


def whole(given: Any) -> int | None:
    """A whole number as Python's own, whatever its type was; None where it is none."""
    if isinstance(given, (bool, np.bool_)) or getattr(given, "dtype", None) == np.bool_:
        return None
    try:
        return operator.index(given)
    except TypeError:
        return None


def real(given: Any) -> float | None:
    """A real number as Python's own, NaN and infinities too; None where it is none."""
    found = np.asarray(given) if hasattr(given, "__array__") or isinstance(given, (int, float)) else None
    return float(found) if found is not None and found.ndim == 0 and found.dtype.kind not in "bcSUOV" else None


def whole_of(name: str, given: Any, least: int = 0, most: int | None = None, *, note: str = "") -> int:
    """A whole number within limits.

    Args:
        name: what the caller knows it as, for the error.
        note: what some numbers mean, for the error.

    Raises:
        ValueError: it is none, or is too small or too large.
    """
    found = whole(given)
    if found is None or found < least or (most is not None and found > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {limits}{note}, not {given!r}")
    return found


def flag_of(name: str, given: Any) -> bool:
    """True or false.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, not {given!r}")
    return bool(given)


def ids_of(given: Any, expected: str = "expected token ids") -> list[int]:
    """Ids as a list of Python's numbers.

    Args:
        given: any iterable of whole numbers, or an array of one axis.
        expected: how the error begins.

    Raises:
        TypeError: it is something else.
    """
    numbers = np.asarray(given) if hasattr(given, "__array__") else given  # numbers of JAX's arrays one by one are slow, and no keys
    if isinstance(numbers, (str, bytes, bytearray)) or not isinstance(numbers, Iterable) or getattr(numbers, "ndim", 1) != 1:
        raise TypeError(f"{expected}, found {given!r}")
    found = []
    for one in numbers:
        if (number := whole(one)) is None:
            raise TypeError(f"{expected}, found {one!r} among them")
        found.append(number)
    return found
