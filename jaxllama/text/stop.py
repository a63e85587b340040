"""Finding stop strings in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopFinder:
    """Passes text on until one of the stop strings appears; holds back what may be the beginning of one.

    Attributes:
        found: the stop string, once it has been seen.
    """

    def __init__(self, stops: Sequence[str]):
        if any(not s for s in stops):
            raise ValueError("a stop string must not be empty")
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """The text that can be shown now."""
        if self.found is not None:
            return ""
        if not self._stops:
            return text
        self._held += text
        hits = [(at, s) for s in self._stops if (at := self._held.find(s)) >= 0]
        if hits:
            at, self.found = min(hits)
            shown, self._held = self._held[:at], ""
            return shown
        keep = max((n for s in self._stops for n in range(1, min(len(s), len(self._held) + 1)) if self._held.endswith(s[:n])), default=0)
        at = len(self._held) - keep
        shown, self._held = self._held[:at], self._held[at:]
        return shown

    def flush(self) -> str:
        """What was held back, at the end."""
        shown, self._held = self._held, ""
        return shown
