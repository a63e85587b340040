"""Files whose token ids stand for no text: without a vocabulary (`tokenizer.ggml.model` = none), and of llama.cpp's tests (test)."""

from __future__ import annotations

from .token_type import TokenType, utf8
from .vocabulary import Vocabulary

_CHUNK = 5  # bytes
_WORD = 2**64


class NoVocabulary:
    """Encodes nothing."""

    def __init__(self, vocabulary: Vocabulary):
        self._model = vocabulary.model

    def encode(self, text: str, at_start: bool) -> list[int]:
        raise ValueError(f"the file has no vocabulary (tokenizer.ggml.model is '{self._model}'), so it cannot encode text; give it token ids")


class Chunks:
    """Encodes every five bytes as their hash, as llama.cpp does for its own tests; there is no way back."""

    def __init__(self, vocabulary: Vocabulary):
        self._count = len(vocabulary.tokens)

    def encode(self, text: str, at_start: bool) -> list[int]:
        raw = utf8(text)
        return [self._hash(raw[at : at + _CHUNK]) % self._count for at in range(0, len(raw), _CHUNK)]

    @staticmethod
    def _hash(chunk: bytes) -> int:
        found = 0
        for byte in chunk:
            found = (found * 31 + byte) % _WORD
        return found


def no_piece(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for: none."""
    return b""
