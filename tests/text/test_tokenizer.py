"""Tokenizers against recorded ids of real vocabularies, and by their laws."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama import Tokenizer
from jaxllama.formats.gguf import GGUFError, open_gguf
from jaxllama.text import TokenType, bpe, spm
from jaxllama.text.charsmap import CharsMap
from jaxllama.text.pretokenizers import PRETOKENIZERS
from jaxllama.text.spm import SPM
from jaxllama.text.stop import StopFinder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
import record_tokens
import vocabularies

NAMES = ("llama-spm", "llama-bpe", "gpt-2", "qwen2", "phi-3", "deepseek-llm", "bert-bge")
_cache: dict[str, Tokenizer] = {}
RECORDED = np.load(record_tokens.HERE / "tokens.npz")


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


FIRST_OF_RULE = {rule: name for name, rule in reversed(PRETOKENIZERS.items())}.values()
RECORDED_NAMES = sorted(n for n in RECORDED if not n.startswith("end:"))
# Usually one name of each rule for splitting, and every seventh text: neither all of them with bos nor all without.
SOME_TEXTS = [(name, 7) for name in RECORDED_NAMES if not name.startswith("pre:") or name[4:] in FIRST_OF_RULE]


@pytest.mark.parametrize(("name", "every"), [*SOME_TEXTS, *(pytest.param(name, 1, marks=pytest.mark.exhaustive) for name in RECORDED_NAMES)])
def test_llama_cpps_ids_of_thousands_of_texts(name, every):
    """Recorded by tests/reference/record_tokens.py, as a checksum for each text; with and without bos, and with and without special tokens in the text."""
    if not name.startswith("made:") and not record_tokens.DATA.exists():
        pytest.skip("the vocabularies beside the project are missing")
    values, count = record_tokens.sources(name)[name]
    t = Tokenizer.from_metadata(values)
    cases = record_tokens.cases(name, t, count)
    compared = list(zip(cases, RECORDED[name], strict=True))[::every]
    different = [case for case, expected in compared if record_tokens.checksum(t.encode(*case)) != expected]
    assert not different, f"{len(different)} of {len(compared)}: {min(different, key=lambda c: len(c[0]))!a}"
    assert t.end == set(RECORDED[f"end:{name}"].tolist())


@pytest.mark.parametrize("name", [n for n in NAMES if n != "bert-bge"])
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


def test_bases_of_dna():
    """Ids as llama.cpp has them: groups of six, filled up with A, in capitals; a group that is no token is `<oov>`."""
    t = Tokenizer.from_metadata(vocabularies.metadata("hybriddna"))
    for text, expected in [
        ("<dna>ACGTAC</dna>", "<dna> <oov> </dna>"),
        ("he<dna>aaaaaaccc</dna>he", "he <dna> AAAAAA CCCAAA </dna> he"),
        ("<dna>TAAAAAAAAAAAt", "<dna> TAAAAA AAAAAA TAAAAA"),
        ("<dna></dna>x", "<dna> </dna> x"),
        ("<dna>taaaaa<dna>taaaaa</dna>", "<dna> TAAAAA <oov> AAAAAA </dna>"),
        ("<dna>{AAAAA</dna>", "<dna> <oov> </dna>"),
    ]:
        ids = t.encode(text)
        assert [t.vocabulary.tokens[i].removesuffix("\ue000") for i in ids] == expected.split()
    assert t.decode(t.encode("<dna>AAAAAA</dna>")) == "<dna>AAAAAA</dna>"


def test_text_that_no_token_covers():
    """Ids as llama.cpp has them."""
    base = vocabularies.metadata("unigram")
    tokens = [*base["tokenizer.ggml.tokens"], "дx", "ж"]
    types = np.append(base["tokenizer.ggml.token_type"], np.array([5, 5], np.int32))  # unused, and less likely than what is unknown
    scores = np.append(base["tokenizer.ggml.scores"], np.array([-50, -90], np.float32))
    t = Tokenizer.from_metadata(base | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types, "tokenizer.ggml.scores": scores})
    for text, ids in [("дx", [3, 2, 91]), ("ж", [3, 188]), ("жx", [3, 188, 91]), ("qддx", [3, 84, 2, 91])]:
        assert t.encode(text, add_special=False) == ids
    rwkv = metadata(model="rwkv", tokens=["<s>", "a", "b", "ab"], unknown_token_id=2)
    assert Tokenizer.from_metadata(rwkv).encode("abxa") == [3, 2, 1]


@pytest.mark.parametrize(
    ("texts", "eos", "kinds"),
    [
        (["<|end|>", "<|return|>", "<|call|>"], 0, "user end end"),
        (["<|end|>", "<|flush|>", "<|calls|>"], 0, "user end end"),
        (["<|end|>", "<|return|>"], 0, "end end"),
        (["<|end|>", "<|call|>"], 0, "end end"),
        (["<|im_end|>", "</s>", "<|tool_response>"], 0, "end normal end"),
        (["</s>", "<|plamo:eos|>"], 0, "end normal"),
        (["</s>", "<|plamo:eos|>"], 1, "normal normal-end"),
        (["<|channel|>", "</s>"], 0, "user end"),
    ],
)
def test_texts_that_say_what_a_token_is_for(texts, eos, kinds):
    """Ends and types as llama.cpp has them, where the file says that all of these are ordinary tokens."""
    base = vocabularies.metadata("jina")
    count = len(base["tokenizer.ggml.tokens"])
    types = np.append(base["tokenizer.ggml.token_type"], np.ones(len(texts), np.int32))
    changes = {"tokens": [*base["tokenizer.ggml.tokens"], *texts], "token_type": types, "eos_token_id": count + 1 if eos else 0}
    t = Tokenizer.from_metadata(base | {f"tokenizer.ggml.{k}": v for k, v in changes.items()})
    meant = {(3, True): "end", (4, False): "user", (1, False): "normal", (1, True): "normal-end"}
    assert [meant[int(t.vocabulary.types[i]), i in t.end] for i in range(count, count + len(texts))] == kinds.split()


def test_user_defined_tokens_are_always_found():
    t = Tokenizer.from_metadata(vocabularies.metadata("gemma4"))
    (user,) = t.vocabulary.of_type(TokenType.USER_DEFINED)
    assert t.encode("a<user>b", add_special=False)[1] == user
    (end,) = t.encode("<end_of_turn>", add_special=False, parse_special=True)
    assert end not in t.encode("a<end_of_turn>b")


@pytest.mark.parametrize("name", sorted(vocabularies.VOCABULARIES))
@given(st.text(st.characters(exclude_characters="▁", exclude_categories=("Cs",)), max_size=40))
def test_decode_inverts_encode_in_other_kinds(name, text):
    if name.startswith(("unigram", "whitespace", "kimi", "hybrid", "jina")):  # these normalise, or these vocabularies do not have all bytes
        text = "".join(c for c in text if c in "helowrdtin")
    if name not in _cache:
        _cache[name] = Tokenizer.from_metadata(vocabularies.metadata(name))
    t = _cache[name]
    if name.startswith("unigram"):
        assert t.decode(t.encode(text, add_special=False)).strip() == text
    else:
        assert t.decode(t.encode(text)) == (text.removeprefix("\ufeff") if name == "plamo2" else text)


@pytest.mark.parametrize("name", ["llama-spm", "llama-bpe", "qwen2", "bert-bge", "made:gemma4", "made:plamo2", "made:unigram", "made:rwkv"])
@pytest.mark.parametrize("word", ["a", "ab", "x\u0301", "日本"])
def test_one_long_word(shared_data, name, word):
    """100 kB without a space take no quadratic time."""
    t = Tokenizer.from_metadata(vocabularies.metadata(name[5:])) if name.startswith("made:") else tokenizer(shared_data, name)
    start = time.perf_counter()
    t.encode(word * (100_000 // len(word.encode())))
    assert time.perf_counter() - start < 20


def test_lines_are_encoded_as_they_are_alone(shared_data):
    """Long texts of some vocabularies are encoded line by line, with simpler expressions where a line is ASCII."""
    t = tokenizer(shared_data, "deepseek-llm")
    texts = [text for text, _, _ in record_tokens.cases("deepseek-llm", t, 3000)]
    lines = [line for text in texts for line in (text, "".join(c for c in text if c.isascii())) for line in re.findall(r"[^\r\n]+|[\r\n]", line)]
    whole = "\n".join(lines)
    assert len(whole) > 100_000
    encode = t._encoder.encode  # without the special tokens that cut these texts into short ones
    expected = []
    for number, line in enumerate(lines):
        expected += (encode("\n", False) if number else []) + encode(line, False)
    assert encode(whole, True) == expected


def test_fim_tokens():
    tokens = ["<unk>", "<s>", "</s>", "<fim_prefix>", "<|fim_middle|>", "<PAD>", "<|file_sep|>"]
    special = Tokenizer.from_metadata(metadata(tokens=tokens, scores=np.zeros(7, np.float32)))
    assert {k: v for k, v in special.vocabulary.special.items() if k.startswith("fim")} == {"fim_pre": 3, "fim_mid": 4, "fim_pad": 5, "fim_sep": 6}
    assert special.end == {2, 5, 6}


def test_white_space_beside_special_tokens(shared_data):
    phi = tokenizer(shared_data, "phi-3")
    (end,) = phi.encode("<|end|>", add_special=False, parse_special=True)
    assert phi.encode("<|end|> \n", add_special=False, parse_special=True) == [end]
    jina = Tokenizer.from_metadata(vocabularies.metadata("jina"))
    mask = jina.vocabulary.ids["<mask>"]
    assert jina.encode("a <mask> b", add_special=False, parse_special=True)[:2] == [*jina.encode("a", add_special=False), mask]


def test_wordpiece_text(shared_data):
    t = tokenizer(shared_data, "bert-bge")
    ids = t.encode("Hello, it's a naïve test .")
    assert (ids[0], ids[-1]) == (101, 102)
    assert t.decode(ids) == " hello, it's a naive test."


def test_ends(shared_data):
    assert tokenizer(shared_data, "llama-bpe").end == {128001, 128009}
    assert tokenizer(shared_data, "qwen2").end == {128247, 151643, 151645}  # llama.cpp counts the plain token </s> of this vocabulary too
    assert tokenizer(shared_data, "llama-spm").end == {2}
    assert tokenizer(shared_data, "phi-3").end == {2, 32000, 32007}


def test_speed_of_bpe(shared_data):
    """No timing is asserted: this only shows that long text does not blow up (benchmarks/tokenizer.py measures)."""
    t = tokenizer(shared_data, "llama-bpe")
    sentence = "The quick brown fox jumps over the lazy dog, and then it rests!!"
    start = time.perf_counter()
    assert t.encode(sentence + f" {sentence}" * 2000) == t.encode(sentence) + t.encode(f" {sentence}", add_special=False) * 2000
    assert time.perf_counter() - start < 60


def test_lone_surrogates_are_replaced(shared_data):
    t = tokenizer(shared_data, "gpt-2")
    assert t.decode(t.encode("a\ud800b")) == "a?b"


@pytest.mark.parametrize(
    ("name", "raw", "ids"),
    [
        ("llama-spm", b"\xff\xfe", [29871, 258, 257]),
        ("llama-spm", b"ab\xffcdef gh", [633, 258, 102, 103, 104, 29888, 24170]),  # the first byte says that four make a character
        ("llama-spm", b"\xff once upon", [29871, 258, 229, 153, 132, 10646, 2501]),
        ("gpt-2", b"ab\xffcdef gh", [397, 4210, 66, 4299, 24997]),
        ("gpt-2", b"\xff\xfe", [6353]),
        ("bert-bge", b"\xe4the the", [1996, 1996]),
    ],
)
def test_bytes_that_are_not_utf8_are_encoded_as_in_llama_cpp(shared_data, name, raw, ids):
    """Recorded with `Llama(..., vocab_only=True).tokenize(raw, add_bos=False)`."""
    assert tokenizer(shared_data, name).encode(str(raw, "utf-8", "surrogateescape"), add_special=False) == ids


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("unigram", [124, 2, 166, 72, 73, 124]),  # a stray byte is no U+FFFD, for which the table of normalisations has a space
        ("rwkv", [260, 256, 271, 102, 103, 286]),
        ("plamo2", [382, 243, 195, 193, 328, 405, 410]),
        ("gemma4", [349, 443, 248, 200, 198, 460, 334, 335, 395]),
    ],
)
def test_bytes_that_are_not_utf8_in_other_kinds(name, ids):
    assert Tokenizer.from_metadata(vocabularies.metadata(name)).encode(str(b"the\xffcdef the", "utf-8", "surrogateescape"), add_special=False) == ids


@pytest.mark.parametrize("name", sorted(vocabularies.VOCABULARIES))
def test_tokens_that_are_not_utf8_keep_their_bytes(name):
    """And no text has them, so that all other ids stay."""
    values = vocabularies.metadata(name)
    raw = b"\xff\xc3("
    odd, last = str(raw, "utf-8", "surrogateescape"), len(values["tokenizer.ggml.tokens"])
    extended = values | {"tokenizer.ggml.tokens": [*values["tokenizer.ggml.tokens"], *(odd + mark for mark in ("", "a", "b"))]}
    for key, more in [("token_type", [TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.CONTROL]), ("scores", [0, 0, 0])]:
        if f"tokenizer.ggml.{key}" in values:
            extended[f"tokenizer.ggml.{key}"] = np.append(values[f"tokenizer.ggml.{key}"], np.asarray(more, values[f"tokenizer.ggml.{key}"].dtype))
    if "tokenizer.ggml.merges" in values:
        extended["tokenizer.ggml.merges"] = [*values["tokenizer.ggml.merges"], f"{odd} a"]
    before, after = Tokenizer.from_metadata(values), Tokenizer.from_metadata(extended)
    assert [after.piece(last + n, special=True) for n in range(3)] == [raw, raw + b"a", raw + b"b"]
    assert after.decode([last]) == "\ufffd\ufffd("
    text = "hello <s> the ÿÃ( end"
    assert after.encode(text, parse_special=True) == before.encode(text, parse_special=True)


@pytest.mark.parametrize("model", ["none", "no_vocab"])
def test_a_file_without_a_vocabulary(model):
    values = {"general.architecture": "llama", "tokenizer.ggml.model": model}
    t = Tokenizer.from_metadata(values | {"llama.vocab_size": 12})
    assert (len(t), t.bos, t.eos, t.end, t.encode(""), t.piece(11, special=True), t.decode([0, 11])) == (12, None, None, frozenset(), [], b"", "")
    with pytest.raises(ValueError, match=rf"the file has no vocabulary \(tokenizer.ggml.model is '{model}'\), so it cannot encode text; give it token ids"):
        t.encode("a")
    for size in (None, 0, -1, 2**40, "12"):
        with pytest.raises(GGUFError, match=r"llama\.vocab_size"):
            Tokenizer.from_metadata(values | {"llama.vocab_size": size})


def test_llama_cpps_tokenizer_for_tests():
    """Every five bytes are their hash, and a token is its number."""
    t = Tokenizer.from_metadata({"tokenizer.ggml.model": "test", "tokenizer.ggml.tokens": [f"t{n}" for n in range(300)]})
    assert t.encode("hello") == [(((((104 * 31 + 101) * 31) + 108) * 31 + 108) * 31 + 111) % 300]
    assert t.encode("hellohello é") == [*t.encode("hello") * 2, (32 * 31 * 31 + 0xC3 * 31 + 0xA9) % 300]
    assert t.decode([10, 299]) == "a12b"
    assert (t.bos, t.eos, t.end) == (None, None, frozenset())


def test_ids_outside_the_vocabulary(shared_data):
    t = tokenizer(shared_data, "gpt-2")
    for bad in (-1, len(t)):
        with pytest.raises(IndexError, match="outside the vocabulary"):
            t.decode([bad])


def test_spm_without_word_boundaries_equals_word_by_word(shared_data):
    """Merging word by word is an optimisation: the whole text at once gives the same ids."""
    t = tokenizer(shared_data, "llama-spm")
    model = t._encoder
    assert isinstance(model, SPM)
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
        ({"model": "bert"}, "unknown_token_id"),
        ({"model": "t5", "precompiled_charsmap": "x"}, "precompiled_charsmap"),
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
    """Text goes on as soon as no stop string can begin in it, and ends where the first complete one begins."""
    finder, text, shown, found = StopFinder(stops), "", "", None
    for piece in pieces:
        text, shown = text + piece, shown + finder.push(piece)
        if hits := [(text.find(s), s) for s in stops if s in text]:
            at, found = min(hits)
        else:
            at = min(n for n in range(len(text) + 1) if n == len(text) or any(s.startswith(text[n:]) for s in stops))
        assert shown == text[:at]
        if found:
            break
    assert finder.found == found
    assert finder.push("more") + finder.flush() == ("" if found else text[len(shown) :] + "more")


def test_stop_strings_have_text():
    with pytest.raises(ValueError, match="a stop string must not be empty"):
        StopFinder(["a", ""])


@pytest.mark.parametrize(
    ("family", "text", "type_", "raw"),
    [
        (bpe.piece, "<0x0A>", TokenType.BYTE, b"\n"),
        (bpe.piece, "Ġa", TokenType.NORMAL, b" a"),
        (bpe.piece, "Ġa", TokenType.USER_DEFINED, "Ġa".encode()),
        (bpe.piece, "日", TokenType.NORMAL, "日".encode()),
        (bpe.raw_piece, "<0x0A>", TokenType.BYTE, b"\n"),
        (bpe.raw_piece, "▁a", TokenType.NORMAL, b" a"),
        (bpe.raw_piece, "▁a", TokenType.USER_DEFINED, "▁a".encode()),
        (spm.piece, "<0x0A>", TokenType.BYTE, b"\n"),
        (spm.piece, "▁a", TokenType.USER_DEFINED, "▁a".encode()),
        (spm.piece, "▁a", TokenType.NORMAL, b" a"),
    ],
)
def test_bytes_of_a_token(family, text, type_, raw):
    assert family(text, type_) == raw


def test_a_table_of_normalisations_that_is_cut_off():
    text = "\u1112\u1161\u11ab".encode()  # its replacement is the last of the table
    assert CharsMap(vocabularies.CHARSMAP).longest(text, 0) == (len(text), "한".encode())
    with pytest.raises(ValueError, match="a replacement that does not end"):
        CharsMap(vocabularies.CHARSMAP[:-1]).longest(text, 0)


@given(st.binary(max_size=60))
def test_a_broken_table_of_normalisations(raw):
    """Whatever the bytes are: an answer or a ValueError."""
    try:
        table = CharsMap(raw)
        table.longest("abcd ﬁ".encode(), 0)
    except ValueError:
        pass


def test_a_vocabulary_without_bytes_is_refused():
    with pytest.raises(GGUFError, match="found byte tokens for 0 of 256 bytes"):
        Tokenizer.from_metadata(metadata(model="plamo2"))


def test_a_file_that_does_not_say_how_text_is_cut(caplog):
    Tokenizer.from_metadata({k: v for k, v in vocabularies.metadata("jina").items() if k != "tokenizer.ggml.pre"})
    assert "names no pre-tokenizer (tokenizer.ggml.pre)" in caplog.text
