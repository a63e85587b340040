"""What may be a prompt, and that everything which takes one agrees."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest

import jaxllama
from jaxllama.evaluate import importance_matrix, save_base
from jaxllama.formats.gguf import TensorData, field_of, write_gguf
from jaxllama.prompt import read_prompt, read_prompts

IDS = [5, 9, 14]
NO_PROMPTS = [
    b"text",
    bytearray(b"text"),
    memoryview(b"text"),
    7,
    None,
    {5: 9},
    {5, 9},
    iter(IDS),
    ["text"],
    [5, "text"],
    [5, 9.0],
    [True, False],
    [5, True],
    [[5]],
    np.asarray(IDS, np.float32),
    np.asarray([True]),
    np.asarray([IDS]),
    np.asarray(5),
    jnp.asarray(IDS, jnp.float32),
]


@pytest.fixture(scope="module")
def model(default_model):
    return default_model


def named(given: object) -> str:
    """For a test's name: the same in every process, so without addresses."""
    return re.sub(r" at 0x\w+", "", repr(given))


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, lambda x: np.asarray(x, np.uint8), jnp.asarray, lambda x: [np.int32(t) for t in x]])
def test_ids_come_in_any_sequence_of_integers(kind):
    assert read_prompt(kind(IDS)) == IDS
    assert all(type(token) is int for token in read_prompt(kind(IDS)))
    (one,), many = read_prompts(kind(IDS))
    assert not many
    assert read_prompt(one) == IDS


def test_text_and_ranges():
    assert read_prompt("text") == "text"
    assert read_prompt(range(3)) == [0, 1, 2]
    assert read_prompts("text") == (["text"], False)


@pytest.mark.parametrize("batch", [["a", IDS], ("a", tuple(IDS)), [IDS, [7]], np.asarray([IDS, IDS]), [np.asarray(IDS), "a"], [[]], ["a"]])
def test_batches(batch):
    prompts, many = read_prompts(batch)
    assert many
    assert len(prompts) == len(batch)
    assert [read_prompt(p) for p in prompts] == [p if isinstance(p, str) else [int(t) for t in p] for p in batch]


@pytest.mark.parametrize("given", NO_PROMPTS, ids=named)
def test_what_is_no_prompt_is_an_error_everywhere(model, given):
    for call in (read_prompt, model.encode, model.logits, model.embed, lambda p: list(model.stream(p))):
        with pytest.raises(TypeError, match="a prompt is text"):
            call(given)
    for call in (model.generate, model.prefill, model.score):  # in a batch too
        with pytest.raises(TypeError, match="a prompt is text"):
            call(["text", given])


@pytest.mark.parametrize(
    "given", [g for g in NO_PROMPTS if not (isinstance(g, list) and isinstance(g[0], (str, list))) and getattr(g, "ndim", 1) != 2], ids=named
)
def test_what_is_neither_a_prompt_nor_a_batch_is_an_error(model, given):
    for call in (model.generate, model.prefill):
        with pytest.raises(TypeError, match="a prompt is text"):
            call(given)


def test_an_empty_batch_and_an_empty_prompt(model):
    assert model.generate([]) == model.generate(()) == []
    assert model.encode([]) == model.encode(np.zeros(0, np.int32)) == [model.tokenizer.bos]
    with pytest.raises(ValueError, match="there is no prompt"):
        model.prefill([])


def test_all_forms_give_the_same_text(model):
    """Batches of one, because every number of slots is compiled for itself."""
    ask = {"n_predict": 2, "temperature": 0}
    tokens = model.generate(IDS, **ask).tokens
    assert model.generate(tuple(IDS), **ask).tokens == model.generate(np.asarray(IDS), **ask).tokens == tokens
    for batch in (np.asarray([IDS]), (IDS,), [tuple(IDS)]):
        assert [r.tokens for r in model.generate(batch, **ask)] == [tokens]
    assert model.prefill(IDS).tokens == model.prefill([IDS]).tokens == [IDS]
    assert model.prefill("text").tokens == [model.encode("text")]


def test_one_text_is_not_a_list_of_its_characters(model):
    ask = {"n_predict": 12, "temperature": 0}
    free = model.generate("Once upon a time", **ask).text
    word = free.split()[2]
    assert model.generate("Once upon a time", stop=word, **ask).text == free[: free.index(word)]
    assert "".join(p.text for p in model.stream("Once upon a time", stop=word, **ask)) == free[: free.index(word)]
    sampling = {name: model.sampling(1, dry_multiplier=1.0, dry_sequence_breakers=name) for name in ("fox",)}
    np.testing.assert_array_equal(sampling["fox"].breakers, model.sampling(1, dry_multiplier=1.0, dry_sequence_breakers=["fox"]).breakers)
    lazy = {"grammar": 'root ::= "ab"', "grammar_lazy": True}
    assert model.grammar(grammar_triggers="ab", **lazy) is model.grammar(grammar_triggers=["ab"], **lazy)
    with pytest.raises(TypeError, match=r"stop: expected a text or several, found b'x'"):
        model.generate("x", stop=b"x")
    for bad in ({"stop": [1]}, {"stop": 5}, {"preserved_tokens": b"x"}, {"dry_multiplier": 1.0, "dry_sequence_breakers": [b"x"]}):
        with pytest.raises(TypeError, match="expected a text or several"):
            model.generate("x", **bad)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"regex": ""}, ValueError, "regex: expected a regular expression, found ''"),
        ({"regex": b"x"}, ValueError, "regex: expected a regular expression"),
        ({"choice": ""}, ValueError, "choice: expected a list of texts, found ''"),
        ({"choice": 5}, ValueError, "choice: expected a list of texts, found 5"),
        ({"json_schema": ""}, ValueError, "json_schema: expected a schema"),
        ({"grammar_triggers": ["x"], "grammar": 'root ::= "x"'}, ValueError, "grammar_triggers: they need grammar_lazy"),
        ({"samplers": 5}, ValueError, "samplers: expected names or functions .*, found 5"),
        ({"samplers": [None]}, ValueError, "samplers: expected names or functions"),
        ({"logit_bias": 5}, ValueError, "logit_bias: expected a mapping from tokens to biases, or pairs of them, found 5"),
        ({"n_probs": None}, ValueError, "n_probs must be a whole number"),
        ({"temprature": None}, TypeError, "takes no option 'temprature'; did you mean 'temperature'"),
    ],
)
def test_options_that_mean_nothing_are_told(model, options, error, message):
    with pytest.raises(error, match=message):
        model.generate("Once", n_predict=1, **options)


def test_what_is_kept_is_of_the_right_kind(model):
    with pytest.raises(TypeError, match=r"kept: expected jaxllama.Kept\(\)"):
        next(model.stream("Once", kept=5))
    with pytest.raises(TypeError, match="kept: expected a session"):
        model.prefill("Once", kept=jaxllama.Kept())
    with pytest.raises(TypeError, match="chat takes no option 'shown'"):
        model.chat([{"role": "user", "content": "Hi"}], shown=[1])


def test_texts_that_are_measured_are_prompts_too(model, tmp_path):
    text = "Once upon a time there was a fox. " * 2
    value = jaxllama.perplexity(model, text, n_ctx=8, chunks=1).value
    assert jaxllama.perplexity(model, np.asarray(model.encode(text)), n_ctx=8, chunks=1).value == value
    for call in (jaxllama.perplexity, importance_matrix, lambda m, t: save_base(m, t, tmp_path / "base")):
        with pytest.raises(TypeError, match="a prompt is text"):
            call(model, text.encode())


@pytest.fixture(scope="module")
def bare(story_model, tmp_path_factory):
    """The same weights in a file without a vocabulary."""
    file = story_model.file
    fields = [f for key, f in file.fields.items() if not key.startswith(("tokenizer.", "llama.vocab_size"))]
    fields += [field_of("tokenizer.ggml.model", "none"), field_of("llama.vocab_size", story_model.config.n_vocab)]
    path = tmp_path_factory.mktemp("bare") / "bare.gguf"
    write_gguf(path, fields, [TensorData(t.name, t.shape, t.type, file.data(t.name)) for t in file.tensors.values()])
    return jaxllama.load(path, n_ctx=256, exact=True)


def test_a_model_without_a_vocabulary_takes_no_text(bare):
    message = r"the file has no vocabulary .* give it token ids"
    with pytest.raises(ValueError, match=message):
        bare.generate("Once")
    with pytest.warns(UserWarning, match="no chat template"), pytest.raises(ValueError, match=message):
        bare.chat([{"role": "user", "content": "Hi"}])


@pytest.mark.exhaustive  # a model without ends has a decode loop of its own
def test_a_model_without_a_vocabulary_runs_on_ids(bare, story_model):
    ids = story_model.encode("Once upon a time")
    assert bare.generate(ids, n_predict=8, temperature=0).tokens == story_model.generate(ids, n_predict=8, temperature=0).tokens
