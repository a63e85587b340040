"""Which option an error is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def said(error: Exception) -> str:
    """What an error says; a file's: its name and what is wrong with it, without a number."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename and error.strerror else str(error)


@contextmanager
def named(option: str) -> Iterator[None]:
    """Errors of what is done in it begin with an option's name.

    Raises:
        ValueError: in place of another ValueError, or of a file's error.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"{option}: {said(error)}") from None
