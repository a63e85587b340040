"""A conversation's prompt cache."""

from __future__ import annotations

from dataclasses import dataclass

from .decode import Session


@dataclass
class Kept:
    """A prompt cache for one conversation at a time: it keeps the KV cache of the last generation for the next one. Another model begins anew, and so does
    one with another context than before.

    Attributes:
        session: of the last generation; None before the first, while one runs, and after an error.
    """

    session: Session | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.session, Session | None):
            raise TypeError(f"Kept: expected a session, which prefill returns, or nothing, found {self.session!r}")

    def take(self) -> Session | None:
        """The session, which nobody else may use then."""
        found, self.session = self.session, None
        return found
