"""Tokens with a meaning of their own: which there are, what their texts say, and how they are cut out of a text.

Files often do not say what their tokens are for, so llama.cpp looks at the texts; so does this. Source: llama.cpp's llama-vocab.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .token_type import TokenType, utf8

# Texts by which llama.cpp knows a token that ends a generation, whatever the metadata say.
END_TEXTS = frozenset(
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> <EOT> _<EOT> [EOT] [EOS] "
    "<|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> <｜end▁of▁sentence｜> [e~[".split()
)
# Texts of the tokens for filling in the middle; where a file has several of a kind and does not say which, the first one counts.
FIM_TEXTS = {
    "fim_pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>", "<|prefix|>"),
    "fim_suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>", "<|suffix|>"),
    "fim_mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>", "<|middle|>"),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
_HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")  # part of an answer in gpt-oss, so they are always shown
STRUCTURE = (*_HARMONY, "<|end|>")  # user-defined then, but nothing that a message may bring along
_END_NAMES = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
# The names of special tokens and the keys of their ids; the file format spells it "seperator". Files of 2023 say "prefix" for the FIM tokens.
ID_KEYS = {
    "bos": ("bos",),
    "eos": ("eos",),
    "eot": ("eot",),
    "eom": ("eom",),
    "unk": ("unknown",),
    "sep": ("seperator",),
    "pad": ("padding",),
    "mask": ("mask",),
    "fim_pre": ("fim_pre", "prefix"),
    "fim_suf": ("fim_suf", "suffix"),
    "fim_mid": ("fim_mid", "middle"),
    "fim_pad": ("fim_pad",),
    "fim_rep": ("fim_rep",),
    "fim_sep": ("fim_sep",),
}
# Ids where the file does not say; for BPE llama.cpp takes 11, which means something in one old model only, and here there is none.
DEFAULT_IDS: dict[str, dict[str, int]] = {
    "llama": {"bos": 1, "eos": 2, "unk": 0},
    "bert": {"bos": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103},
    "t5": {"eos": 1, "unk": 2, "pad": 0},
    "plamo2": {"bos": 1, "eos": 2, "unk": 0, "pad": 3},
}


def special_ids(model: str, get: Any, size: int, ids: Mapping[str, int]) -> dict[str, int]:
    """The ids of bos, eos and so on, from the metadata, by default, or by their texts.

    Args:
        model: `tokenizer.ggml.model`.
        get: the value of a `tokenizer.ggml` key, or None.
        size: of the vocabulary; ids beyond it mean "none", as 0xFFFFFFFF does.
        ids: text -> id.
    """
    found = {name: id_ for name, id_ in DEFAULT_IDS.get(model, {}).items() if id_ < size}
    for name, keys in ID_KEYS.items():
        for key in reversed(keys):
            value = get(f"{key}_token_id")
            if isinstance(value, int) and 0 <= value < size:
                found[name] = value
    for name, texts in FIM_TEXTS.items():
        if name not in found and (there := [ids[t] for t in texts if t in ids]):
            found[name] = there[0]
    if "eom" not in found and "<|eom_id|>" in ids:
        found["eom"] = ids["<|eom_id|>"]
    return found


def _there(ids: Mapping[str, int], texts: Iterable[str]) -> set[int]:
    """The ids of those texts that are tokens."""
    return {ids[t] for t in texts if t in ids}


def ends_and_types(types: np.ndarray, special: Mapping[str, int], ids: Mapping[str, int]) -> tuple[frozenset[int], np.ndarray]:
    """The ids that end a generation; and the tokens' types, with those set right that the file has wrong by the tokens' texts."""
    types = types.copy()
    end_texts = _there(ids, END_TEXTS)
    ends = end_texts | {special[name] for name in _END_NAMES if name in special}
    fim = {special[name] for name, texts in FIM_TEXTS.items() if special.get(name) in _there(ids, texts)}
    types[list(end_texts | fim)] = TokenType.CONTROL
    types[list(_there(ids, _HARMONY))] = TokenType.USER_DEFINED
    answers = "<|call|>" in ids or "<|calls|>" in ids
    if "<|end|>" in ids and answers and ("<|return|>" in ids or "<|flush|>" in ids):  # <|end|> parts the messages of one answer
        ends.discard(ids["<|end|>"])
        types[ids["<|end|>"]] = TokenType.USER_DEFINED
    if "</s>" in ids and not ends.isdisjoint(_there(ids, ("<|tool_response>", "<|plamo:eos|>"))):  # an ordinary token there
        ends.discard(ids["</s>"])
        types[ids["</s>"]] = TokenType.NORMAL
    return frozenset(ends), types


def stripping(metadata: Mapping[str, Any], ids: Mapping[str, int], special: Sequence[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Tokens that take the white space before them, and those that take the white space after them, into themselves.

    Files do not say; llama.cpp knows some models by name.
    """
    pre = str(metadata.get("tokenizer.ggml.pre", ""))
    name = str(metadata.get("general.name", "")).lower()
    architecture = str(metadata.get("general.architecture", ""))
    left: set[int] = set()
    right: set[int] = set()
    if any(p in pre for p in ("jina-v2-de", "jina-v2-es", "jina-v2-code")) or any(a in architecture for a in ("nomic-bert-moe", "jina-bert-v3")):
        left = _there(ids, ["<mask>"])
    elif "phi-3" in name or "phi3" in name:
        right = (set(special) | _there(ids, ["</s>"])) - _there(ids, ["<unk>", "<s>", "<|endoftext|>"])
    elif "modern-bert" in name:
        left = _there(ids, ["[MASK]"])
    return frozenset(left), frozenset(right)


Fragment = str | int  # a run of text, or the id of a token that was found in it
_SPACES = " \t\n\v\f\r"


class Partition:
    """Cuts special tokens out of texts: the longest token first, wherever it is, then the next in what is left."""

    def __init__(self, tokens: Sequence[str], special: Sequence[int], left: frozenset[int], right: frozenset[int]):
        """
        Args:
            tokens: the texts of all tokens.
            special: ids of those to look for.
            left, right: those that take the white space before or after them.
        """
        self._order = [(tokens[i], i) for i in sorted(special, key=lambda i: -len(utf8(tokens[i])))]
        self._numbers = {text: n for n, (text, _) in enumerate(self._order)}
        self._lengths: dict[str, list[int]] = {}  # by the first character
        for first, length in sorted({(text[0], len(text)) for text in self._numbers}):
            self._lengths.setdefault(first, []).append(length)
        self._first = re.compile("[" + "".join(map(re.escape, self._lengths)) + "]") if self._lengths else None
        self._left, self._right = left, right

    def __call__(self, text: str) -> list[Fragment]:
        fragments: list[Fragment] = [text] if text else []
        if self._first is None:
            return fragments
        there: set[int] = set()
        for match in self._first.finditer(text):
            at = match.start()
            there.update(self._numbers.get(text[at : at + length], -1) for length in self._lengths[match[0]])
        for number in sorted(there - {-1}):
            token, id_ = self._order[number]
            fragments = [part for fragment in fragments for part in (self._split(fragment, token, id_) if isinstance(fragment, str) else [fragment])]
        return fragments

    def _split(self, text: str, token: str, id_: int) -> list[Fragment]:
        found: list[Fragment] = []
        pieces = text.split(token)
        for number, piece in enumerate(pieces):
            if number and id_ in self._right:
                piece = piece.lstrip(_SPACES)
            if number < len(pieces) - 1 and id_ in self._left:
                piece = piece.rstrip(_SPACES)
            found += [piece] if piece else []
            found += [id_] if number < len(pieces) - 1 else []
        return found
