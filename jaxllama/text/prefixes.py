"""Which tokens a text has at a place: what Viterbi and greedy tokenizers ask for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Prefixes:
    """Finds the tokens that begin at a place of a text, in time that follows the longest of them."""

    def __init__(self, ids: Mapping[str, int]):
        self._ids = ids
        self._beginnings = {text[:n] for text in ids for n in range(1, len(text) + 1)}

    def at(self, text: str, start: int) -> Iterator[tuple[int, int]]:
        """(end, id) of every token that begins at `start`, the shortest first."""
        ids, beginnings = self._ids, self._beginnings
        for end in range(start + 1, len(text) + 1):
            piece = text[start:end]
            if piece not in beginnings:
                return
            if piece in ids:
                yield end, ids[piece]
