"""BPE (`tokenizer.ggml.model` = gpt2, gemma4, whitespace, hybriddna), merged by the `tokenizers` library."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tokenizers
from tokenizers import models, pre_tokenizers

from .pretokenizers import PRETOKENIZERS
from .token_type import SPACE, TokenType, byte_of, utf8
from .vocabulary import Vocabulary

DNA_MARK = "\ue000"  # ends the tokens of six bases, so that they differ from ordinary tokens of the same text
_BASES = 6
_NO_UTF8 = re.compile("[\ud800-\udfff]")
_MANY = 2**13  # characters for which several threads pay


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for every byte, inverted: character -> byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


BYTE_OF = _byte_alphabet()


class BPE:
    """Encodes text without special tokens."""

    def __init__(self, vocabulary: Vocabulary):
        self._pre = pre = PRETOKENIZERS[vocabulary.pre]
        ids = self._ids = vocabulary.ids
        texts = {text: i for text, i in ids.items() if text.isascii() or not _NO_UTF8.search(text)}  # the library takes no others, and no text has them
        cut = [(m, m.find(" ", 1)) for m in vocabulary.merges]
        merges = [(m[:at], m[at + 1 :]) for m, at in cut if m[:at] in texts and m[at + 1 :] in texts and m[:at] + m[at + 1 :] in texts]
        model = models.BPE(texts, merges, ignore_merges=pre.ignore_merges, byte_fallback=pre.raw)
        self._tokenizer = _cutting(model, pre.patterns, pre.raw)
        self._ascii = _cutting(model, pre.ascii, pre.raw) if pre.ascii else None

    def encode(self, text: str, at_start: bool) -> list[int]:
        if self._pre.escape:
            text = text.replace(" ", SPACE)
        if self._ascii is not None and len(text) > _MANY:
            return self._by_line(text, self._ascii)
        if not self._pre.whole_lines:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        found: list[int] = []
        for run in re.findall(r"[^\n]+|\n+", text):
            found += [self._ids[run]] if run[0] == "\n" and run in self._ids else self._tokenizer.encode(run, add_special_tokens=False).ids
        return found

    def _by_line(self, text: str, ascii_tokenizer: tokenizers.Tokenizer) -> list[int]:
        """Every line by itself, on all cores, each different line once."""
        lines = re.findall(r"[^\r\n]+|[\r\n]", text)
        ids: dict[str, list[int]] = {}
        for tokenizer, ascii_ in ((ascii_tokenizer, True), (self._tokenizer, False)):
            some = [line for line in dict.fromkeys(lines) if line.isascii() == ascii_]
            ids |= zip(some, (made.ids for made in tokenizer.encode_batch(some, add_special_tokens=False)), strict=True)
        return [token for line in lines for token in ids[line]]


def _cutting(model: models.BPE, patterns: Sequence[str], raw: bool) -> tokenizers.Tokenizer:
    """The model, for text that is cut by expressions first."""
    made = tokenizers.Tokenizer(model)
    cuts = [pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated") for pattern in patterns]
    alphabet = [] if raw else [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence([*cuts, *alphabet])
    return made


class Whitespace(BPE):
    """Words between white space, which is dropped; in small letters where the file asks for it."""

    def __init__(self, vocabulary: Vocabulary):
        super().__init__(vocabulary)
        self._lowercase = vocabulary.lowercase

    def encode(self, text: str, at_start: bool) -> list[int]:
        if self._lowercase:
            text = "".join(c.lower()[0] for c in text)
        return [token for word in text.split() for token in super(Whitespace, self).encode(word, at_start)]


class HybridDNA(BPE):
    """Ordinary text, and between `<dna>` and `</dna>` bases in groups of six."""

    def encode(self, text: str, at_start: bool) -> list[int]:
        ids = self._ids
        if not {"<dna>", "</dna>", "<oov>"} <= ids.keys():
            return super().encode(text, at_start)
        found: list[int] = []
        while text:
            before, tag, text = text.partition("<dna>")
            found += super().encode(before, at_start) if before else []
            if tag:
                bases, end, text = text.partition("</dna>")
                bases = "".join(c.upper() if "a" <= c <= "z" else c for c in bases)
                groups = [bases[i : i + _BASES].ljust(_BASES, "A") for i in range(0, len(bases), _BASES)]
                found += [ids["<dna>"], *(ids.get(g + DNA_MARK, ids["<oov>"]) for g in groups), *([ids["</dna>"]] if end else [])]
        return found


def piece(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for; tokens added by users are written as plain text."""
    if type_ is TokenType.BYTE and (byte := byte_of(text)) is not None:
        return byte
    if type_ is TokenType.NORMAL and all(c in BYTE_OF for c in text):
        return bytes(BYTE_OF[c] for c in text)
    return utf8(text.removesuffix(DNA_MARK))


def raw_piece(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for in a vocabulary of plain text."""
    if type_ is TokenType.BYTE and (byte := byte_of(text)) is not None:
        return byte
    return utf8(text.replace(SPACE, " ") if type_ is TokenType.NORMAL else text)
