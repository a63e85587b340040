"""Small vocabularies of the kinds that no file beside the project has, as GGUF metadata; and one file for each."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxllama.formats.gguf import TensorData, field_of, write_gguf

# SentencePiece's table for twelve rules, as its trainer writes it (--normalization_rule_tsv): Ａ -> A, ﬁ -> fi, ﬃ -> ffi, e and an accent -> é, a tab and a
# no-break space -> a space, a joiner -> nothing, Ⅷ -> VIII, ½ -> 1/2, ab -> X, abcd -> Y, three Hangul letters -> 한.
CHARSMAP = zlib.decompress(
    base64.b85decode(
        "c-ke?d63U#7y$6+_g$vh8H_QenP!;5I6KHq6gjFbrIamKa-_k~C6Tbpu2ghvxmD<3?V_S`w~}+56@@6*m`v^?XZ88j%=a_T^S<x%ynlS(_l;5!Q6(a?Y(y#|r+4Lua$<S<n%mMWiQLi="
        "HyO{W8j&I9bx5LMd`28BpG5wpBxdKxD<&~+UJ^z6E2*(-&P4sIo|lwKVy-+>dLy}N@+TxQ*1i>ti_hD``VI1G8f#FUTGXTtwYi0xxs6+?M_pEyByqdgkOnlS5lv}AbDGhDJGhgUwBj!A"
        "rZsJ8LwnkBFZYneeLTSZJV*yR@(_>kFptuS&OFBBWYdKw=tft1(4C$<NiUwF550MszC4qjs~FKgUE_=fiUSywu9=#|v*KX<;&_f1d4ZQ0!pjV0IKvphD~#k-Ml*`s`2WDhGKPHec#Uzq"
        "&UoJB4JI;yw|R?qd58BXU=r^$g~?1~Dl?eQ2h8LnK4dnt_?S6-$|ua_GYXkU5%XC<F^gEp7ktiQzT_*G@C{$HjHRq#IjholhHqKT8cJBpcdX-kHn5&eY)r4^q++wUl`U*%8#~#-kNm(c"
        "e&T0#vxi^U$6ogHE5C7ogZ$264snzt9OG1RD*i~<<fY=!##9`apWx5*8Yel!Y0hz$3!LXKE^?VmT;&SaxyC>I9sj-m`t=%k2H9CzS#D~V=-01*_|_K2iAgi#U*a>PlK"
    )
)
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
_WORDS = "hello wor ld the ing er in on an th he ab bc abc cd abcd don it we ve ll fo oo bar ret urn def 日本 本語 при вет".split()
_LETTERS = [chr(c) for c in range(33, 127)] + list("éßαβγδпритвемир日本語中文한국어 ½ⅧXYV".replace(" ", ""))
_BYTES = [f"<0x{b:02X}>" for b in range(256)]


def _entries(*parts: tuple[list[str], int]) -> tuple[list[str], np.ndarray]:
    """Texts, each once, and their types."""
    found: dict[str, int] = {}
    for texts, type_ in parts:
        for text in texts:
            found.setdefault(text, type_)
    return list(found), np.array(list(found.values()), np.int32)


def _scores(count: int) -> np.ndarray:
    """Numbers that look like logarithms of probabilities, all different."""
    return -((np.arange(count) * 7919 % count) / count * 12 + 1).astype(np.float32)


def _merges(words: list[str]) -> tuple[list[str], list[str]]:
    """Merges that make the words letter by letter, and what they make."""
    merges: dict[str, str] = {}
    for word in words:
        for n in range(1, len(word)):
            merges.setdefault(f"{word[:n]} {word[n]}", word[: n + 1])
    return list(merges), list(merges.values())


def _unigram(**changes: Any) -> dict[str, Any]:
    words = [f"▁{w}" for w in _WORDS] + _WORDS
    control = ["<pad>", "</s>", "<unk>"]
    tokens, types = _entries((control, CONTROL), (["▁", *_LETTERS, *words], NORMAL), (["<user>", "foo bar", "fi"], USER), (["<unused0>"], UNUSED))
    types[2] = UNKNOWN
    return {
        "model": "t5", "tokens": tokens, "token_type": types, "scores": _scores(len(tokens)), "precompiled_charsmap": np.frombuffer(CHARSMAP, np.uint8),
        "add_space_prefix": True, "remove_extra_whitespaces": True, "eos_token_id": 1, "padding_token_id": 0, "unknown_token_id": 2,
    } | changes  # fmt: skip


def _rwkv() -> dict[str, Any]:
    single = [rf"\x{b:02x}" if b < 32 or b > 126 or chr(b) in "\\'\"" else chr(b) for b in range(256)]
    words = [*_WORDS[:28], " hello", " the", r"\n\n", r"\t\t", r"\xe6\x97\xa5\xe6\x9c\xac", r"\xd0\xbf\xd1\x80", "  ", "    ", r"\'s", r"it\'s"]
    tokens, types = _entries((["<s>"], CONTROL), ([*single, *words], NORMAL))
    return {"model": "rwkv", "tokens": tokens, "token_type": types}


def _plamo2() -> dict[str, Any]:
    control = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>"]
    tokens, types = _entries((control, CONTROL), (_BYTES, BYTE), ([" ", "\n", *_LETTERS[:120], *_WORDS, " the", " hello"], NORMAL))
    return {"model": "plamo2", "tokens": tokens, "token_type": types, "scores": _scores(len(tokens)), "add_bos_token": True}


def _raw_bpe(model: str, pre: str, **changes: Any) -> dict[str, Any]:
    merges, made = _merges([*(f"▁{w}" for w in _WORDS), *_WORDS, "\n\n\n"])
    merges = [m for m in merges if "\n" not in m]
    control = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    tokens, types = _entries((control, CONTROL), (["\n", "\n\n", "\n\n\n"], NORMAL), (_BYTES, BYTE), (["▁", *_LETTERS, *made], NORMAL), (["<user>"], USER))
    return {"model": model, "pre": pre, "tokens": tokens, "token_type": types, "merges": merges, "bos_token_id": 2, "eos_token_id": 1} | changes


def _byte_bpe(model: str, pre: str, extra: list[str], **changes: Any) -> dict[str, Any]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    merges, made = _merges([*(f"Ġ{w}" for w in _WORDS[:28]), *_WORDS[:28]])
    tokens, types = _entries((["<|endoftext|>", "<mask>"], CONTROL), ([*alphabet, *made], NORMAL), (["<user>"], USER), (extra, NORMAL))
    return {"model": model, "pre": pre, "tokens": tokens, "token_type": types, "merges": merges, "bos_token_id": 0, "eos_token_id": 0} | changes


def _dna() -> list[str]:
    groups = ["".join("ACGT"[(n >> 2 * i) & 3] for i in range(6)) + "\ue000" for n in range(0, 4096, 3)]
    return ["<dna>", "</dna>", "<oov>", *groups]


VOCABULARIES: dict[str, dict[str, Any]] = {
    "unigram": _unigram(),
    "unigram_plain": _unigram(precompiled_charsmap=None, remove_extra_whitespaces=False),
    "unigram_unprefixed": _unigram(add_space_prefix=False, remove_extra_whitespaces=False),
    "rwkv": _rwkv(),
    "plamo2": _plamo2(),
    "gemma4": _raw_bpe("gemma4", "gemma4"),
    "sarvam-moe": _raw_bpe("gpt2", "sarvam-moe", add_bos_token=True, add_eos_token=True),
    "granite-311m": _raw_bpe("gpt2", "granite-embed-multi-311m", add_bos_token=False),
    "whitespace": _raw_bpe("whitespace", "whitespace"),
    "whitespace_small": _raw_bpe("whitespace", "whitespace", **{"normalizer.lowercase": True}),
    "hybriddna": _byte_bpe("hybriddna", "qwen2", _dna()),
    "jina": _byte_bpe("gpt2", "jina-v2-de", [], add_bos_token=True),
    "kimi_without_merges": _byte_bpe("gpt2", "kimi-k2", [], merges=None),
}


def metadata(name: str) -> dict[str, Any]:
    """The metadata of a vocabulary, complete."""
    found = {f"tokenizer.ggml.{k}": v for k, v in VOCABULARIES[name].items() if v is not None}
    return {"general.architecture": "llama", "llama.context_length": 64, "llama.embedding_length": 64, "llama.block_count": 1} | found


def write_vocabulary(values: dict[str, Any], path: Path) -> None:
    """A GGUF file with metadata alone."""
    nothing: list[TensorData] = []
    write_gguf(path, [field_of(k, v) for k, v in values.items()], nothing)
