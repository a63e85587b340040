"""A conversation's prompt cache."""

from __future__ import annotations

from dataclasses import dataclass

from .decode import Session


@dataclass
class Kept:
    """A prompt cache for one conversation at a time: it keeps the KV cache of the last generation for the next one. Another model begins anew.

    Attributes:
        session: of the last generation; None before the first, while one runs, and after an error.
    """

    session: Session | None = None

    def take(self) -> Session | None:
        """The session, which nobody else may use then."""
        found, self.session = self.session, None
        return found
