"""What requests ask for, in llama.cpp's and OpenAI's words."""

from __future__ import annotations

import re

import numpy as np
import pytest

from jaxllama.decode.sampling import DEFAULT_CHAIN
from jaxllama.grammar import SchemaError
from jaxllama.request import bias_of, grammar_for, recommended, sampling_for


@pytest.fixture(scope="module")
def model(default_model):
    return default_model


def test_biases(model):
    tokenizer = model.tokenizer
    ids = tokenizer.encode(" fox", add_special=False)
    assert bias_of(tokenizer, {5: 1.5, "7": False, " fox": -2}) == {5: 1.5, 7: float("-inf"), **dict.fromkeys(ids, -2.0)}
    assert bias_of(tokenizer, [[5, 1], [5, 2]]) == {5: 3.0}
    for bad, message in (({5: True}, "a number or false"), ([5], "pairs of a token"), ({10**9: 1.0}, "there is no token"), ({5: "x"}, "a number or false")):
        with pytest.raises(ValueError, match=message):
            bias_of(tokenizer, bad)


def test_a_bias_forbids_and_forces(model):
    free = model.generate("Once upon a", n_predict=1, temperature=0).tokens[0]
    assert model.generate("Once upon a", n_predict=1, temperature=0, logit_bias={free: False}).tokens[0] != free
    assert model.generate("Once upon a", n_predict=3, temperature=0, logit_bias={9: 1000.0}).tokens == [9, 9, 9]


def test_a_files_recommendations(model):
    metadata = {
        "general.sampling.temp": 0.3,
        "general.sampling.top_k": 7,
        "general.sampling.sequence": "top_k;unknown;temperature",
        "general.sampling.penalty_last_n": 9,
    }
    assert recommended(metadata) == {"temperature": 0.3, "top_k": 7, "repeat_last_n": 9, "samplers": ["top_k", "temperature"]}
    sampling = sampling_for(model.tokenizer, metadata, 1, top_k=3)
    assert float(sampling.temperature[0]) == pytest.approx(0.3)
    assert int(sampling.top_k[0]) == 3  # the request's own
    assert sampling.chain == ("top_k", "temperature")
    assert sampling_for(model.tokenizer, {}, 1).chain == DEFAULT_CHAIN


@pytest.mark.exhaustive
def test_dry_ends_a_repetition(model):
    """Without it the greedy text of this prompt repeats itself; breakers are found in the vocabulary."""
    prompt = "one two three four one two three four one two three"
    four = model.tokenizer.encode(" four", add_special=False)
    plain = four[:1]
    for breaker, expected in ((" nine ten", False), (" three", True)):
        options = {"dry_multiplier": 100.0, "dry_sequence_breakers": [breaker]}
        found = model.generate(prompt, n_predict=1, temperature=0, logit_bias={four[0]: 40.0}, **options).tokens
        assert (found == plain) == expected


def test_probabilities(model):
    result = model.generate("Once upon a", n_predict=4, temperature=0, n_probs=3)
    assert len(result.likely) == len(result.tokens) == 4
    logits = model.logits("Once upon a")[-1].astype(np.float64)
    wanted = np.sort(logits)[::-1][:3] - np.log(np.exp(logits).sum())
    np.testing.assert_allclose([value for _, value in result.likely[0]], wanted, atol=2e-2)
    assert result.likely[0][0][0] == result.tokens[0]
    after = model.generate("Once upon a", n_predict=2, temperature=1.0, top_k=2, top_p=1.0, min_p=0.0, n_probs=5, post_sampling_probs=True, seed=1)
    assert np.exp([value for _, value in after.likely[0]]).sum() == pytest.approx(1, abs=1e-4)
    assert sum(value > -np.inf for _, value in after.likely[0]) == 2


def test_the_same_request_gets_the_same_grammar(model):
    asked = {"json_schema": {"type": "object", "properties": {"a": {"type": "null"}}}}
    assert grammar_for(model.tokenizer, **asked) is grammar_for(model.tokenizer, **asked)
    assert grammar_for(model.tokenizer) is None
    assert grammar_for(model.tokenizer, grammar="", response_format={"type": "text"}) is None
    assert grammar_for(model.tokenizer, response_format={"type": "json_object"}).accepts('{"a": 1}')
    only = grammar_for(model.tokenizer, choice="yes")
    assert (only.accepts("yes"), only.accepts("y")) == (True, False)
    with pytest.raises(ValueError, match="cannot be used together"):
        grammar_for(model.tokenizer, regex="a", choice=["b"])
    with pytest.raises(SchemaError, match=r"json_schema\.schema"):
        grammar_for(model.tokenizer, response_format={"type": "json_schema", "json_schema": {}})


def test_lazy_grammars(model):
    """Free until the trigger, held from there on."""
    grammar = 'root ::= "<go>" [0-9]{3}'
    lazy = grammar_for(model.tokenizer, grammar=grammar, grammar_lazy=True, grammar_triggers=[{"type": "word", "value": "<go>"}])
    assert lazy.accepts("anything at all")
    assert lazy.accepts("then <go>123")
    assert not lazy.accepts("then <go>12")
    assert lazy.refused_at("then <go>x") == 9
    text = model.generate("Once", grammar=lazy, n_predict=20, seed=1).text
    assert text == model.generate("Once", n_predict=20, seed=1).text
    (go,) = (t for t in model.tokenizer.encode("<go>", add_special=False) if model.tokenizer.piece(t) == b"go")
    lazy = grammar_for(model.tokenizer, grammar='root ::= "go" [0-9]{3}', grammar_lazy=True, grammar_triggers=[{"type": "word", "value": "go"}])
    assert re.fullmatch("go[0-9]{3}", model.generate("Once", grammar=lazy, n_predict=12, seed=1, logit_bias={go: 60.0}).text)
    token = model.tokenizer.encode("<|im_start|>", parse_special=True)[-1]
    assert grammar_for(model.tokenizer, grammar='root ::= "<|im_start|>x"', grammar_lazy=True, grammar_triggers=[{"type": 0, "token": token}]).accepts(
        "a<|im_start|>x"
    )
    with pytest.raises(ValueError, match="patterns are not supported"):
        grammar_for(model.tokenizer, grammar=grammar, grammar_lazy=True, grammar_triggers=[{"type": "pattern", "value": "x"}])


def test_tokens_in_grammars(model):
    """Tokens by their text and by their number, and all others."""
    start = model.tokenizer.encode("<|im_start|>", parse_special=True)[-1]
    grammar = model.grammar(grammar=f'root ::= "a" <|im_start|> "b" | !<[{start}]> "!"')
    running = model.grammars.start([grammar])
    bits = np.unpackbits(np.asarray(running.constraint.mask[0]).view(np.uint8), bitorder="little")[: model.config.n_vocab].astype(bool)
    assert not bits[start]
    assert bits[model.tokenizer.encode("a", add_special=False)[-1]]
    result = model.generate("x", grammar=model.grammar(grammar='root ::= "a" <|im_start|> "b"'), n_predict=5)
    assert [start] == [t for t in result.tokens if t == start]
    assert (result.text, result.reason) == ("ab", "end")
    shown = model.generate("x", grammar=model.grammar(grammar='root ::= "a" <|im_start|> "b"'), n_predict=5, preserved_tokens=["<|im_start|>"])
    assert shown.text == "a<|im_start|>b"
