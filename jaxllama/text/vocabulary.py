"""A vocabulary as GGUF metadata describe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from jaxllama.formats.gguf import GGUFError

from .pretokenizers import PRETOKENIZERS


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Texts by which llama.cpp knows a token that ends a generation, whatever the metadata say.
END_TEXTS = frozenset(
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] "
    "<|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> <｜end▁of▁sentence｜> [e~[".split()
)
_END_KEYS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
_ID_KEYS = {"bos": "bos", "eos": "eos", "eot": "eot", "eom": "eom", "unk": "unknown", "sep": "seperator", "pad": "padding"} | {
    f"fim_{k}": f"fim_{k}" for k in ("pre", "suf", "mid", "pad", "rep", "sep")
}  # the file format spells it "seperator"


@dataclass(frozen=True)
class Vocabulary:
    """What a tokenizer needs to know, checked.

    Attributes:
        model: `tokenizer.ggml.model`: "llama" (SentencePiece BPE) or "gpt2" (byte-level BPE).
        pre: name of the pre-tokenizer.
        tokens: text of every token, as the file writes it.
        ids: the id of every text.
        types: a `TokenType` for each; numbers that nobody has defined read as undefined.
        scores: f32 for each (SentencePiece); zeros where the file has none.
        merges: pairs with a space between them, in order of rank (BPE); the first of a pair may itself begin with a space.
        special: ids of bos, eos, eot, eom, unk, sep, pad and fim_*, those there are.
        end: ids that end a generation.
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
    add_bos: bool
    add_eos: bool
    add_space_prefix: bool

    def of_type(self, *types: TokenType) -> list[int]:
        """Ids of the tokens of these types."""
        return np.flatnonzero(np.isin(self.types, types)).tolist()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], path: str = "metadata") -> Vocabulary:
        """Read and check the `tokenizer.ggml.*` keys.

        Raises:
            GGUFError: a key is missing, of the wrong kind, or of a kind that is not supported.
        """

        def get(key: str, default: Any = None) -> Any:
            return metadata.get(f"tokenizer.ggml.{key}", default)

        def fail(key: str, expected: str, found: object) -> GGUFError:
            return GGUFError(path, f"tokenizer.ggml.{key}", expected=expected, found=found)

        model = get("model")
        if model not in ("llama", "gpt2"):
            raise fail("model", "'llama' (SentencePiece) or 'gpt2' (BPE)", model)
        tokens = get("tokens")
        if not isinstance(tokens, list) or not tokens:
            raise fail("tokens", "a list of strings", type(tokens).__name__)
        # A second token of the same text could never be found by it; llama.cpp refuses such a file, and names empty tokens like this.
        tokens = tuple(t or f"[EMPTY_{i}]" for i, t in enumerate(tokens))
        ids = {text: i for i, text in enumerate(tokens)}
        if len(ids) != len(tokens):
            raise fail("tokens", "every text once", f"{len(tokens) - len(ids)} repeated")

        def numbers(key: str, dtype: type, default: float) -> np.ndarray:
            found = get(key)
            if found is None:
                return np.full(len(tokens), default, dtype)
            if not isinstance(found, np.ndarray) or len(found) < len(tokens) or found.dtype.kind not in "iuf":
                raise fail(key, f"{len(tokens)} numbers", f"{len(found)} items" if hasattr(found, "__len__") else found)
            return found[: len(tokens)].astype(dtype)

        types = numbers("token_type", np.int32, TokenType.NORMAL)
        types[(types < 0) | (types > TokenType.BYTE)] = TokenType.UNDEFINED
        merges = get("merges", [])
        if model == "gpt2" and (not isinstance(merges, list) or not merges):
            raise fail("merges", "a list of strings (a BPE vocabulary needs its merges)", type(merges).__name__)
        pre = get("pre", "default")
        if model == "gpt2" and pre not in PRETOKENIZERS:
            raise fail("pre", f"one of {', '.join(PRETOKENIZERS)}", pre)
        special = {}
        for name, key in _ID_KEYS.items():
            found = get(f"{key}_token_id")
            if isinstance(found, int) and 0 <= found < len(tokens):  # files write 0xFFFFFFFF for "none"
                special[name] = found
        if model == "llama":
            special = {"bos": 1, "eos": 2, "unk": 0} | special
        ends = {special[k] for k in _END_KEYS if k in special} | {ids[t] for t in END_TEXTS if t in ids}
        if {"<|return|>", "<|call|>", "<|end|>"} <= ids.keys():
            ends.discard(ids["<|end|>"])  # gpt-oss: <|end|> parts the messages of one answer
        spm = model == "llama"
        return cls(
            model=model,
            pre=pre,
            tokens=tokens,
            ids=ids,
            types=types,
            scores=numbers("scores", np.float32, 0.0),
            merges=merges,
            special=special,
            end=frozenset(ends),
            add_bos=bool(get("add_bos_token", spm or PRETOKENIZERS[pre].add_bos)),
            add_eos=bool(get("add_eos_token", False)),
            add_space_prefix=bool(get("add_space_prefix", spm)),
        )
