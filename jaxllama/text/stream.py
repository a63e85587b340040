"""Token by token to text, without ever cutting a character in two."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable


class StreamDecoder:
    """Turns ids into text as they come.

    Invariant: the pieces of `push`, and then `flush`, concatenate to the whole text.
    """

    def __init__(self, piece: Callable[[int], bytes]):
        self._piece = piece
        self._decoder = getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that is certain now; bytes of an unfinished character wait."""
        return self._decoder.decode(self._piece(token))

    def flush(self) -> str:
        """What is left at the end: a replacement character where a character was never finished."""
        return self._decoder.decode(b"", final=True)
