"""Bytes to ids and back: the model's own vocabulary, or a tokenizer of transformers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxllama.text import Tokenizer


class _HasVocabulary(Protocol):
    vocabulary: Tokenizer


class BaseLlamaTokenizer(abc.ABC):
    """What `Llama(tokenizer=...)` takes."""

    @abc.abstractmethod
    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """Ids of a text."""

    @abc.abstractmethod
    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """The text of ids."""


class LlamaTokenizer(BaseLlamaTokenizer):
    """The tokenizer of a model, or of a file."""

    def __init__(self, llama: _HasVocabulary | Tokenizer):
        self._tokenizer = llama if isinstance(llama, Tokenizer) else llama.vocabulary

    @classmethod
    def from_ggml_file(cls, path: str | Path) -> LlamaTokenizer:
        """The tokenizer of a GGUF file."""
        return cls(Tokenizer.from_gguf(path))

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        if not isinstance(text, (bytes, bytearray)):
            raise TypeError(f"tokenize: expected bytes, found {text!r}" + ("; encode it first: text.encode()" if isinstance(text, str) else ""))
        return self._tokenizer.encode(str(text, "utf-8", "surrogateescape"), add_special=add_bos, parse_special=special)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        found = b"".join(self._tokenizer.piece(int(token), special=special) for token in tokens)
        begins = len(tokens) > 0 and tokens[0] == self._tokenizer.bos
        return found[1:] if begins and found.startswith(b" ") else found  # the space that SentencePiece puts before a text

    def encode(self, text: str, add_bos: bool = True, special: bool = True) -> list[int]:
        """Ids of a text."""
        return self.tokenize(text.encode("utf-8", "ignore"), add_bos, special)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids."""
        return self.detokenize(tokens).decode("utf-8", "ignore")


class LlamaHFTokenizer(BaseLlamaTokenizer):
    """A tokenizer of transformers."""

    def __init__(self, hf_tokenizer: Any):
        self.hf_tokenizer = hf_tokenizer

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str) -> LlamaHFTokenizer:
        """The tokenizer of a repository or a folder.

        Raises:
            ImportError: transformers is not installed.
        """
        try:
            from transformers import AutoTokenizer  # type: ignore[import-not-found]
        except ImportError:
            raise ImportError("LlamaHFTokenizer needs the transformers package: pip install transformers") from None
        return cls(AutoTokenizer.from_pretrained(pretrained_model_name_or_path))

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        return self.hf_tokenizer.encode(text.decode("utf-8", "ignore"), add_special_tokens=special)

    def _text(self, tokens: Sequence[int], special: bool) -> bytes:
        return self.hf_tokenizer.decode(list(tokens), skip_special_tokens=not special).encode("utf-8", "ignore")

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        before = list(prev_tokens) if prev_tokens is not None else []
        return self._text([*before, *tokens], special)[len(self._text(before, special)) if before else 0 :]
