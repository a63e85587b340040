"""Laws about the compiled programs: how many there are, what is donated, and that nothing leaves the device inside the loop."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxllama
from jaxllama.decode import begin, decode_loop, jit_choose, jit_decode_loop, jit_step, make_sampling, start_history
from jaxllama.decode.programs import Programs
from jaxllama.decode.shapes import bucket_for, buckets, chunks
from jaxllama.models import init_state


def test_programs_are_as_many_as_buckets():
    model = jaxllama.load(n_ctx=512)
    for length in (1, 2, 8):
        model.generate([5] * length, n_predict=40, temperature=length / 10, top_k=length, seed=length)
    assert model.programs.count == 2  # one prefill bucket, the loop
    model.generate([5] * 9, n_predict=3)  # 8 and 1
    assert model.programs.count == 2
    model.generate([5] * 30, n_predict=3)
    assert model.programs.count == 3
    model.generate([5] * 140, n_predict=3)  # 128, 8 and 4
    assert model.programs.count == 4


def test_buckets():
    assert buckets(512) == (8, 32, 128, 512)
    assert buckets(100) == (8, 32, 100)
    assert bucket_for(1) == 8
    assert bucket_for(129) == 512
    assert list(chunks(1124)) == [(0, 512, 512), (512, 1024, 512), (1024, 1124, 128)]
    assert list(chunks(129)) == [(0, 128, 128), (128, 129, 8)]
    for length in range(1, 1200, 7):
        for n_batch in (3, 8, 100, 512):
            pieces = list(chunks(length, n_batch))
            assert pieces[0][0] == 0
            assert pieces[-1][1] == length
            assert all(a[1] == b[0] for a, b in pairwise(pieces))
            assert all(0 < stop - start <= bucket for start, stop, bucket in pieces)
            assert sum(bucket for _, _, bucket in pieces) <= 4 * length / 3 + 8
    with pytest.raises(ValueError, match="n_batch must be at least one token"):
        buckets(0)


def arguments(model, slots=2):
    """In the shapes of `model.generate`, so that what is compiled for it is compiled once."""
    state = model.prefill(["Once"] * slots).state
    sampling = make_sampling(slots)
    history = start_history([[1]] * slots, sampling, n_vocab=model.config.n_vocab, room=model.n_ctx + 1)
    run = begin(jnp.zeros((slots, model.config.n_vocab)), history, jnp.full(slots, 10, jnp.int32))
    return model.params, state, run, sampling, model.words, None, jnp.int32(4)


def test_the_state_is_donated_and_the_parameters_are_not(story_model):
    params, state, run, *rest = arguments(story_model)
    _, new, _ = jit_decode_loop(params, state, run, *rest, config=story_model.config)
    assert state.memories[0].keys.is_deleted()
    assert state.memories[0].values.is_deleted()
    assert not new.memories[0].keys.is_deleted()
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    _, again = jit_step(params, new, jnp.zeros(2, jnp.int32), config=story_model.config)
    assert new.memories[0].keys.is_deleted()
    assert again.memories[0].keys.shape == state.memories[0].keys.shape


def test_no_callback_and_no_captured_weights(story_model):
    """The loop's jaxpr calls nothing on the host and holds no constant of more than a kilobyte: weights are arguments."""
    closed = jax.make_jaxpr(lambda *a: decode_loop(*a, config=story_model.config))(*arguments(story_model))
    text = str(closed)
    assert "callback" not in text
    assert "infeed" not in text
    assert all(np.size(c) < 1024 for c in closed.consts)


def test_the_loop_makes_no_full_precision_weights(default_model):
    """Temporaries of the decode program stay far below the weights in float32."""
    compiled = jit_decode_loop.lower(*arguments(default_model, slots=1), config=default_model.config).compile()
    weights = sum(t.size for t in default_model.file.tensors.values())
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * weights / 4


def test_the_program_does_not_grow_with_the_layers(story_model):
    from dataclasses import replace

    def size(layers: int) -> int:
        config = replace(story_model.config, layers=story_model.config.layers[:1] * layers)
        _, _, run, *rest = arguments(story_model)
        state = init_state(config, 2, n_ctx=64, padding=64)
        return len(str(jax.make_jaxpr(lambda *a: decode_loop(*a, config=config))(story_model.params, state, run, *rest)))

    assert size(2) == pytest.approx(size(5), rel=0.01)


def test_begin_takes_prefill_logits(story_model):
    session = story_model.prefill(["Once upon a time", "Ben"])
    sampling = make_sampling(2, temperature=0)
    history = start_history(session.tokens, sampling, n_vocab=story_model.config.n_vocab, room=story_model.n_ctx + 1)
    run, choice = jit_choose(begin(session.logits, history, jnp.asarray([3, 3])), session.state, sampling, story_model.words, None)
    assert run.token.tolist() == session.logits.argmax(-1).tolist()
    assert (choice.logprobs <= 0).all()


def test_what_the_cache_has_is_not_counted_as_compiling():
    def program():
        def of_this_test_alone(x: jax.Array) -> jax.Array:
            return x * 3.25 + 1

        return jax.jit(of_this_test_alone)

    first, second = Programs(), Programs()
    for programs in (first, second):
        assert programs(program(), jnp.ones(5)).tolist() == [4.25] * 5
    assert (first.count, first.cached, first.cached_seconds) == (1, 0, 0.0)
    assert (second.count, second.cached) == (1, 1)
    assert second.cached_seconds == second.seconds > 0
