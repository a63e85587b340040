"""Text to ids and back, as the GGUF file's own vocabulary says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import regex

from jaxllama.formats.gguf import open_gguf

from . import bpe, spm
from .stream import StreamDecoder
from .vocabulary import TokenType, Vocabulary


class Tokenizer:
    """A tokenizer built from GGUF metadata; ids equal llama.cpp's.

    Attributes:
        vocabulary: what the file says.
    """

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self._spm = vocabulary.model == "llama"
        self._model = spm.SPM(vocabulary) if self._spm else bpe.BPE(vocabulary)
        self._piece = spm.piece_bytes if self._spm else bpe.piece_bytes
        self._hidden = frozenset(vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN))
        user = vocabulary.of_type(TokenType.USER_DEFINED)
        self._partition = {False: self._matcher(user), True: self._matcher([*user, *self._hidden])}

    @classmethod
    def from_gguf(cls, path: str | Path) -> Tokenizer:
        """The tokenizer of a GGUF file (a file with a vocabulary alone is enough)."""
        return cls.from_metadata(open_gguf(path).metadata, str(path))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], path: str = "metadata") -> Tokenizer:
        return cls(Vocabulary.from_metadata(metadata, path))

    def __len__(self) -> int:
        return len(self.vocabulary.tokens)

    @property
    def bos(self) -> int | None:
        return self.vocabulary.special.get("bos")

    @property
    def eos(self) -> int | None:
        return self.vocabulary.special.get("eos")

    @property
    def end(self) -> frozenset[int]:
        """Ids that end a generation."""
        return self.vocabulary.end

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Ids of a text.

        Args:
            text: any string; lone surrogates are replaced.
            add_special: put bos before it and eos after it where the file asks for them.
            parse_special: take the texts of control tokens for the tokens. Leave it off for text from users: `<|im_end|>` is then ten characters.
        """
        text = text.encode("utf-8", "replace").decode()
        ids: list[int] = []
        at_start = True  # SentencePiece puts a space before the text, and again after each special token
        for start, end, special in self._fragments(text, parse_special):
            if special is not None:
                ids.append(special)
            else:
                ids += self._encode_text(text[start:end], at_start)
            at_start = special is not None
        if add_special:
            special = self.vocabulary.special
            ids = [special["bos"]] * (self.vocabulary.add_bos and "bos" in special) + ids + [special["eos"]] * (self.vocabulary.add_eos and "eos" in special)
        return ids

    def decode(self, ids: Iterable[int], *, remove_special: bool = False, unparse_special: bool = False) -> str:
        """The text of ids; `decode(encode(text)) == text` for any text.

        Args:
            ids: ids; those outside the vocabulary are an IndexError.
            remove_special: drop a leading bos and a trailing eos even when `unparse_special` would write them.
            unparse_special: write control tokens as their text instead of leaving them out.
        """
        ids = list(ids)
        if remove_special and ids and ids[0] == self.bos:
            ids = ids[1:]
        if remove_special and ids and ids[-1] == self.eos:
            ids = ids[:-1]
        raw, at_start = [], True
        for token in ids:
            piece = self.piece(token, special=unparse_special)
            if at_start and self.vocabulary.add_space_prefix and piece.startswith(b" "):
                piece = piece[1:]
            at_start = token in self._hidden
            raw.append(piece)
        return b"".join(raw).decode("utf-8", "replace")

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; control tokens are empty unless `special`."""
        if not 0 <= token < len(self):
            raise IndexError(f"token {token} is outside the vocabulary of {len(self)}")
        if token in self._hidden and not special:
            return b""
        return self._piece(self.vocabulary.tokens[token], TokenType(self.vocabulary.types[token]))

    def stream(self, *, special: bool = False) -> StreamDecoder:
        """A decoder for tokens that come one by one, as the continuation of a text."""
        return StreamDecoder(lambda token: self.piece(token, special=special))

    def _encode_text(self, text: str, at_start: bool) -> list[int]:
        if self._spm:
            prefix = " " if self.vocabulary.add_space_prefix and at_start else ""
            text = (prefix + text).replace(" ", spm.SPACE)
        return self._model.encode(text)

    def _matcher(self, ids: list[int]) -> regex.Pattern[str] | None:
        texts = sorted((self.vocabulary.tokens[i] for i in ids), key=len, reverse=True)
        return regex.compile("|".join(map(regex.escape, texts))) if texts else None

    def _fragments(self, text: str, parse_special: bool) -> Iterable[tuple[int, int, int | None]]:
        """(start, end, id or None) for the runs of plain text and the special tokens between them."""
        matcher, at = self._partition[parse_special], 0
        if matcher is not None:
            for match in matcher.finditer(text):
                if match.start() > at:
                    yield at, match.start(), None
                yield match.start(), match.end(), self.vocabulary.ids[match[0]]
                at = match.end()
        if at < len(text):
            yield at, len(text), None
