"""Byte-level BPE (`tokenizer.ggml.model` = gpt2), merged by the `tokenizers` library."""

from __future__ import annotations

import tokenizers
from tokenizers import models, pre_tokenizers

from .pretokenizers import PRETOKENIZERS
from .vocabulary import TokenType, Vocabulary


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for every byte, inverted: character -> byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


BYTE_OF = _byte_alphabet()


class BPE:
    """Encodes text without special tokens."""

    def __init__(self, vocabulary: Vocabulary):
        pre = PRETOKENIZERS[vocabulary.pre]
        ids = vocabulary.ids
        cut = [(m, m.find(" ", 1)) for m in vocabulary.merges]
        merges = [(m[:at], m[at + 1 :]) for m, at in cut if m[:at] in ids and m[at + 1 :] in ids and m[:at] + m[at + 1 :] in ids]
        self._tokenizer = tokenizers.Tokenizer(models.BPE(dict(ids), merges, ignore_merges=pre.ignore_merges))
        cuts = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in pre.patterns]
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids


def piece_bytes(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for; tokens added by users are written as plain text."""
    if type_ is TokenType.NORMAL and all(c in BYTE_OF for c in text):
        return bytes(BYTE_OF[c] for c in text)
    return text.encode()
