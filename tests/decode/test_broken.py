"""Models whose logits are not numbers: a generation ends with an error, not with a text."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import jaxllama
from jaxllama.cli.main import main
from jaxllama.decode import LogitsError, Stop, begin, generate, jit_choose, logits_kernel, make_sampling, start_history, stream_tokens
from jaxllama.evaluate import save_base, score_choices
from jaxllama.evaluate.choices import Question
from jaxllama.evaluate.speed import SpeedTest, measure

MESSAGE = "logits are not numbers.*--check-tensors"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """The model in the package with one number of its last norm gone."""
    path = tmp_path_factory.mktemp("damaged") / "damaged.gguf"
    file = jaxllama.open_gguf(jaxllama.embedded_model())
    raw = bytearray(jaxllama.embedded_model().read_bytes())
    at = raw.find(bytes(file.data("output_norm.weight").reshape(-1).view(np.uint8)))
    raw[at + 8 : at + 12] = np.float32(np.nan).tobytes()
    path.write_bytes(raw)
    return path


@pytest.fixture(scope="module")
def model(damaged):
    return jaxllama.load(damaged, n_ctx=512)  # the sizes of `default_model`, so programs are compiled once


def test_every_generation_ends_with_an_error(model):
    for options in ({"temperature": 0}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 0}, {"mirostat": 2}, {"grammar": 'root ::= "a"+'}):
        with pytest.raises(LogitsError, match=MESSAGE):
            model.generate("Once", n_predict=4, **options)


def test_so_does_what_measures_a_model(model, tmp_path):
    text = "Once upon a time there was a fox. " * 2
    question = Question(("Once upon a time", "Once upon a dog"), (0,))
    for call in (
        lambda: jaxllama.perplexity(model, text, n_ctx=8, chunks=1),
        lambda: save_base(model, text, tmp_path / "base", n_ctx=8, chunks=1),
        lambda: list(score_choices(model, [question])),
    ):
        with pytest.raises(LogitsError, match=MESSAGE):
            call()


def test_so_does_the_measure_of_speed(model):
    with pytest.raises(LogitsError, match=MESSAGE):
        measure(model, SpeedTest(0, 4), repeats=1, warmup=False)


def _no_numbers(logits, history):
    return logits * jnp.nan


def _nothing(logits, history):
    return logits - jnp.inf


NONE = dict.fromkeys(range(2048), False)  # no token of the embedded vocabulary


@pytest.mark.parametrize(
    "options",
    [
        {"logit_bias": NONE, "temperature": 0},
        {"logit_bias": NONE, "temperature": 1.0},
        {"samplers": [_no_numbers, "temperature"]},
        pytest.param({"samplers": ["top_k", _nothing]}, marks=pytest.mark.exhaustive),
    ],
    ids=["bias, greedy", "bias", "first", "last"],
)
def test_samplers_and_biases_that_leave_nothing(story_model, options):
    with pytest.raises(LogitsError, match="left no token to choose from, or made logits that are not numbers"):
        story_model.generate("Once", n_predict=2, **options)


@pytest.mark.parametrize("returned", [5, True, 2.5, "x", [1.0], [[0.0] * 2048], np.zeros((1, 2048)), np.zeros(2048, complex), np.zeros(2048, bool), {}])
def test_processors_that_return_no_logits(story_model, returned):
    with pytest.raises(TypeError, match=r"the logits processor returned .*, expected float32\[2048\], a logit for every token, or None to stop"):
        story_model.generate("Once", n_predict=2, logits_processor=lambda _, logits: returned)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, -np.inf])
def test_processors_that_leave_no_numbers(story_model, value):
    """The file is not to blame."""
    with pytest.raises(LogitsError, match="the logits processor left no token to choose from, or made logits that are not numbers"):
        story_model.generate("Once", n_predict=2, logits_processor=lambda _, logits: np.full(len(logits), value))


def test_a_processor_is_not_blamed_for_the_model(model):
    asked = []
    with pytest.raises(LogitsError, match=MESSAGE):
        model.generate("Once", n_predict=2, logits_processor=lambda _, logits: asked.append(logits))
    assert not asked


@pytest.mark.parametrize("form", [list, lambda x: x.astype(np.float64), jnp.asarray, lambda x: np.round(x * 100).astype(int)])
def test_what_processors_may_return(form):
    logits = np.linspace(-1, 1, 5, dtype=np.float32)
    found = generate._checked(form(logits), (5,))
    assert found.dtype == np.float32
    assert found.argmax() == 4


def test_the_command_says_so(damaged, model, monkeypatch, capsys):
    command = ["run", "-m", str(damaged), "-n", "4", "--no-compile-cache"]
    assert main([*command, "--check-tensors"]) == 1
    assert "tensor 'output_norm.weight', row 0, column 2" in capsys.readouterr().err
    monkeypatch.setattr(jaxllama, "load", lambda *_, **__: model)  # so that nothing is compiled again
    assert main(command) == 1
    captured = capsys.readouterr()
    assert "logits are not numbers" in captured.err
    assert "Traceback" not in captured.err


def test_a_model_that_breaks_later(model):
    """The first token is chosen from good logits; those after it come from the damaged norm."""
    session = model.prefill(["Once"])
    session.logits = jnp.zeros_like(session.logits).at[:, 9].set(1.0)
    made = stream_tokens(model.params, session, model.sampling(1, temperature=0), words=model.words, limits=[4], config=model.config, programs=model.programs)
    assert next(made).tokens == [[9]]
    with pytest.raises(LogitsError):
        next(made)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_other_slots_go_on(story_model, temperature):
    """And one number that is missing is enough to stop."""
    model = story_model
    logits = np.zeros((2, model.config.n_vocab), np.float32)
    logits[0, 7], logits[1, 5] = np.nan, 50.0
    session = model.prefill(["Once", "Twice"])
    sampling = make_sampling(2, temperature=temperature)
    history = start_history(session.tokens, sampling, n_vocab=model.config.n_vocab, room=model.n_ctx + 1)
    run, choice = model.programs(jit_choose, begin(jnp.asarray(logits), history, jnp.asarray([3, 3])), session.state, sampling, model.words, None)
    assert np.asarray(run.reason).tolist() == [Stop.BROKEN, Stop.RUNNING]
    assert np.asarray(choice.allowed).tolist() == [False, True]
    assert int(run.token[1]) == 5
    assert np.asarray(run.remaining).tolist() == [3, 2]
    assert not bool(run.unsampled)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, 4095, 4100, 5000])
def test_the_kernels_total_is_no_number(bad, place):
    logits = np.zeros((2, 5001), np.float32)
    logits[0, place] = bad
    _, total = logits_kernel.best_and_total(jnp.asarray(logits), jnp.zeros(5001, bool), jnp.zeros(2, bool))
    assert np.isnan(np.asarray(total)).tolist() == [True, False]
