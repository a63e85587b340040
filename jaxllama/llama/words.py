"""The part of `Llama` that knows tokens."""

from __future__ import annotations

from collections.abc import Sequence

from jaxllama.text import Tokenizer
from jaxllama.text.chat.marks import unmark

from .llama_tokenizer import BaseLlamaTokenizer, LlamaTokenizer


class Words:
    """
    Attributes:
        vocabulary: the file's tokenizer.
        tokenizer_: what makes ids of texts, and bytes of ids.
    """

    vocabulary: Tokenizer
    tokenizer_: BaseLlamaTokenizer

    def _use(self, vocabulary: Tokenizer, tokenizer: BaseLlamaTokenizer | None) -> None:
        self.vocabulary, self.tokenizer_ = vocabulary, tokenizer or LlamaTokenizer(vocabulary)

    def tokenizer(self) -> LlamaTokenizer:
        """The tokenizer of the file."""
        return LlamaTokenizer(self.vocabulary)

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Ids of a text."""
        return self.tokenizer_.tokenize(text, add_bos, special)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """The text of ids."""
        return self.tokenizer_.detokenize(tokens, prev_tokens=prev_tokens, special=special)

    def encode_prompt(self, marked: str) -> list[int]:
        """Ids of a prompt in which what messages brought along is marked (`jaxllama.text.chat.marks`)."""
        if isinstance(self.tokenizer_, LlamaTokenizer):
            return self.vocabulary.encode_prompt(marked)
        return self.tokenize(unmark(marked).encode(), special=True)

    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return len(self.vocabulary)

    def token_bos(self) -> int:
        """The token that begins a text; -1 for none."""
        return -1 if self.vocabulary.bos is None else self.vocabulary.bos

    def token_eos(self) -> int:
        """The token that ends a text; -1 for none."""
        return -1 if self.vocabulary.eos is None else self.vocabulary.eos

    def token_nl(self) -> int:
        """The token of a new line; -1 for none."""
        found = self.vocabulary.encode("\n", add_special=False)
        return found[-1] if found and self.vocabulary.piece(found[-1]) == b"\n" else -1
