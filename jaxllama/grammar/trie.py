"""A vocabulary's texts as a tree, level by level: all tokens that begin alike share a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LONGEST = 255  # bytes of a token that a grammar can allow; longer ones never are


@dataclass(frozen=True)
class Level:
    """The nodes of one depth, in the order of their texts.

    Attributes:
        bytes: uint8[N], the last byte of each node's text.
        first, counts: int32[N], each node's children in the next level.
        tokens: int32[K], the tokens whose text ends at this depth, in the order of their nodes.
        ending_first, ending_counts: int32[N], which of `tokens` are a node's.
    """

    bytes: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    tokens: np.ndarray
    ending_first: np.ndarray
    ending_counts: np.ndarray


@dataclass(frozen=True)
class Trie:
    """The tree.

    Attributes:
        size: tokens of the vocabulary.
        levels: those of texts of one byte first.
        text: uint8, the texts of all tokens one after the other; `starts` int32[size + 1] says where each begins.
        ends: tokens that end a generation; they have no text here.
    """

    size: int
    levels: list[Level]
    text: np.ndarray
    starts: np.ndarray
    ends: tuple[int, ...]

    def piece(self, token: int) -> bytes:
        """The text of a token; empty for those that no grammar allows."""
        return self.text[self.starts[token] : self.starts[token + 1]].tobytes()


def build_trie(pieces: Sequence[bytes], ends: Sequence[int]) -> Trie:
    """The tree of a vocabulary.

    Args:
        pieces: each token's text. Those without text, with a text that begins with NUL, and very long ones are left out, as llama.cpp leaves them out.
        ends: tokens that end a generation.
    """
    silent = set(ends)
    kept = [b"" if n in silent or p[:1] == b"\0" or len(p) > LONGEST else p for n, p in enumerate(pieces)]
    lengths = np.fromiter(map(len, kept), np.int64, len(kept))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    text = np.frombuffer(b"".join(kept), np.uint8)
    order = np.asarray(sorted((n for n, p in enumerate(kept) if p), key=kept.__getitem__), np.int64)
    levels: list[Level] = []
    alive = np.arange(len(order))  # tokens, by rank, that reach this depth
    path = np.zeros(len(order), np.int64)  # of each of them, its node one level up
    depth = 0
    while alive.size:
        byte = text[starts[order[alive]] + depth]
        fresh = np.ones(alive.size, bool)
        fresh[1:] = (path[1:] != path[:-1]) | (byte[1:] != byte[:-1])
        node = np.cumsum(fresh) - 1
        if levels:
            counts = np.bincount(path[fresh], minlength=len(levels[-1].bytes))
            levels[-1].counts[:] = counts
            levels[-1].first[:] = np.cumsum(counts) - counts
        last = lengths[order[alive]] == depth + 1
        size = int(node[-1]) + 1
        ending = np.bincount(node[last], minlength=size).astype(np.int32)
        none = np.zeros(size, np.int32)
        levels.append(Level(byte[fresh], none, none.copy(), order[alive[last]].astype(np.int32), np.cumsum(ending) - ending, ending))
        path, alive, depth = node[~last], alive[~last], depth + 1
    return Trie(len(kept), levels, text, starts.astype(np.int32), tuple(sorted(silent)))
