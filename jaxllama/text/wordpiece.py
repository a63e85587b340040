"""WordPiece (`tokenizer.ggml.model` = bert): words are normalised, and cut into the longest tokens from the left.

In GGUF files a token that begins a word has a `▁` before it, and one inside a word has nothing. Source: llama.cpp's llm_tokenizer_wpm_session; BERT's own
BasicTokenizer (Devlin et al., 2018) for what a word is.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from .token_type import SPACE, TokenType, utf8
from .vocabulary import Vocabulary

_CHINESE = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),  # where BERT's own table ends and begins; one would expect 0x2B820
    (0x2F800, 0x2FA1F),
)
_SPACES = frozenset([*range(0x09, 0x0E), *range(0x2000, 0x200B), 0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000])


class _Normalized(dict[int, str]):
    """What every character becomes; words of one character get spaces around them. Filled as characters occur."""

    def __init__(self, lowercase: bool, strip_accents: bool):
        super().__init__()
        self._lowercase, self._strip = lowercase, strip_accents

    def __missing__(self, code: int) -> str:
        self[code] = found = self._normalize(code)
        return found

    def _normalize(self, code: int) -> str:
        char = unicodedata.normalize("NFD", chr(code))[0] if self._strip else chr(code)
        category = unicodedata.category(char)
        if ord(char) in _SPACES:
            return " "
        if char in "\0\ufffd" or category in ("Cc", "Cf", "Co", "Cs") or (self._strip and category[0] == "M"):
            return ""
        alone = category[0] == "P" or (ord(char) < 0x7F and category[0] == "S") or any(low <= ord(char) <= high for low, high in _CHINESE)
        char = char.lower()[0] if self._lowercase else char
        return f" {char} " if alone else char


class WordPiece:
    """Encodes text without special tokens."""

    def __init__(self, vocabulary: Vocabulary):
        self._ids = vocabulary.ids
        self._longest = max(map(len, vocabulary.tokens))
        self._unknown = [vocabulary.special["unk"]]
        self._normalized = _Normalized(vocabulary.lowercase, vocabulary.strip_accents)
        self._cut_cached = lru_cache(maxsize=2**16)(self._cut)

    def encode(self, text: str, at_start: bool) -> list[int]:
        found: list[int] = []
        for word in text.translate(self._normalized).split(" "):
            if word:
                found += self._cut_cached(word) if len(word) <= 64 else self._cut(word)
        return found

    def _cut(self, word: str) -> list[int]:
        """The tokens of a word; the unknown token where there is a place at which no token begins."""
        ids, text, at = self._ids, SPACE + word, 0
        found: list[int] = []
        while at < len(text):
            for end in range(min(len(text), at + self._longest), at, -1):
                token = ids.get(text[at:end])
                if token is not None:
                    found.append(token)
                    at = end
                    break
            else:
                return self._unknown
        return found


def piece(text: str, type_: TokenType) -> bytes:
    """The bytes a token stands for."""
    return utf8(text.replace(SPACE, " "))


def clean_spaces(text: str) -> str:
    """Text as it is usually written: no space before punctuation and endings like 's.

    Source: llama.cpp's detokenize, after Hugging Face's clean_up_tokenization.
    """
    for mark in "?!.,":
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    for ending in ("'s", "'m", "'re", "'ve"):
        text = text.replace(f" {ending}", ending)
    return text
