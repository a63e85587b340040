"""Unigram (`tokenizer.ggml.model` = t5): the most likely tokenization of the whole text (Viterbi).

Source: Kudo, 2018; SentencePiece; llama.cpp's llm_tokenizer_ugm.
"""

from __future__ import annotations

from .charsmap import CharsMap
from .prefixes import Prefixes
from .token_type import SPACE, STRAY, TokenType, utf8
from .vocabulary import Vocabulary

_UNKNOWN_PENALTY = 10.0  # below the least likely token


class Unigram:
    """Encodes text without special tokens."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        types, scores = vocabulary.types, vocabulary.scores.astype(float)
        normal = types == TokenType.NORMAL
        self._unknown = vocabulary.special["unk"]
        self._unknown_score = (float(scores[normal].min()) if normal.any() else 0.0) - _UNKNOWN_PENALTY
        # Those of the text are cut out before; the table of normalisations makes others.
        user = vocabulary.of_type(TokenType.USER_DEFINED)
        self._scores = scores.tolist()
        for token in user:
            self._scores[token] = 0.0  # chosen before any other, whose scores are logarithms of probabilities
        matched = [*vocabulary.of_type(TokenType.NORMAL, TokenType.UNUSED), *user]
        self._prefixes = Prefixes({vocabulary.tokens[i]: i for i in matched})
        self._map = CharsMap(vocabulary.charsmap) if vocabulary.charsmap else None

    def encode(self, text: str, at_start: bool) -> list[int]:
        return self._viterbi(self._normalize(text))

    def _replaced(self, text: str) -> str:
        """The text after the table of normalisations."""
        found, raw, at = [], utf8(text), 0
        offsets = {}  # place in bytes -> place in characters
        for number, char in enumerate(text):
            offsets[at] = number
            at += len(utf8(char))
        at = 0
        while at < len(raw):
            hit = self._map.longest(raw, at) if self._map else None
            if hit is not None:
                found.append(hit[1])
                at += hit[0]
            elif at in offsets and not STRAY.match(text[offsets[at]]):
                piece = text[offsets[at]].encode()
                found.append(piece)
                at += len(piece)
            else:  # a stray byte, or a prefix of the table has ended within a character
                found.append("\ufffd".encode())
                at += 1
        return b"".join(found).decode("utf-8", "replace")

    def _normalize(self, text: str) -> str:
        """Spaces as the model writes them, one before the text where the file asks for it, and one for several."""
        merge, found = self._vocabulary.remove_extra_whitespaces, []
        prepended = inside = False
        for char in self._replaced(text):
            if char == " ":
                inside = False
                if not merge:
                    found.append(SPACE)
                continue
            if not inside:
                inside = True
                if (self._vocabulary.add_space_prefix and not prepended) or merge:
                    found.append(SPACE)
                    prepended = True
            found.append(char)
        return "".join(found)

    def _viterbi(self, text: str) -> list[int]:
        scores, lowest = self._scores, float("-inf")
        best = [(lowest, 0, self._unknown)] * (len(text) + 1)  # (score of everything before, where the last token begins, the last token)
        best[0] = (0.0, 0, self._unknown)
        for start in range(len(text)):
            so_far, single = best[start][0], False
            for end, token in self._prefixes.at(text, start):
                single = single or end == start + 1
                score = so_far + scores[token]
                if score > best[end][0]:
                    best[end] = (score, start, token)
            if not single and so_far + self._unknown_score > best[start + 1][0]:
                best[start + 1] = (so_far + self._unknown_score, start, self._unknown)
        found, at = [], len(text)
        while at > 0:
            _, start, token = best[at]
            if not (found and token == self._unknown == found[-1]):
                found.append(token)
            at = start
        return found[::-1]
