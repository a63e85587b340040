"""RWKV's tokenizer (`tokenizer.ggml.model` = rwkv): always the longest token, of bytes that the file writes with escapes."""

from __future__ import annotations

import re

from .token_type import TokenType, utf8
from .vocabulary import Vocabulary

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r"}


class RWKV:
    """Encodes text without special tokens."""

    def __init__(self, vocabulary: Vocabulary):
        self._ids = {piece(text, TokenType.NORMAL): i for i, text in enumerate(vocabulary.tokens)}
        self._unknown = vocabulary.special.get("unk", 0)
        lengths: dict[bytes, set[int]] = {}
        for token in self._ids:
            lengths.setdefault(token[:2], set()).add(len(token))
        self._lengths = {head: sorted(found, reverse=True) for head, found in lengths.items()}

    def encode(self, text: str, at_start: bool) -> list[int]:
        raw, at, found = utf8(text), 0, []
        while at < len(raw):
            for length in (*self._lengths.get(raw[at : at + 2], ()), 1):
                token = self._ids.get(raw[at : at + length])
                if token is not None:
                    break
            else:
                token, length = self._unknown, 1
            found.append(token)
            at += length
        return found


def piece(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for."""
    found, at = b"", 0
    for match in _ESCAPE.finditer(text):
        escaped = bytes([int(match[1], 16)]) if match[1] else utf8(_LETTERS.get(match[2], match[2]))
        found += utf8(text[at : match.start()]) + escaped
        at = match.end()
    return found + utf8(text[at:])
