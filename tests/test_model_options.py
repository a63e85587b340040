"""What `Model`'s functions take, and what they say of what they do not: the names of options, time limits, answers to choose from, log-probabilities."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import jaxllama
from jaxllama.decode import Programs, Timings
from jaxllama.notebook import compiling_bar
from jaxllama.pieces import Piece

USER = [{"role": "user", "content": "Once upon a time"}]
ASK = {"n_predict": 4, "temperature": 0}


@pytest.fixture(scope="module")
def model(default_model):
    return default_model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate("x", temprature=1), "generating takes no option 'temprature'; did you mean 'temperature'?"),
        (lambda m: m.generate("x", temp=0.5), "did you mean 'temperature'?"),
        (lambda m: m.generate("x", n=2), "chat takes n"),
        (lambda m: m.generate("x", n_predcit=1), "did you mean 'n_predict'?"),
        (lambda m: m.generate("x", timeot=1), "did you mean 'timeout'?"),
        (lambda m: m.chat(USER, max_tokns=1), "chat takes no option 'max_tokns'; did you mean 'max_tokens'?"),
        (lambda m: m.chat(USER, reasonng="on"), "did you mean 'reasoning'?"),
        (lambda m: m.stream_chat(USER, tool=[]), "did you mean 'tools'?"),
        (lambda m: m.sampling(1, top=3), "sampling takes no option 'top'"),
        (lambda m: jaxllama.make_sampling(1, temprature=1.0), "sampling takes no option 'temprature'; did you mean 'temperature'?"),
        (lambda m: m.compile(slot=1), "compile takes no option 'slot'; did you mean 'slots'?"),
        (lambda m: m.stream("x", n_predct=3), "did you mean 'n_predict'?"),
        (lambda m: m.stream_batch(["x"], n_predct=3), "did you mean 'n_predict'?"),
        (lambda m: m.stream_chat(USER, max_tokns=3), "did you mean 'max_tokens'?"),
        (lambda m: m.score("x", nprobs=3), "score takes no option 'nprobs'; did you mean 'n_probs'?"),
        (lambda m: m.embed("x", normalise=False), "embed takes no option 'normalise'; did you mean 'normalize'?"),
        (lambda m: m.prefill("x", keep=None), "prefill takes no option 'keep'; did you mean 'kept'?"),
        (lambda m: jaxllama.load(nctx=5), "load takes no option 'nctx'; did you mean 'n_ctx'?"),
        (lambda m: jaxllama.open_gguf("x", headeronly=True), "did you mean 'header_only'?"),
        (lambda m: jaxllama.quantize(np.zeros((1, 32)), fromat="Q8_0"), "did you mean 'format'?"),
        (lambda m: jaxllama.quantize_file("x", kind="Q8_0"), "quantize_file takes no option 'kind'; it takes "),
        (lambda m: jaxllama.perplexity(m, [1], nctx=5), "did you mean 'n_ctx'?"),
        (lambda m: jaxllama.importance_matrix(m, [1], chunk=5), "did you mean 'chunks'?"),
        (lambda m: m.chat(USER, stream=True), r"chat takes no option 'stream'; stream_chat\(messages, ...\) streams the answer"),
        (lambda m: m.chat(USER, streaming=True), r"chat takes no option 'streaming'; stream_chat\(messages, ...\) streams the answer"),
        (lambda m: m.generate("x", echo=True), r"generating takes no option 'echo'; score\(prompt\) gives the log-probabilities of a prompt's tokens"),
        (lambda m: m.generate("x", logprobs=3), "n_probs=N names the N most likely tokens in each place"),
        (lambda m: m.generate("x", qqq=1), r"no option 'qqq'; it takes adaptive_decay, .*, xtc_threshold"),
        (lambda m: m.generate("x", shown=5), "shown: expected the ids of special tokens .*, found 5"),
        (lambda m: m.generate("x", logits_processor=5), "logits_processor: expected a function"),
    ],
)
def test_the_nearest_option_is_named(model, call, message):
    with pytest.raises(TypeError, match=message):
        call(model)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate("x", timeout=0), "timeout: expected a number of seconds above 0, or None, found 0"),
        (lambda m: m.generate("x", timeout="soon"), "timeout: expected a number"),
        (lambda m: m.generate("x", max_tokens=2.5), r"n_predict \(max_tokens\) must be a whole number"),
        (lambda m: m.chat(USER, n=0), "n must be a whole number from 1 to 128, not 0"),
        (lambda m: m.chat(USER, top_logprobs=2), "top_logprobs: needs logprobs=True"),
        (lambda m: m.chat(USER, logprobs=True, top_logprobs=33), "top_logprobs must be a whole number from 0 to 32, not 33"),
        (lambda m: m.chat([USER, USER], kept=jaxllama.Kept()), "kept: a prompt cache goes with one conversation"),
        (lambda m: m.chat(USER, response_format=5), "response_format: expected a type of .*, or a class whose values are described, found 5"),
        (lambda m: m.chat([]), "messages: expected a list of at least one message, found"),
        (lambda m: m.chat([USER, []]), "messages: expected a list of at least one message, found"),
        (lambda m: m.chat(USER, logprobs="yes"), "logprobs: expected True or False, found 'yes'"),
        (lambda m: m.chat(USER, logprobs=5), "logprobs: expected True or False, found 5; top_logprobs says how many"),
        (lambda m: m.chat(USER, model=5), "model: expected the name that the answer bears, found 5"),
        (lambda m: m.stream_chat([]), "messages: expected a list of at least one message, found"),
        (lambda m: m.generate("x", n_probs=33), "n_probs must be a whole number from 0 to 32, not 33"),
        (lambda m: m.score("x", n_probs=2049), "n_probs must be a whole number from 0 to 2048, not 2049"),
        (lambda m: jaxllama.load(n_ctx=-1), "n_ctx must be a whole number of at least 0 .0 is the model's training context., not -1"),
        (lambda m: jaxllama.load(n_batch=0), "n_batch must be a whole number of at least 1, not 0"),
        (lambda m: m.score("x", n_probs=-1), "n_probs must be a whole number from 0 to 2048, not -1"),
        (lambda m: m.compile(slots=0), "slots must be a whole number of at least 1, not 0"),
    ],
)
def test_values_that_cannot_be_are_told(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_other_names_for_the_same(model):
    tokens = model.generate("Once upon a time", **ASK).tokens
    for name in ("max_tokens", "max_completion_tokens"):
        assert model.generate("Once upon a time", temperature=0, **{name: 4}).tokens == tokens
    answer = model.chat(USER, max_completion_tokens=3, temperature=0, user="me", model="a-name", timeout=600)
    assert (answer["usage"]["completion_tokens"], answer["model"]) == (3, "a-name")
    assert model.chat(USER, n_predict=3, temperature=0)["usage"]["completion_tokens"] == 3
    for prompts in (("Once upon a time",), np.asarray(["Once upon a time"]), np.asarray(["Once upon a time"], object)):
        assert [r.tokens for r in model.generate(prompts, **ASK)] == [tokens]


def test_a_generation_may_take_too_long(model):
    kept = jaxllama.Kept()
    with pytest.raises(TimeoutError, match="not done after 1e-09 seconds"):
        list(model.stream("Once upon a time", timeout=1e-9, kept=kept, **ASK))
    assert kept.session is not None  # nothing is wrong with it


def test_a_class_says_what_an_answer_is(model):
    @dataclass
    class Yes:
        ok: bool

    grammar = model.grammar(response_format=Yes)
    assert grammar is model.grammar(json_schema=Yes)
    assert grammar.accepts('{"ok": true}')


def test_scores_are_those_of_the_logits(model):
    score = model.score("Once upon a time", n_probs=2)
    ids = model.encode("Once upon a time")
    logits = model.logits(ids).astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert score.tokens == ids
    assert score.logprobs[0] is None
    np.testing.assert_allclose(score.logprobs[1:], [logs[n, token] for n, token in enumerate(ids[1:])], atol=1e-4)
    assert score.total == pytest.approx(sum(score.logprobs[1:]))
    assert score.likely[0] == ()
    assert [[token for token, _ in likely] for likely in score.likely[1:]] == np.argsort(-logs[:-1])[:, :2].tolist()
    np.testing.assert_allclose([value for _, value in score.likely[1]], -np.sort(-logs[0])[:2], atol=1e-4)
    both = model.score([ids, ids[:3]])
    assert both[0].logprobs == score.logprobs
    np.testing.assert_allclose(both[1].logprobs[1:], score.logprobs[1:3], atol=1e-4)
    assert model.score("Once").likely == []


def test_a_chats_log_probabilities(model):
    ask = {"max_tokens": 5, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    (choice,) = model.chat(USER, **ask)["choices"]
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == choice["message"]["content"]
    assert bytes(b for entry in content for b in entry["bytes"]).decode() == choice["message"]["content"]
    assert [len(entry["top_logprobs"]) for entry in content] == [2] * 5
    assert all(entry["top_logprobs"][0]["logprob"] == entry["logprob"] for entry in content)  # the likeliest was taken
    streamed = [c["choices"][0]["logprobs"] for c in model.stream_chat(USER, **ask)]
    assert [entry for told in streamed if told for entry in told["content"]] == content
    assert "logprobs" not in next(model.stream_chat(USER, max_tokens=1))["choices"][0]
    assert model.chat(USER, max_tokens=1)["choices"][0]["logprobs"] is None


@pytest.fixture
def batches(monkeypatch):
    """What batches are asked for; each slot writes its number and a dot, then stops."""
    asked = []

    def stream_batch(self, prompts, **options):
        asked.append((prompts, options))
        for slot in range(len(prompts)):
            yield slot, Piece(f"{slot}", token=5, logprob=-1.0)
        for slot in range(len(prompts)):
            yield slot, Piece(".", reason="end", timings=Timings())

    monkeypatch.setattr(jaxllama.Model, "stream_batch", stream_batch)
    return asked


def test_several_answers_and_several_conversations(model, batches):
    other = [{"role": "user", "content": "Another"}]
    found = model.chat([USER, other], n=2, seed=7)
    prompts, options = batches[0]
    assert [p == model.chats.prompt(USER).ids for p in prompts] == [True, True, False, False]
    assert options["seed"] == [7, 8, 7, 8]
    assert [[c["message"]["content"] for c in one["choices"]] for one in found] == [["0.", "1."], ["2.", "3."]]
    assert [[c["index"] for c in one["choices"]] for one in found] == [[0, 1], [0, 1]]
    assert found[0]["usage"] == {"prompt_tokens": len(prompts[0]), "completion_tokens": 2, "total_tokens": len(prompts[0]) + 2}
    assert found[0]["id"] != found[1]["id"]
    assert model.chat([USER])[0]["choices"] == model.chat(USER)["choices"]
    assert "seed" not in batches[1][1]
    chunks = list(model.stream_chat(USER, n=2))
    for index in (0, 1):
        mine = [c for c in chunks if c["choices"][0]["index"] == index]
        assert mine[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
        assert "".join(c["choices"][0]["delta"].get("content") or "" for c in mine) == f"{index}."
        assert mine[-1]["choices"][0]["finish_reason"] == "stop"
    assert ["usage" in c for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert not any("usage" in c for c in model.stream_chat(USER, include_usage=False))


def test_a_token_without_text_is_told_with_the_next(model, monkeypatch):
    """Half of a character has no text, and what follows the last text belongs to the end."""

    def stream_batch(self, prompts, **options):
        for token, text in ((5, ""), (6, "é"), (7, "")):
            yield 0, Piece(text, token=token, logprob=-1.0)
        yield 0, Piece("", reason="limit", timings=Timings())

    monkeypatch.setattr(jaxllama.Model, "stream_batch", stream_batch)
    chunks = [c["choices"][0] for c in model.stream_chat(USER, logprobs=True)]
    told = [(c["delta"].get("content"), len(c["logprobs"]["content"])) for c in chunks if c["logprobs"]]
    assert told == [("é", 2), (None, 1)]
    assert chunks[-1]["finish_reason"] == "length"


def test_logits_may_be_changed_on_the_host(model):
    """Numpy functions see all tokens so far; the grammar and the samplers come after them."""
    seen = []
    free = model.generate("Once upon a time", **ASK).tokens

    def without(tokens: np.ndarray, logits: np.ndarray) -> np.ndarray:
        seen.append(tokens.tolist())
        logits[free[1]] = -np.inf
        return logits

    found = model.generate("Once upon a time", logits_processor=without, **ASK)
    assert found.tokens[0] == free[0]
    assert free[1] not in found.tokens
    ids = model.encode("Once upon a time")
    assert seen == [[*ids, *found.tokens[:n]] for n in range(4)]
    assert model.generate("Once upon a time", logits_processor=lambda tokens, logits: logits, **ASK).tokens == free
    stopped = model.generate("Once upon a time", logits_processor=lambda tokens, logits: None if len(tokens) == len(ids) + 2 else logits, **ASK)
    assert (stopped.tokens, stopped.reason) == (free[:2], "stop")


def test_what_was_compiled_ahead_is_not_compiled_again(model, monkeypatch):
    told = []
    programs = Programs()
    programs.tell(lambda name, seconds: told.append((name, seconds is None)))
    monkeypatch.setattr(model, "programs", programs)
    model.compile(prompt=5)
    assert told == [("prefill", True), ("prefill", False), ("decode_loop", True), ("decode_loop", False)]
    model.generate("Once upon a time", **ASK)
    assert (programs.count, len(told)) == (2, 4)


def test_compiling_is_shown_in_notebooks_only(monkeypatch):
    assert compiling_bar() is None
    shown = []
    handle = SimpleNamespace(update=lambda html: shown.append(html))
    shell = type("ZMQInteractiveShell", (), {"execution_count": 1})()
    display = SimpleNamespace(HTML=str, display=lambda html, display_id: shown.append(html) or handle)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell, display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    tell = compiling_bar()
    tell("a<b", None)
    tell("a<b", 0.1)
    shell.execution_count = 2
    tell("c", None)
    assert shown == ["<progress></progress> compiling a&lt;b ...", "", "<progress></progress> compiling c ..."]


def test_answers_to_one_seed_differ(model, batches):
    with pytest.raises(ValueError, match="n must be a whole number from 1 to 128, not True"):
        model.chat(USER, n=True)
    model.chat(USER, n=2, seed=-1)
    assert batches[0][1]["seed"] == -1
    assert batches[0][1]["begun"] == ["", ""]
