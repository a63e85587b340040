"""Values of the wrong type end in an error that says what was expected, wherever they come in; and reprs are one line."""

from __future__ import annotations

import numpy as np
import pytest

import jaxllama
from jaxllama.grammar import Grammar


@pytest.fixture(scope="module")
def model(default_model):
    return default_model


@pytest.fixture(scope="module")
def weight():
    return jaxllama.from_blocks(jaxllama.quantize(np.ones((4, 32), np.float32), "q8_0"), "q8_0")


@pytest.fixture(scope="module")
def state(model):
    return jaxllama.init_state(model.config, n_ctx=64, padding=8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxllama.load(chat_template=5), "chat_template: expected Jinja .*, found 5"),
        (lambda: jaxllama.load(overrides="a=int:1"), "overrides: expected what parse_overrides makes"),
        (lambda: jaxllama.load(overrides=5), "overrides: expected"),
        (lambda: jaxllama.load(compiling=5), "compiling: expected a function"),
        (lambda: jaxllama.load(5), "expected the path of a GGUF file, or user/name of a hub repository, found 5"),
        (lambda: jaxllama.load(b"x.gguf"), "expected the path of a GGUF file, or user/name"),
        (lambda: jaxllama.open_gguf(None), "expected the path of a GGUF file, found None"),
        (lambda: jaxllama.open_gguf(""), "expected the path of a GGUF file, found ''"),
        (lambda: jaxllama.parse_overrides(None), "expected KEY=TYPE:VALUE as a text, found None"),
        (lambda: Grammar.from_gbnf(None), r"expected GBNF as a text \(str\), found None"),
        (lambda: Grammar.from_regex(b"x"), "expected a regular expression as a text"),
        (lambda: Grammar.from_choices(5), "expected several texts, found 5"),
        (lambda: Grammar.from_choices("yes"), "expected several texts, found 'yes'"),
        (lambda: Grammar.from_choices([5]), "expected a choice as a text"),
        (lambda: Grammar.from_choices(["a"]).accepts(None), "expected what is followed as a text"),
        (lambda: Grammar.from_choices(["a"]).place(5), "expected what is followed as a text"),
        (lambda: jaxllama.from_blocks(None, "Q8_0"), "expected the bytes of blocks, as quantize makes them, found NoneType"),
        (lambda: jaxllama.dequantize(None), "expected a QTensor, which from_blocks makes, found NoneType"),
        (lambda: jaxllama.to_blocks(5), "expected a QTensor"),
        (lambda: jaxllama.qtake(None, 5), "expected a QTensor"),
        (lambda: jaxllama.qmatmul(np.ones(32, np.float32), None), "expected a QTensor"),
        (lambda: jaxllama.quantize_file(jaxllama.embedded_model(), "b", None), "file_type: expected a name such as Q4_K_M, found None"),
    ],
)
def test_what_needs_no_model(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.tokenizer.encode(None), r"expected a text \(str\), found None"),
        (lambda m: m.tokenizer.encode(b"x"), r"found b'x'; decode it first: str\(text, 'utf-8'\)"),
        (lambda m: m.tokenizer.encode_prompt(None), "expected a text"),
        (lambda m: m.tokenizer.decode(5), "expected token ids, found 5"),
        (lambda m: m.tokenizer.decode("text"), "expected token ids, found 'text'"),
        (lambda m: m.tokenizer.decode(["x"]), "expected the id of a token, found 'x'"),
        (lambda m: m.tokenizer.piece(None), "expected the id of a token, found None"),
        (lambda m: m.follow(None), "expected a Grammar, found None"),
        (lambda m: list(m.stream("x", begun=5)), "begun: expected the part of the text"),
        (lambda m: list(m.stream_batch(["x"], begun=["a", "b"])), "begun: expected the part of the text"),
    ],
)
def test_what_needs_a_model(model, call, message):
    with pytest.raises(TypeError, match=message):
        call(model)


def test_numbers_for_arrays(state, weight):
    np.testing.assert_array_equal(jaxllama.qtake(weight, 3), jaxllama.qtake(weight, np.asarray(3)))
    for bad in (None, "x"):
        with pytest.raises(TypeError, match="ids of rows must be integers, not"):
            jaxllama.qtake(weight, bad)
        with pytest.raises(TypeError, match="expected a number of tokens, or an array of one for each of 1 slots, found"):
            jaxllama.rollback(state, bad)
    for bad in (None, [1.0]):
        with pytest.raises(TypeError, match="x must be an array of numbers"):
            jaxllama.qmatmul(bad, weight)
    with pytest.raises(ValueError, match="slots must be a whole number of at least 1, not None"):
        jaxllama.make_sampling(None)
    with pytest.raises(ValueError, match="logit_bias: expected a mapping"):
        jaxllama.make_sampling(1, logit_bias=5)


def test_places_that_hold_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="the name of the model is empty"):
        jaxllama.load("")
    with pytest.raises(jaxllama.GGUFError, match="found a folder"):
        jaxllama.load(tmp_path)
    with pytest.raises(jaxllama.GGUFError, match="found a device or a pipe"):
        jaxllama.load("/dev/null")


def test_formats_by_name_and_single_rows():
    x = np.linspace(-1, 1, 256).astype(np.float32)
    np.testing.assert_array_equal(jaxllama.quantize(x, "q4_k"), jaxllama.quantize(x, "Q4_K"))
    np.testing.assert_array_equal(jaxllama.quantize(x, "f16"), x.astype(np.float16).view(np.uint8))
    row = jaxllama.from_blocks(jaxllama.quantize(x, "q8_0"), "q8_0")
    assert (row.format, row.shape) == ("Q8_0", (1, 1, 256))
    np.testing.assert_allclose(jaxllama.dequantize(row)[0, 0], x, atol=0.01)


def test_reprs_are_one_line(model, state):
    session = model.prefill("Once upon a time")
    for value in (state, session, jaxllama.Kept(session), model):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 200
    assert repr(state) == "DecodeState(positions=[0], n_ctx=64, float16 caches of " + repr(state).rsplit("of ", 1)[1]
    assert repr(session).startswith(f"Session([{len(model.encode('Once upon a time'))}] tokens, DecodeState(positions=[")
