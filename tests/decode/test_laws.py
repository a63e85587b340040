"""Laws of the engine: however a text is cut, batched, forked or stored, the numbers are the same."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import telling

import jaxllama
from jaxllama.decode import (
    SessionError,
    Stop,
    begin,
    fork,
    jit_decode_loop,
    jit_prefill,
    jit_step,
    load_state,
    make_sampling,
    prefill_prompts,
    rollback,
    save_state,
    start_history,
    step,
)
from jaxllama.models import forward, init_state

TEXT = "Once upon a time, there was a brave fox named Nora. One day, Nora lost her red ball."
CLOSE = {"rtol": 1e-4, "atol": 2e-4}  # float32, summed in different orders


@pytest.fixture(scope="module")
def ids(story_model) -> list[int]:
    return story_model.encode(TEXT)


def fresh(model, slots=1, cache_type="f32"):
    return init_state(model.config, slots, n_ctx=model.n_ctx, padding=512, cache_type=cache_type)


def read(model, prompt, **options):
    return prefill_prompts(model.params, [prompt], config=model.config, programs=model.programs, n_ctx=model.n_ctx, cache_type="f32", **options)


def test_step_by_step_is_the_whole(story_model, ids):
    whole = story_model.logits(ids)
    state = fresh(story_model)
    for i, token in enumerate(ids):
        logits, state = jit_step(story_model.params, state, jnp.asarray([token], jnp.int32), config=story_model.config)
        np.testing.assert_allclose(logits[0], whole[i], **CLOSE)


@pytest.mark.parametrize("n_batch", [3, 8, 20, 512])
def test_chunked_prefill_is_the_whole(story_model, ids, n_batch):
    """Chunks of any size, padded or not, bring the same last logits."""
    session = read(story_model, ids, n_batch=n_batch)
    np.testing.assert_allclose(session.logits[0], story_model.logits(ids)[-1], **CLOSE)
    assert int(session.state.positions[0]) == len(ids)


def test_padding_leaves_no_trace(story_model, ids):
    tokens = np.full((1, 64), 7, np.int32)
    tokens[0, : len(ids)] = ids
    padded, state = jit_prefill(story_model.params, fresh(story_model), jnp.asarray(tokens), jnp.asarray([len(ids)]), config=story_model.config)
    exact = read(story_model, ids)
    np.testing.assert_allclose(padded, exact.logits, **CLOSE)
    one = jnp.asarray([5], jnp.int32)
    after, _ = jit_step(story_model.params, state, one, config=story_model.config)
    expected, _ = jit_step(story_model.params, exact.state, one, config=story_model.config)
    np.testing.assert_allclose(after, expected, **CLOSE)


@pytest.mark.exhaustive  # the eager operations are hundreds of small programs
def test_jit_is_eager(story_model, ids):
    tokens = jnp.asarray([ids[:3]], jnp.int32)
    run = partial(forward, config=replace(story_model.config, layers=story_model.config.layers[:1]))
    params = story_model.params
    with jax.disable_jit():
        eager, _ = run(params, fresh(story_model), tokens)
    compiled, _ = jax.jit(run)(params, fresh(story_model), tokens)
    np.testing.assert_allclose(compiled, eager, **CLOSE)


def test_scan_is_unrolled(story_model, ids):
    """The scanned layers equal the layers one by one."""
    from jaxllama.layers.norm import normalize
    from jaxllama.models import extend
    from jaxllama.models.batch import Batch, rope_tables
    from jaxllama.models.block import Block
    from jaxllama.quant import qtake

    config, params = story_model.config, story_model.params
    tokens = jnp.asarray([ids[:5]], jnp.int32)
    (layer,), state = config.kinds, fresh(story_model)
    batch = Batch(state.positions, jnp.asarray([5], jnp.int32), None, rope_tables([layer.mixer.rope], state.positions, 5, None))

    @jax.jit
    def one_layer(i, x, memory):
        return layer.run(Block(params["blocks"][0], i, norm=config.norm, exact=config.exact), x, memory, batch)

    x, memory = qtake(params["token_embd"], tokens), state.memories[0]
    for i in range(config.n_layer):
        x, memory = one_layer(jnp.int32(i), x, memory)
    scanned, _ = extend(params, fresh(story_model), tokens, config=config, logits="none")
    np.testing.assert_allclose(scanned, normalize(x, config.norm, params["output_norm"]), **CLOSE)


@pytest.mark.parametrize("slots", telling([2, 4], [2]))
def test_a_slot_in_a_batch_is_the_slot_alone(story_model, slots):
    prompts = [TEXT, "Ben was a bear.", "Once", TEXT * 2][:slots]
    options = {"temperature": [0.8, 0.0, 1.2, 0.6], "top_k": [40, 0, 0, 5], "seed": [1, 2, 3, 4]}
    together = story_model.generate(prompts, n_predict=40, **{k: v[:slots] for k, v in options.items()})
    for i, prompt in enumerate(prompts):
        alone = story_model.generate(prompt, n_predict=40, **{k: v[i] for k, v in options.items()})
        assert together[i].tokens == alone.tokens
        assert together[i].reason == alone.reason
        np.testing.assert_allclose(together[i].logprobs, alone.logprobs, rtol=1e-2, atol=1e-3)


def test_dispatches_do_not_matter(story_model, ids):
    """The loop cut into dispatches of 1, 3 or 32 tokens makes the same tokens."""
    found = []
    for size in (1, 3, 32):
        session = read(story_model, ids)
        sampling = make_sampling(1, seed=5, temperature=1.0)
        history = start_history(session.tokens, sampling, n_vocab=story_model.config.n_vocab, room=story_model.n_ctx + 1)
        state, run, tokens = session.state, begin(session.logits, history, jnp.asarray([25])), []
        while int(run.reason[0]) == Stop.RUNNING:
            emitted, state, run = jit_decode_loop(story_model.params, state, run, sampling, story_model.words, None, jnp.int32(size), config=story_model.config)
            tokens += np.asarray(emitted.tokens)[0, : int(emitted.counts[0])].tolist()
        found.append(tokens)
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 25


def test_the_loop_is_the_steps(story_model, ids):
    greedy = story_model.generate(ids, n_predict=12, temperature=0)
    session = read(story_model, ids)
    logits, state = session.logits, session.state
    for token, logprob in zip(greedy.tokens, greedy.logprobs, strict=True):
        assert int(logits[0].argmax()) == token
        assert float(jax.nn.log_softmax(logits[0])[token]) == pytest.approx(logprob, abs=1e-3)
        logits, state = jit_step(story_model.params, state, jnp.asarray([token], jnp.int32), config=story_model.config)


def test_fork_and_rollback(story_model, ids):
    """Fork, wander off, roll back: the same as never having gone."""
    session = read(story_model, ids)
    kept = fork(session.state)
    next_token = jnp.asarray([3], jnp.int32)
    expected, _ = jit_step(story_model.params, fork(kept), next_token, config=story_model.config)
    state = session.state
    for token in (10, 20, 30):
        _, state = jit_step(story_model.params, state, jnp.asarray([token], jnp.int32), config=story_model.config)
    found, _ = jit_step(story_model.params, rollback(state, 3), next_token, config=story_model.config)
    np.testing.assert_array_equal(found, expected)
    assert int(rollback(kept, 10**6).positions[0]) == 0
    again, _ = jit_step(story_model.params, kept, next_token, config=story_model.config)
    np.testing.assert_array_equal(again, expected)


def test_fork_into_several_slots(story_model, ids):
    session = read(story_model, ids)
    three = fork(session.state, [0, 0, 0])
    tokens = jnp.asarray([3, 4, 5], jnp.int32)
    together, _ = jit_step(story_model.params, three, tokens, config=story_model.config)
    for i in range(3):
        alone, _ = jit_step(story_model.params, fork(session.state), tokens[i : i + 1], config=story_model.config)
        np.testing.assert_allclose(together[i], alone[0], **CLOSE)
    with pytest.raises(ValueError, match="slots must be whole numbers from 0 to 0"):
        fork(session.state, [1])


@pytest.mark.parametrize("cache_type", telling(["f16", "bf16", "f32"], ["bf16"]))
def test_a_saved_state_resumes(story_model, ids, tmp_path, cache_type):
    session = prefill_prompts(story_model.params, [ids, ids[:4]], config=story_model.config, programs=story_model.programs, n_ctx=256, cache_type=cache_type)
    save_state(tmp_path / "session.npz", session.state)
    loaded = load_state(tmp_path / "session.npz", story_model.config)
    assert loaded.n_ctx == 256
    token = jnp.asarray([3, 9], jnp.int32)
    found, _ = jit_step(story_model.params, loaded, token, config=story_model.config)
    expected, _ = jit_step(story_model.params, session.state, token, config=story_model.config)
    np.testing.assert_array_equal(found, expected)


def test_sessions_that_do_not_fit(story_model, ids, tmp_path):
    path = tmp_path / "session.npz"
    save_state(path, read(story_model, ids).state)
    with pytest.raises(SessionError, match="for this model"):
        load_state(path, replace(story_model.config, layers=story_model.config.layers[:2]))
    raw = path.read_bytes()
    for damaged in (b"", b"hello", raw[:100], raw[: len(raw) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(SessionError, match="expected a session file"):
            load_state(path, story_model.config)
    with pytest.raises(FileNotFoundError):
        load_state(tmp_path / "none.npz", story_model.config)


def test_a_full_context_stops_with_its_reason(story_model):
    prompt = story_model.encode(TEXT * 3)
    result = story_model.generate(prompt, n_predict=-1, ignore_eos=True, temperature=0)
    assert result.reason == "context"
    assert len(result.tokens) == 256 - len(prompt) + 1  # the last token needs no room: nothing follows it
    with pytest.raises(jaxllama.ContextFull, match=r"the prompt has .* the context holds 256"):
        story_model.generate(TEXT * 50)
    logits = story_model.logits([*prompt, *result.tokens[:-1]])[len(prompt) - 1 :]
    logits[:, list(story_model.tokenizer.end)] = -np.inf
    assert logits.argmax(-1).tolist() == result.tokens  # nothing wrapped or was forgotten


def test_limits_end_and_stop_strings(story_model):
    assert story_model.generate(TEXT, n_predict=5, seed=1).reason == "limit"
    ended = story_model.generate(TEXT, n_predict=-1, temperature=0)
    assert ended.reason == "end"
    assert not set(ended.tokens) & story_model.tokenizer.end
    longer = story_model.generate(TEXT, n_predict=len(ended.tokens) + 5, temperature=0, ignore_eos=True)
    assert longer.tokens[: len(ended.tokens)] == ended.tokens
    assert not set(longer.tokens) & story_model.tokenizer.end
    word = ended.text.split()[5]
    stopped = story_model.generate(TEXT, n_predict=-1, temperature=0, stop=[word, "never seen"])
    assert stopped.reason == "stop"
    assert stopped.text == ended.text[: ended.text.index(word)]


def test_streamed_text_is_the_whole(story_model):
    pieces = list(story_model.stream(TEXT, n_predict=30, seed=3))
    result = story_model.generate(TEXT, n_predict=30, seed=3)
    assert "".join(p.text for p in pieces) == result.text
    assert [p.token for p in pieces[:-1]] == result.tokens
    assert pieces[-1].reason == result.reason
    assert pieces[-1].timings is not None
    assert pieces[-1].timings.prompt_tokens == len(story_model.encode(TEXT))


def test_ids_and_text_are_the_same_prompt(story_model, ids):
    assert story_model.generate(ids, n_predict=8, seed=1).tokens == story_model.generate(TEXT, n_predict=8, seed=1).tokens


def test_bad_requests(story_model):
    for request, message in (
        ({"n_predict": -2}, "n_predict"),
        ({"temperature": float("nan")}, r"temperature must be a finite number \(float32\), not nan"),
        ({"temperature": "hot"}, "temperature must be a finite number .* not 'hot'"),
        ({"temperature": 1e300}, "temperature must be a finite number .* not 1e"),
        ({"top_k": 2.5}, "top_k must be a whole number of 32 bits, not 2.5"),
        ({"top_k": 1e30}, "top_k must be a whole number of 32 bits, not 1e"),
        ({"top_k": 2**31}, "top_k must be a whole number of 32 bits, not 2147483648"),
        ({"top_k": [1, 2]}, "top_k has shape"),
        ({"stop": [""]}, "must not be empty"),
    ):
        with pytest.raises(ValueError, match=message):
            story_model.generate(TEXT, **request)
    with pytest.raises(ValueError, match="token ids must be"):
        story_model.generate([1, 10**6])
    with pytest.raises(ValueError, match="no cache type"):
        init_state(story_model.config, n_ctx=8, padding=8, cache_type="q4")


def test_no_tokens_are_wanted(story_model):
    """The prompt is read, and kept where it is asked for."""
    kept = jaxllama.Kept()
    (piece,) = story_model.stream(TEXT, n_predict=0, kept=kept)
    assert (piece.text, piece.token, piece.reason) == ("", None, "limit")
    assert piece.timings.prompt_tokens == len(story_model.encode(TEXT))
    after = story_model.generate(TEXT, n_predict=4, temperature=0)
    (*_, last) = again = list(story_model.stream(TEXT, n_predict=4, temperature=0, kept=kept))
    assert "".join(p.text for p in again) == after.text
    assert last.timings.prompt_tokens == 0
    two = story_model.generate([TEXT, "A"], n_predict=0)
    assert [(r.text, r.tokens, r.reason) for r in two] == [("", [], "limit")] * 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"cache_type": "q4"}, "no cache type 'q4'"),
        ({"cache_type": ["f16"]}, r"no cache type \['f16'\]"),
        ({"n_ctx": 1.5}, "n_ctx must be"),
        ({"n_ctx": -1}, "n_ctx must be"),
        ({"n_batch": 0}, "n_batch must be"),
    ],
)
def test_mistakes_are_told_before_a_file_is_read(option, message):
    with pytest.raises(ValueError, match=message):
        jaxllama.load("nowhere.gguf", **option)


def test_an_idle_slot_does_not_move(story_model, ids):
    session = read(story_model, ids)
    active = jnp.asarray([False])
    _, state = jax.jit(partial(step, config=story_model.config))(story_model.params, session.state, jnp.asarray([9], jnp.int32), active)
    assert int(state.positions[0]) == len(ids)


def test_the_default_mode_is_close_to_the_exact_one(story_model, default_model, ids):
    """Rounded activations change the distribution little: the mean divergence from the exact model stays small."""
    p = jax.nn.log_softmax(jnp.asarray(story_model.logits(ids)), -1)
    q = jax.nn.log_softmax(jnp.asarray(default_model.logits(ids)), -1)
    divergence = float((jnp.exp(p) * (p - q)).sum(-1).mean())
    assert 0 <= divergence < 2e-3
