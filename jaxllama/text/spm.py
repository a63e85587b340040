"""SentencePiece BPE (`tokenizer.ggml.model` = llama): neighbours are merged in the order of the scores of what they merge to.

Source: llama.cpp's llm_tokenizer_spm, which defines the ids for GGUF files. The `tokenizers` library merges by pairs, which is not the same when two pairs
make the same token, so the merging is written here.
"""

from __future__ import annotations

from functools import lru_cache
from heapq import heapify, heappop, heappush
from re import compile as regex

from .token_type import SPACE, STRAY, TokenType, byte_of, utf8
from .vocabulary import Vocabulary


class SPM:
    """Encodes text without special tokens."""

    def __init__(self, vocabulary: Vocabulary):
        self._ids = vocabulary.ids
        self._prefix = SPACE if vocabulary.add_space_prefix else ""
        self._scores = vocabulary.scores.tolist()
        self._bytes = [self._ids.get(f"<0x{b:02X}>", self._ids.get(chr(b), vocabulary.special.get("unk", 0))) for b in range(256)]
        mergeable = [vocabulary.tokens[i] for i in vocabulary.of_type(TokenType.NORMAL, TokenType.UNUSED, TokenType.UNDEFINED, TokenType.USER_DEFINED)]
        # Where no token has a space after another character, no merge crosses from a word into the next, and words can be merged one by one.
        crossing = regex(f"[^{SPACE}]{SPACE}")
        self._words = None if any(crossing.search(t) for t in mergeable) else regex(f"{SPACE}*[^{SPACE}]+|{SPACE}+$")
        self._merge_cached = lru_cache(maxsize=2**16)(self._merge)

    def encode(self, text: str, at_start: bool) -> list[int]:
        text = (self._prefix if at_start else "") + text.replace(" ", SPACE)
        if STRAY.search(text):  # what follows the first byte of a character is not looked at, so no word is safe
            return list(self._merge(_characters(utf8(text))))
        if self._words is None:
            return list(self._merge(text))
        ids: list[int] = []
        for word in self._words.findall(text):
            ids += self._merge_cached(word) if len(word) <= 64 else self._merge(word)
        return ids

    def _merge(self, text: str | tuple[str, ...]) -> tuple[int, ...]:
        ids, scores = self._ids, self._scores
        pieces = list(text)
        before = list(range(-1, len(pieces) - 1))
        after = list(range(1, len(pieces) + 1))
        heap: list[tuple[float, int, str]] = []  # (-score, left piece, merged text): best score first, then the leftmost
        for left in range(len(pieces) - 1):
            merged = pieces[left] + pieces[left + 1]
            if merged in ids:
                heap.append((-scores[ids[merged]], left, merged))
        heapify(heap)
        while heap:
            _, left, merged = heappop(heap)
            right = after[left]
            if not pieces[left] or right >= len(pieces) or pieces[left] + pieces[right] != merged:
                continue  # one of the two has been merged in the meantime
            pieces[left], pieces[right] = merged, ""
            after[left] = after[right]
            if after[right] < len(pieces):
                before[after[right]] = left
            for start in (before[left], left):
                if start >= 0 and after[start] < len(pieces):
                    candidate = pieces[start] + pieces[after[start]]
                    if candidate in ids:
                        heappush(heap, (-scores[ids[candidate]], start, candidate))
        found: list[int] = []
        for piece in pieces:
            if piece in ids:
                found.append(ids[piece])
            elif piece:
                found += (self._bytes[b] for b in utf8(piece))
        return tuple(found)


def _characters(raw: bytes) -> tuple[str, ...]:
    """Bytes as llama.cpp cuts them into characters: as long as the first byte says, whatever follows it."""
    found, at = [], 0
    while at < len(raw):
        size = (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4)[raw[at] >> 4]
        found.append(raw[at : at + size].decode("utf-8", "surrogateescape"))
        at += size
    return tuple(found)


def piece(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for."""
    if type_ is TokenType.BYTE and (byte := byte_of(text)) is not None:
        return byte
    return utf8(text if type_ is TokenType.USER_DEFINED else text.replace(SPACE, " "))
