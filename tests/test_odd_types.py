"""Values of the wrong type end in an error that says what was expected, wherever they come in; and reprs are one line."""

from __future__ import annotations

import traceback
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jaxllama
from jaxllama.grammar import Grammar
from jaxllama.numeric import ids_of, real, whole, whole_of


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
        (lambda: jaxllama.parse_overrides(None), "expected KEY=TYPE:VALUE as a text, found None"),
        (lambda: Grammar.from_gbnf(None), r"expected GBNF as a text \(str\), found None"),
        (lambda: Grammar.from_regex(b"x"), "expected a regular expression as a text"),
        (lambda: Grammar.from_choices(5), "expected several texts, found 5"),
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
        (lambda m: m.tokenizer.decode(["x"]), "expected token ids, found 'x' among them"),
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
        with pytest.raises(TypeError, match="ids of rows must be whole numbers, not"):
            jaxllama.qtake(weight, bad)
        with pytest.raises(TypeError, match="the numbers of tokens must be whole numbers, not"):
            jaxllama.rollback(state, bad)
    for bad in (None, [1.0]):
        with pytest.raises(TypeError, match="x must be an array of numbers"):
            jaxllama.qmatmul(bad, weight)
    with pytest.raises(ValueError, match="slots must be a whole number of at least 1, not None"):
        jaxllama.make_sampling(None)
    with pytest.raises(ValueError, match="logit_bias: expected a mapping"):
        jaxllama.make_sampling(1, logit_bias=5)


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, jnp.asarray, iter, lambda ids: [jnp.int32(i) for i in ids], lambda ids: map(np.uint64, ids)])
def test_ids_of_every_kind(model, kind):
    ids = [5, 600, 7]
    assert model.tokenizer.decode(kind(ids)) == model.tokenizer.decode(ids)
    model.stream("x", shown=kind(ids))
    for wrong in ([0.5], [True], [[1]], ["a"]):
        with pytest.raises(TypeError, match="expected the ids of special tokens that appear"):
            model.stream("x", shown=wrong)
    for outside in (-1, 2**40):
        with pytest.raises(ValueError, match=f"shown: there is no token {outside}"):
            model.stream("x", shown=[outside])


@pytest.mark.parametrize("number", [5, np.int8(5), np.asarray(5), jnp.int32(5)])
def test_single_numbers_of_every_kind(model, number):
    assert model.tokenizer.piece(number) == model.tokenizer.piece(5)
    assert ids_of([number]) == [whole(number)] == [5]
    for bias in ([(number, 2.0)], {5: np.asarray(2)}, {5: jnp.float32(2)}, {5: np.float16(2)}):
        found = model.sampling(1, logit_bias=bias)
        assert (int(found.bias_tokens[0, 0]), float(found.bias[0, 0])) == (5, 2.0)
    assert (whole_of("x", number, 5, 5), real(number)) == (5, 5.0)


@pytest.mark.parametrize("value", [True, np.bool_(True), jnp.asarray(True), None, "5", b"5", [5], 5j, np.asarray([5]), jnp.asarray([5]), object()])
def test_what_is_no_number(value):
    assert whole(value) is None
    assert real(value) is None
    with pytest.raises(ValueError, match="x must be a whole number of at least 0, not"):
        whole_of("x", value)
    with pytest.raises(TypeError, match="expected token ids, found"):
        ids_of([value])


@pytest.mark.parametrize("value", [1.5, 5.0, np.float32(5), jnp.float32(5)])
def test_what_is_no_whole_number(value):
    assert whole(value) is None
    assert real(value) == float(value)


@pytest.mark.parametrize(
    "bias", [{"a": 1}, {1.5: 1.0}, {-1: 1.0}, {2**40: 1.0}, {True: 1.0}, {1: "x"}, {1: None}, {1: True}, {1: 2j}, {1: np.nan}, {1: np.inf}, {1: 1e300}]
)
def test_biases_that_are_none(bias):
    with pytest.raises(ValueError, match="logit_bias"):
        jaxllama.make_sampling(logit_bias=bias)


def test_biases_as_low_as_they_get():
    found = jaxllama.make_sampling(logit_bias={1: -1e300, 2: -np.inf, 3: -1.5})
    assert found.bias[0, :3].tolist() == [-np.inf, -np.inf, -1.5]


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


ODD = (None, "x", b"x", 1.5, float("nan"), -1, 2**40, 2**70, True, [], {}, {"a": 1}, object(), np.asarray(["x"]), jnp.ones(3), 2j)
"""Values of which hardly any is what an argument takes."""


def _calls(model, state, weight):
    blocks = jaxllama.to_blocks(weight)
    place = (follow := model.follow(Grammar.from_gbnf('root ::= "a"'))).start
    ids, config, params = [1], model.config, model.params
    return {
        "state": lambda odd: jaxllama.step(params, odd, ids, config=config),
        "params": lambda odd: jaxllama.step(odd, state, ids, config=config),
        "config": lambda odd: jaxllama.step(params, state, ids, config=odd),
        "tokens": lambda odd: jaxllama.step(params, state, odd, config=config),
        "active": lambda odd: None if odd is None else jaxllama.step(params, state, ids, odd, config=config),
        "prompt": lambda odd: jaxllama.prefill(params, state, odd, [1], config=config),
        "lengths": lambda odd: jaxllama.prefill(params, state, [[1]], odd, config=config),
        "forward": lambda odd: jaxllama.forward(params, state, odd, config=config),
        "rollback": lambda odd: jaxllama.rollback(state, odd),
        "rolled back": lambda odd: jaxllama.rollback(odd, 1),
        "forked": lambda odd: jaxllama.fork(odd),
        "saved": lambda odd: jaxllama.save_state("never", odd),
        "init_state": lambda odd: jaxllama.init_state(odd, n_ctx=8, padding=8),
        "slots": lambda odd: jaxllama.init_state(config, odd, n_ctx=8, padding=8),
        "n_ctx": lambda odd: jaxllama.init_state(config, n_ctx=odd, padding=8),
        "padding": lambda odd: jaxllama.init_state(config, n_ctx=8, padding=odd),
        "cache_type": lambda odd: jaxllama.init_state(config, n_ctx=8, padding=8, cache_type=odd),
        "Kept": jaxllama.Kept,
        "logit_bias": lambda odd: jaxllama.make_sampling(logit_bias=odd),
        "biased": lambda odd: jaxllama.make_sampling(logit_bias={odd: 1.0} if odd.__hash__ else odd),
        "bias": lambda odd: jaxllama.make_sampling(logit_bias={1: odd}),
        "stack": lambda odd: jaxllama.from_blocks(iter(blocks), "Q8_0", stack=odd),
        "byte_order": lambda odd: jaxllama.from_blocks(blocks, "Q8_0", byte_order=odd),
        "blocks": lambda odd: jaxllama.from_blocks(odd, "Q8_0", stack=1),
        "format": lambda odd: jaxllama.from_blocks(blocks, odd),
        "ids of rows": lambda odd: jaxllama.qtake(weight, odd),
        "matrix": lambda odd: jaxllama.qtake(weight, 0, odd),
        "x": lambda odd: jaxllama.qmatmul(odd, weight),
        "weight": lambda odd: jaxllama.qmatmul(jnp.ones(32), odd),
        "token": lambda odd: follow.advance(place, odd),
        "place": lambda odd: follow.advance(odd, 1),
        "mask": follow.mask,
        "shown": lambda odd: model.stream("x", shown=odd),
        "exact": lambda odd: jaxllama.load(exact=odd) if odd is not True else None,
        "check_tensors": lambda odd: jaxllama.load(check_tensors=odd) if odd is not True else None,
        "piece": model.tokenizer.piece,
        "decode": model.tokenizer.decode,
    }


def test_odd_values_end_in_errors_of_our_own(model, state, weight):
    """They are raised here, with words about the argument, and not where Python or JAX stumbles over it."""
    foreign = []
    for name, call in _calls(model, state, weight).items():
        for odd in ODD:
            try:
                call(odd)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                if not (Path(last.filename).is_relative_to(Path(jaxllama.__file__).parent) and (last.line or "").startswith("raise ")):
                    foreign.append(f"{name}, {odd!r}: {error!r}")
    assert not foreign, "\n".join(foreign)
