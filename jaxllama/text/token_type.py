"""Kinds of tokens."""

from __future__ import annotations

import re
from enum import IntEnum


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


STRAY = re.compile("[\udc80-\udcff]")  # a byte that is no UTF-8 (Python's `surrogateescape`)
SPACE = "▁"  # how vocabularies of SentencePiece write a space


def utf8(text: str) -> bytes:
    """The bytes of a text. Where it is not UTF-8, surrogates stand for its bytes (see `formats.gguf`)."""
    return text.encode("utf-8", "surrogateescape")


def byte_of(text: str) -> bytes | None:
    """The byte of a token like `<0x0A>`, or None."""
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        try:
            return bytes([int(text[3:5], 16)])
        except ValueError:
            return None
    return None
