"""PLaMo-2's tokenizer (`tokenizer.ggml.model` = plamo2): the tokenization with the highest sum of scores, found from the end of the text.

Scores count in whole ten-thousandths, and the longer token wins where two are equal. A character that no token covers is written as its bytes.
Source: llama.cpp's llm_tokenizer_plamo2.
"""

from __future__ import annotations

import math

from .prefixes import Prefixes
from .token_type import TokenType, byte_of, utf8
from .vocabulary import Vocabulary

_BYTES_SCORE, _LEAST = -10_000_000, -20_000_000


class PLaMo2:
    """Encodes text without special tokens.

    Raises:
        ValueError: a byte has no token.
    """

    def __init__(self, vocabulary: Vocabulary):
        self._bytes: dict[int, int] = {}
        ids: dict[str, int] = {}
        for token, text in enumerate(vocabulary.tokens):
            if vocabulary.types[token] == TokenType.BYTE:
                if (byte := byte_of(text)) is not None:
                    self._bytes[byte[0]] = token
            else:
                ids[text] = token
        if len(self._bytes) < 256:
            raise ValueError(f"byte tokens for {len(self._bytes)} of 256 bytes")
        self._prefixes = Prefixes(ids)
        self._scores = [_whole(s) for s in vocabulary.scores.tolist()]

    def encode(self, text: str, at_start: bool) -> list[int]:
        text = text.removeprefix("\ufeff")
        costs: list[int] = [0] * (len(text) + 1)
        steps: list[tuple[int, int]] = [(0, -1)] * len(text)  # (where the next token begins, this token or -1 for bytes)
        for start in reversed(range(len(text))):
            best, step = 1 << 60, (start + 1, -1)
            for end, token in reversed(list(self._prefixes.at(text, start))):
                score = self._scores[token]
                if score > _LEAST and costs[end] - score < best:
                    best, step = costs[end] - score, (end, token)
            if costs[start + 1] - _BYTES_SCORE < best:
                best, step = costs[start + 1] - _BYTES_SCORE, (start + 1, -1)
            costs[start], steps[start] = best, step
        found, at = [], 0
        while at < len(text):
            end, token = steps[at]
            found += [token] if token >= 0 else [self._bytes[b] for b in text[at].encode()]
            at = end
        return found


def _whole(score: float) -> int:
    """Ten-thousandths, halves away from zero."""
    return int(math.copysign(math.floor(abs(score * 1e4) + 0.5), score)) if math.isfinite(score) else _LEAST


def piece(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for."""
    byte = byte_of(text) if type_ is TokenType.BYTE else None
    return utf8(text) if byte is None else byte
