"""Text to ids and back, as the GGUF file's own vocabulary says."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jaxllama.formats.gguf import GGUFError, open_gguf
from jaxllama.numeric import ids_of, whole

from . import bpe, no_text, plamo2, rwkv, spm, unigram, wordpiece
from .chat.marks import unmark
from .pretokenizers import PRETOKENIZERS
from .special import STRUCTURE, Fragment, Partition
from .stream import StreamDecoder
from .token_type import STRAY, TokenType
from .vocabulary import NO_TEXT, Vocabulary


class Encoder(Protocol):
    """What the rooms of the single algorithms offer."""

    def __init__(self, vocabulary: Vocabulary) -> None: ...

    def encode(self, text: str, at_start: bool) -> list[int]:
        """Ids of a run of text between special tokens; whether it begins the whole text, or follows a special token."""
        ...


# `tokenizer.ggml.model` -> how text is encoded, and the bytes that the text of a token stands for.
FAMILIES: dict[str, tuple[type[Encoder], Callable[[str, TokenType], bytes]]] = {
    "llama": (spm.SPM, spm.piece),
    "gpt2": (bpe.BPE, bpe.piece),
    "bert": (wordpiece.WordPiece, wordpiece.piece),
    "t5": (unigram.Unigram, spm.piece),
    "rwkv": (rwkv.RWKV, rwkv.piece),
    "plamo2": (plamo2.PLaMo2, plamo2.piece),
    "gemma4": (bpe.BPE, bpe.piece),
    "whitespace": (bpe.Whitespace, bpe.piece),
    "hybriddna": (bpe.HybridDNA, bpe.piece),
    "test": (no_text.Chunks, no_text.no_piece),
    **dict.fromkeys(NO_TEXT, (no_text.NoVocabulary, no_text.no_piece)),
}
_OF_BYTES = (spm.SPM, rwkv.RWKV, unigram.Unigram, no_text.Chunks)


class Tokenizer:
    """A tokenizer built from GGUF metadata; ids equal llama.cpp's.

    Attributes:
        vocabulary: what the file says.
    """

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        encoder, self._piece = FAMILIES[vocabulary.model]
        if issubclass(encoder, bpe.BPE) and PRETOKENIZERS[vocabulary.pre].escape:
            self._piece = bpe.raw_piece
        self._encoder = encoder(vocabulary)
        self._hidden = frozenset(vocabulary.of_type(TokenType.CONTROL, TokenType.UNKNOWN))
        user = vocabulary.of_type(TokenType.USER_DEFINED)
        self._partition = {
            special: Partition(vocabulary.tokens, sorted([*user, *(self._hidden if special else ())]), vocabulary.left, vocabulary.right)
            for special in (False, True)
        }
        self._structure = frozenset(i for i in user if vocabulary.tokens[i] in STRUCTURE)
        self._brought = Partition(vocabulary.tokens, [i for i in user if i not in self._structure], vocabulary.left, vocabulary.right)

    @classmethod
    def from_gguf(cls, path: str | Path) -> Tokenizer:
        """The tokenizer of a GGUF file (a file with a vocabulary alone is enough)."""
        return cls.from_metadata(open_gguf(path).metadata, str(path))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], path: str = "metadata") -> Tokenizer:
        vocabulary = Vocabulary.from_metadata(metadata, path)
        try:
            return cls(vocabulary)
        except ValueError as error:
            raise GGUFError(path, f"the vocabulary ({vocabulary.model})", expected="a vocabulary that can encode text", found=error) from None

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
            text: any string. Surrogates that stand for bytes which are not UTF-8 (`str(raw, "utf-8", "surrogateescape")`) are encoded as llama.cpp encodes
                such bytes; other lone surrogates are replaced.
            add_special: put bos before it and eos after it where the file asks for them.
            parse_special: take the texts of control tokens for the tokens. Leave it off for text from users: `<|im_end|>` is then ten characters.
        """
        _check_text(text)
        ids = self._ids(self._partition[parse_special](self._valid(text)))
        v = self.vocabulary
        if not add_special:
            return ids
        before = [v.special["bos"]] if v.add_bos and "bos" in v.special else []
        after = ["sep"] * v.add_sep + ["eos"] * v.add_eos
        return [*before, *ids, *(v.special[name] for name in after if name in v.special)]

    def encode_prompt(self, prompt: str) -> list[int]:
        """Ids of a prompt from `ChatTemplate.render_marked`: what the template wrote may be special tokens, what messages brought along is text.

        The file's bos is put before it, unless the template has written it already.
        """
        _check_text(prompt)
        v, fragments = self.vocabulary, []
        for fragment in self._partition[True](self._valid(prompt)):
            fragments += [fragment] if isinstance(fragment, int) else self._brought(unmark(fragment))
        ids = self._ids(fragments)
        if v.add_bos and self.bos is not None and ids[:1] != [self.bos]:
            ids = [self.bos, *ids]
        return ids

    def _valid(self, text: str) -> str:
        """The text as the algorithm takes it: with stray bytes where it works on bytes, else with a mark for each of them."""
        try:
            text.encode()
        except UnicodeEncodeError:
            text = "".join(c if STRAY.match(c) else c.encode("utf-8", "replace").decode() for c in text)
            text = text if isinstance(self._encoder, _OF_BYTES) else STRAY.sub("\ufffd", text)
        return text

    def _ids(self, fragments: Iterable[Fragment]) -> list[int]:
        ids: list[int] = []
        at_start = True
        for fragment in fragments:
            ids += [fragment] if isinstance(fragment, int) else self._encoder.encode(fragment, at_start)
            at_start = isinstance(fragment, int)
        return ids

    def decode(self, ids: Iterable[int], *, remove_special: bool = False, unparse_special: bool = False) -> str:
        """The text of ids; `decode(encode(text)) == text` for any text, where the format allows it: WordPiece and Unigram normalise.

        Args:
            ids: ids; those outside the vocabulary are an IndexError.
            remove_special: drop a leading bos and a trailing eos even when `unparse_special` would write them.
            unparse_special: write control tokens as their text instead of leaving them out.
        """
        ids = ids_of(ids)
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
        text = b"".join(raw).decode("utf-8", "replace")
        return wordpiece.clean_spaces(text) if self.vocabulary.model == "bert" else text

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; control tokens are empty unless `special`."""
        if (number := whole(token)) is None:
            raise TypeError(f"expected the id of a token, found {token!r}")
        token = number  # JAX's scalars are no keys
        if not 0 <= token < len(self):
            raise IndexError(f"token {token} is outside the vocabulary of {len(self)}")
        if token in self._hidden and not special:
            return b""
        if self.vocabulary.model == "test":
            return b"%x" % token
        return self._piece(self.vocabulary.tokens[token], TokenType(self.vocabulary.types[token]))

    @property
    def hidden(self) -> frozenset[int]:
        """Ids of control tokens, which text does not show."""
        return self._hidden

    def special_texts(self) -> list[str]:
        """The texts of all tokens that a prompt's template may write, and a message in it may not."""
        return [self.vocabulary.tokens[i] for i in sorted(self._hidden | self._structure)]

    def stream(self, *, special: bool = False, shown: Container[int] = ()) -> StreamDecoder:
        """A decoder for tokens that come one by one, as the continuation of a text; with the control tokens in `shown`, or all if `special`."""
        return StreamDecoder(lambda token: self.piece(token, special=special or token in shown))


def _check_text(given: object) -> None:
    if not isinstance(given, str):
        hint = "; decode it first: str(text, 'utf-8')" if isinstance(given, (bytes, bytearray)) else ""
        raise TypeError(f"expected a text (str), found {given!r}{hint}")
