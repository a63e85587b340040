"""A vocabulary as GGUF metadata describe it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxllama.formats.gguf import GGUFError

from .pretokenizers import PRETOKENIZERS
from .special import ends_and_types, special_ids, stripping
from .token_type import TokenType

_log = logging.getLogger(__name__)

MODELS = ("llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "gemma4", "whitespace", "hybriddna", "test", "none", "no_vocab")
_NO_PRE = "%s names no pre-tokenizer (tokenizer.ggml.pre): GPT-2's is used, so token ids may be wrong; --override-kv tokenizer.ggml.pre=str:NAME sets it"
NO_TEXT = ("none", "no_vocab")  # files without tokens: there are as many as the architecture's vocab_size says
_MOST = 2**24
_BPE = ("gpt2", "gemma4", "whitespace", "hybriddna")


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer needs to know, checked.

    Attributes:
        model: `tokenizer.ggml.model`, one of `MODELS`.
        pre: name of the pre-tokenizer (BPE).
        tokens: text of every token, as the file writes it.
        ids: the id of every text.
        types: a `TokenType` for each; numbers that nobody has defined read as undefined, and those are set right that the texts show to be wrong.
        scores: f32 for each (SentencePiece, Unigram, PLaMo-2); zeros where the file has none.
        merges: pairs with a space between them, in order of rank (BPE); the first of a pair may itself begin with a space.
        special: ids of bos, eos, eot, eom, unk, sep, pad, mask and fim_*, those there are.
        end: ids that end a generation.
        left, right: special tokens that take the white space before or after them into themselves.
        add_bos, add_eos, add_sep: what `encode` puts around a text.
        add_space_prefix: a text begins with a space of its own.
        remove_extra_whitespaces: one space stands for several (Unigram).
        charsmap: SentencePiece's table of normalisations (Unigram); empty for none.
        lowercase, strip_accents: what becomes of letters (WordPiece).
    """

    model: str
    pre: str
    tokens: tuple[str, ...]
    ids: Mapping[str, int]
    types: np.ndarray
    scores: np.ndarray
    merges: Sequence[str]
    special: Mapping[str, int]
    end: frozenset[int]
    left: frozenset[int]
    right: frozenset[int]
    add_bos: bool
    add_eos: bool
    add_sep: bool
    add_space_prefix: bool
    remove_extra_whitespaces: bool
    charsmap: bytes
    lowercase: bool
    strip_accents: bool

    def of_type(self, *types: TokenType) -> list[int]:
        """Ids of the tokens of these types."""
        return np.flatnonzero(np.isin(self.types, types)).tolist()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], path: str = "metadata") -> Vocabulary:
        """Read and check the `tokenizer.ggml.*` keys.

        Raises:
            GGUFError: a key is missing, of the wrong kind, or of a kind that is not supported.
        """
        read = _Reader(metadata, path)
        model = read.get("model")
        if model not in MODELS:
            raise read.fail("model", f"one of {', '.join(MODELS)}", model)
        tokens = read.tokens(model)
        ids = {text: i for i, text in enumerate(tokens)}
        if len(ids) != len(tokens):
            raise read.fail("tokens", "unique tokens", f"{len(tokens) - len(ids)} repeated")
        pre = "gemma4" if model == "gemma4" else read.get("pre")
        if pre is None:
            pre = "default"
            if model in _BPE:
                _log.warning(_NO_PRE, path)
        if model in _BPE and pre not in PRETOKENIZERS:
            raise read.fail("pre", f"one of {', '.join(PRETOKENIZERS)}", pre)
        merges = read.get("merges", [])
        if model in _BPE and pre != "kimi-k2" and (not isinstance(merges, list) or not merges):
            raise read.fail("merges", "a list of strings (a BPE vocabulary needs its merges)", type(merges).__name__)
        special = special_ids(model, read.get, len(tokens), ids)
        if model in ("bert", "t5") and "unk" not in special:
            raise read.fail("unknown_token_id", f"an id below {len(tokens)}", read.get("unknown_token_id", "none"))
        types = read.numbers("token_type", np.int32, TokenType.NORMAL, len(tokens))
        types[(types < 0) | (types > TokenType.BYTE)] = TokenType.UNDEFINED
        end, types = ends_and_types(types, special, ids)
        hidden = np.flatnonzero(np.isin(types, (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN))).tolist()
        left, right = stripping(metadata, ids, hidden)
        spm, lowercase = model == "llama", bool(read.get("normalizer.lowercase", pre != "whitespace"))
        framed = model not in ("rwkv", "plamo2")  # these never have bos or eos around a text, whatever the file says
        add_bos = spm or model == "bert" or (model in _BPE and PRETOKENIZERS[pre].add_bos)
        return cls(
            model=model,
            pre=pre,
            tokens=tokens,
            ids=ids,
            types=types,
            scores=read.numbers("scores", np.float32, 0.0, len(tokens)),
            merges=merges if isinstance(merges, list) else [],
            special=special,
            end=end,
            left=left,
            right=right,
            add_bos=framed and (bool(read.get("add_bos_token", add_bos)) or (model in _BPE and PRETOKENIZERS[pre].whole_lines)),
            add_eos=framed and bool(read.get("add_eos_token", model == "t5")),
            add_sep=model == "bert",
            add_space_prefix=bool(read.get("add_space_prefix", spm)),
            remove_extra_whitespaces=bool(read.get("remove_extra_whitespaces", False)),
            charsmap=read.charsmap(),
            lowercase=lowercase,
            strip_accents=bool(read.get("normalizer.strip_accents", lowercase)),
        )


class _Reader:
    """Takes values of `tokenizer.ggml.*` out of metadata."""

    def __init__(self, metadata: Mapping[str, Any], path: str):
        self._metadata, self._path = metadata, path

    def get(self, key: str, default: Any = None) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{key}", default)

    def fail(self, key: str, expected: str, found: object) -> GGUFError:
        return GGUFError(self._path, f"tokenizer.ggml.{key}", expected=expected, found=found)

    def tokens(self, model: str) -> tuple[str, ...]:
        """The texts; an empty one is named, as llama.cpp does, since a second token of the same text could never be found by it."""
        tokens = self.get("tokens")
        if model in NO_TEXT:
            key = f"{self._metadata.get('general.architecture')}.vocab_size"
            size = self._metadata.get(key)
            if not isinstance(size, int) or not 0 < size <= _MOST:
                raise GGUFError(self._path, key, expected=f"1 to {_MOST}, as tokenizer.ggml.model is '{model}'", found=size)
            tokens = [""] * size
        if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], str):
            raise self.fail("tokens", "a list of strings", type(tokens).__name__)
        return tuple(t or f"[EMPTY_{i}]" for i, t in enumerate(tokens))

    def numbers(self, key: str, dtype: type, default: float, count: int) -> np.ndarray:
        found = self.get(key)
        if found is None:
            return np.full(count, default, dtype)
        if not isinstance(found, np.ndarray) or len(found) < count or found.dtype.kind not in "iuf":
            raise self.fail(key, f"{count} numbers", f"{len(found)} items" if hasattr(found, "__len__") else found)
        return found[:count].astype(dtype)

    def charsmap(self) -> bytes:
        found = self.get("precompiled_charsmap")
        if found is None:
            return b""
        if not isinstance(found, np.ndarray) or found.dtype.itemsize != 1:
            raise self.fail("precompiled_charsmap", "an array of bytes", type(found).__name__)
        return found.tobytes()
