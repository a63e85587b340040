"""Tokenizers against recorded ids of real vocabularies, and by their laws."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama import Tokenizer
from jaxllama.formats.gguf import GGUFError, open_gguf
from jaxllama.text.stop import StopFinder

NAMES = ("llama-spm", "llama-bpe", "gpt-2", "qwen2", "phi-3", "deepseek-llm")
_cache: dict[str, Tokenizer] = {}


def tokenizer(data: Path, name: str) -> Tokenizer:
    if name not in _cache:
        _cache[name] = Tokenizer.from_gguf(data / "vocab" / f"ggml-vocab-{name}.gguf")
    return _cache[name]


def recorded(data: Path, name: str) -> list[tuple[str, list[int]]]:
    path = data / "vocab" / f"ggml-vocab-{name}.gguf"
    with open(f"{path}.inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    ids = [[int(i) for i in line.split()] for line in Path(f"{path}.out").read_text().split("\n")]
    return list(zip(texts, ids, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_recorded_ids(shared_data, name):
    t = tokenizer(shared_data, name)
    for text, ids in recorded(shared_data, name):
        assert t.encode(text, add_special=False) == ids, repr(text)


@pytest.mark.parametrize("name", NAMES)
@given(st.text(st.characters(exclude_characters="▁"), max_size=60))
def test_decode_inverts_encode(shared_data, name, text):
    text = text.encode("utf-8", "replace").decode()
    t = tokenizer(shared_data, name)
    assert t.decode(t.encode(text)) == text


@pytest.mark.parametrize("name", NAMES)
@given(st.lists(st.integers(0, 30_000), max_size=40))
def test_streamed_pieces_make_the_whole(shared_data, name, ids):
    t = tokenizer(shared_data, name)
    stream = t.stream()
    pieces = [stream.push(i) for i in ids]
    raw = b"".join(t.piece(i) for i in ids)
    assert "".join(pieces) + stream.flush() == raw.decode("utf-8", "replace")


@pytest.mark.parametrize("name", ["llama-spm", "gpt-2"])
def test_no_piece_is_half_a_character(shared_data, name):
    t = tokenizer(shared_data, name)
    text = "naïve 🦙🇩🇪 日本語 \u200d👩‍👩‍👧 ￿"
    stream = t.stream()
    pieces = [stream.push(i) for i in t.encode(text, add_special=False)]
    assert all("\ufffd" not in p for p in pieces)
    assert "".join(pieces).removeprefix(" ") == text


def test_special_tokens(shared_data):
    t = tokenizer(shared_data, "llama-bpe")
    assert t.encode("hi") == [128000, *t.encode("hi", add_special=False)]  # llama-bpe adds bos though the file does not say so
    text = "<|eot_id|>hi<|start_header_id|>"
    parsed = t.encode(text, add_special=False, parse_special=True)
    assert (parsed[0], parsed[-1]) == (128009, 128006)
    plain = t.encode(text, add_special=False)
    assert not {128009, 128006} & set(plain)
    assert t.decode(plain) == text
    assert t.decode(parsed) == "hi"
    assert t.decode(parsed, unparse_special=True) == text
    assert t.decode(t.encode("hi"), remove_special=True, unparse_special=True) == "hi"


def test_user_defined_tokens_are_always_found(shared_data):
    t = tokenizer(shared_data, "phi-3")
    user = t.vocabulary.of_type(4)
    assert user
    text = t.vocabulary.tokens[user[0]]
    assert user[0] in t.encode(f"a{text}b")


def test_ends(shared_data):
    assert tokenizer(shared_data, "llama-bpe").end == {128001, 128009}
    assert tokenizer(shared_data, "qwen2").end == {128247, 151643, 151645}  # llama.cpp counts the plain token </s> of this vocabulary too
    assert tokenizer(shared_data, "llama-spm").end == {2}
    assert tokenizer(shared_data, "phi-3").end == {2, 32000, 32007}


def test_speed_of_bpe(shared_data):
    """No timing is asserted: this only shows that long text does not blow up (benchmarks/tokenizer.py measures)."""
    t = tokenizer(shared_data, "llama-bpe")
    text = "The quick brown fox jumps over the lazy dog, and then it rests. " * 2000
    start = time.perf_counter()
    ids = t.encode(text)
    assert t.decode(ids) == text
    assert time.perf_counter() - start < 60


def test_lone_surrogates_are_replaced(shared_data):
    t = tokenizer(shared_data, "gpt-2")
    assert t.decode(t.encode("a\ud800b")) == "a?b"


def test_ids_outside_the_vocabulary(shared_data):
    t = tokenizer(shared_data, "gpt-2")
    for bad in (-1, len(t)):
        with pytest.raises(IndexError, match="outside the vocabulary"):
            t.decode([bad])


def test_spm_without_word_boundaries_equals_word_by_word(shared_data):
    """Merging word by word is an optimisation: the whole text at once gives the same ids."""
    t = tokenizer(shared_data, "llama-spm")
    model = t._model
    words, model._words = model._words, None
    try:
        slow = [t.encode(text, add_special=False) for text, _ in recorded(shared_data, "llama-spm")]
    finally:
        model._words = words
    assert slow == [ids for _, ids in recorded(shared_data, "llama-spm")]


def metadata(**changes):
    base = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "a"], "tokenizer.ggml.scores": np.zeros(4, np.float32)}
    return base | {f"tokenizer.ggml.{k}": v for k, v in changes.items()}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"model": "klingon"}, "model"),
        ({"tokens": []}, "tokens"),
        ({"tokens": ["a", "a"]}, "tokens"),
        ({"scores": np.zeros(2, np.float32)}, "scores"),
        ({"token_type": "x"}, "token_type"),
        ({"model": "gpt2"}, "merges"),
        ({"model": "gpt2", "merges": ["a b"], "pre": "unheard-of"}, "pre"),
    ],
)
def test_bad_vocabularies(changes, field):
    with pytest.raises(GGUFError, match=rf"tokenizer\.ggml\.{field}"):
        Tokenizer.from_metadata(metadata(**changes))


def test_none_written_as_all_ones(shared_data):
    file = open_gguf(shared_data / "models" / "stories260K.gguf")
    assert file.get("tokenizer.ggml.padding_token_id") == 2**32 - 1
    assert "pad" not in Tokenizer.from_metadata(file.metadata).vocabulary.special


@given(st.lists(st.text("abc", max_size=5), max_size=12), st.sampled_from([["abc"], ["aa", "b"], ["cab", "ca"], []]))
def test_stop_strings_in_any_split(pieces, stops):
    finder = StopFinder(stops)
    shown = "".join(finder.push(p) for p in pieces) + finder.flush()
    text = "".join(pieces)
    cut = min((text.find(s) for s in stops if s in text), default=len(text))
    # A longer stop string may begin before a shorter one that is complete earlier in the stream.
    assert text.startswith(shown)
    assert len(shown) >= cut
    assert shown == text[:cut] or len(stops) > 1
