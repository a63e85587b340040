"""Nothing is dropped without a word, nothing is computed for nobody, and what is kept has an end."""

from __future__ import annotations

import gc
import logging
from functools import partial

import jax
import jax.numpy as jnp
import pytest

import jaxllama
from jaxllama import api
from jaxllama.decode import Programs, fork, generate, make_sampling, save_state, step
from jaxllama.decode.programs import MOST_OWN
from jaxllama.models import ContextFull


def test_a_kept_session_goes_with_one_prompt(story_model, tmp_path):
    kept = story_model.prefill(["An animal: "])
    with pytest.raises(ValueError, match="continues one prompt, not 1 slots and 2 prompts"):
        story_model.prefill(["An animal: ", "A fox"], kept=kept)
    assert story_model.prefill(["An animal: a"], kept=kept).timings.prompt_tokens < 4  # it is not used up by that
    with pytest.raises(ValueError, match="the kept session was used up by the call that continued it"):
        story_model.prefill(["An animal: a"], kept=kept)
    with pytest.raises(ValueError, match="the state was given away to a call that continued it"):
        step(story_model.params, kept.state, jnp.zeros(1, jnp.int32), config=story_model.config)
    for use in (fork, partial(save_state, tmp_path / "session.npz")):
        with pytest.raises(ValueError, match="the state was given away to a call that continued it"):
            use(kept.state)


def test_what_is_kept_belongs_to_one_model(story_model, default_model):
    """Another model, even of the same sizes, begins anew; a prompt that does not fit leaves the cache as it was."""
    kept = jaxllama.Kept()
    text = "".join(p.text for p in story_model.stream("Once upon a time", n_predict=6, temperature=0, kept=kept))
    with pytest.raises(ValueError, match="belongs to another model"):
        default_model.prefill("Once upon a time" + text, kept=kept.session)
    with pytest.raises(ContextFull):
        next(story_model.stream("a " * 500, kept=kept))
    (*_, last) = story_model.stream("Once upon a time" + text, n_predict=1, temperature=0, kept=kept)
    assert last.timings.prompt_tokens < 4
    (*_, last) = default_model.stream("Once upon a time" + text, n_predict=1, temperature=0, kept=kept)
    assert last.timings.prompt_tokens == len(story_model.encode("Once upon a time" + text))
    assert kept.session.is_of(default_model.programs)


def test_a_session_of_other_sizes_begins_anew(story_model, monkeypatch):
    session = story_model.prefill("Once upon a time")
    assert story_model.continuable(session) is session
    for name, value in (("n_ctx", 128), ("cache_type", "f16")):
        with monkeypatch.context() as changed:
            changed.setattr(story_model, name, value)
            assert story_model.continuable(session) is None
            with pytest.raises(ValueError, match="the kept session has a context of 256, or a type of cache, that is not the model's now"):
                story_model.prefill("Once upon a time", kept=session)
    assert story_model.continuable(None) is None


@pytest.fixture
def sessions(monkeypatch):
    """The sessions of generations, which are decoded token by token."""
    found = []
    prefill = api.prefill_prompts

    def noted(*args, **kwargs):
        found.append(prefill(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(api, "prefill_prompts", noted)
    monkeypatch.setattr(generate, "DISPATCH_SECONDS", 1e-9)
    return found


def test_a_slot_that_a_stop_string_has_ended_is_not_decoded_further(story_model, sessions):
    prompts = ["Once upon a time", "An animal: "]
    options = {"n_predict": 24, "temperature": 0, "ignore_eos": True}
    free = story_model.generate(prompts, **options)
    stop = free[0].text[3:6]
    assert stop not in free[1].text
    stopped = story_model.generate(prompts, stop=[stop], **options)
    assert (stopped[0].reason, stopped[1].reason) == ("stop", "limit")
    assert stopped[0].text == free[0].text.partition(stop)[0]
    assert stopped[1].tokens == free[1].tokens
    session = sessions[-1]
    made = [len(tokens) - len(story_model.encode(prompt)) for tokens, prompt in zip(session.tokens, prompts, strict=True)]
    assert made == [len(stopped[0].tokens), 24]
    assert int(session.state.positions[0]) <= len(session.tokens[0])
    assert stopped[0].timings.decode_tokens == sum(made) - 2  # the first ones belong to the prompts


def test_what_is_kept_after_a_stop_string_is_what_the_cache_holds(story_model):
    whole = story_model.generate("Once upon a time", n_predict=20, temperature=0).text
    kept = jaxllama.Kept()
    text = "".join(piece.text for piece in story_model.stream("Once upon a time", n_predict=20, temperature=0, stop=[whole[8:11]], kept=kept))
    assert text == whole.partition(whole[8:11])[0]
    following = "Once upon a time" + text + " and"
    again = "".join(piece.text for piece in story_model.stream(following, n_predict=8, temperature=0, kept=kept))
    assert again == story_model.generate(following, n_predict=8, temperature=0).text


def test_programs_with_functions_of_the_callers_own_have_an_end(caplog):
    programs = Programs()

    @jax.jit
    def warmed(x, sampling):
        for one in sampling.chain:
            x = one(x, None) if callable(one) else x
        return x * sampling.temperature

    def run(sampler) -> float:
        return float(programs(warmed, jnp.ones(1), make_sampling(1, temperature=2.0, samplers=[sampler, "top_k"]))[0])

    def executables() -> int:
        gc.collect()
        return len(jax.local_devices()[0].client.live_executables())

    run("top_p")
    with caplog.at_level(logging.WARNING):
        functions = [lambda x, _, n=n: x + n for n in range(MOST_OWN)]
        assert [run(f) for f in functions] == [2.0 * (1 + n) for n in range(MOST_OWN)]
        count = programs.count
        assert run(functions[0]) == 2  # the one used longest ago becomes the newest
        assert programs.count == count
        assert not caplog.records
        before = executables()
        for n in range(3):
            assert run(lambda x, _, n=n: x - n) == 2.0 * (1 - n)
        assert executables() == before  # JAX has let go of the oldest, too
    assert len(programs._compiled) == MOST_OWN + 1
    assert [record.message for record in caplog.records] == [caplog.records[0].message]
    assert "Define a sampler once" in caplog.text
    count = programs.count
    run("top_p")  # has no function, and stays
    assert programs.count == count
    run(functions[1])
    assert programs.count == count + 1
