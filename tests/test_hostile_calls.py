"""No call of the public API ends the process: wrong shapes, types, values and indices end in exceptions."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path

import hostile_calls
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxllama
from jaxllama.decode import SessionError
from jaxllama.environment import available_memory
from jaxllama.kernels.call import Operand, Output, call_kernel
from jaxllama.models.memory import KeyValues

SCRIPT = Path(hostile_calls.__file__)


def hostile(folder: Path, seconds: int) -> str:
    note = folder / "last.txt"
    command = [sys.executable, "-X", "faulthandler", str(SCRIPT), "--seconds", str(seconds), "--note", str(note)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, f"the process ended after: {note.read_text() if note.exists() else 'nothing'}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.exhaustive
def test_no_call_ends_the_process(tmp_path):
    made = re.match(r"(\d+) calls: ", hostile(tmp_path, 120))
    assert made
    assert int(made[1]) >= 200


def test_every_public_function_is_called(tmp_path):
    named = set(hostile_calls.NOT_CALLED) | {name.split(",")[0].split()[0] for name in hostile_calls.calls(tmp_path)}
    assert {name for name in jaxllama.__all__ if inspect.isfunction(getattr(jaxllama, name))} <= named


@pytest.fixture(scope="module")
def parts(story_model):
    state = jaxllama.init_state(story_model.config, 1, n_ctx=16, padding=8)
    return story_model.params, state, story_model.config


THREE = jnp.asarray([1, 2, 3], jnp.int32)


def test_more_sequences_than_slots(parts):
    params, state, config = parts
    for call in (
        lambda: jaxllama.step(params, state, THREE, config=config),
        lambda: jaxllama.prefill(params, state, THREE[:, None], THREE, config=config),
        lambda: jaxllama.forward(params, state, THREE[:, None], config=config),
    ):
        with pytest.raises(ValueError, match=r"tokens are int32\[3, 1\], expected integers \[1, T\]"):
            call()
    with pytest.raises(ValueError, match="a number for each of 1 slots"):
        jaxllama.prefill(params, state, THREE[None], THREE, config=config)


def test_states_and_parameters_of_another_model(parts):
    params, state, config = parts
    (cache,) = state.memories
    deeper = replace(config, layers=(*config.layers, config.layers[0]))
    with pytest.raises(ValueError, match="the state's caches have shapes"):
        jaxllama.step(params, state, THREE[:1], config=deeper)
    with pytest.raises(ValueError, match=f"has {config.n_layer} layers, config has {config.n_layer + 1} of its kind"):
        jaxllama.step(params, jaxllama.init_state(deeper, 1, n_ctx=16, padding=8), THREE[:1], config=deeper)
    for wrong in (
        replace(state, memories=(replace(cache, values=cache.values[:, :, :1]),)),
        replace(state, memories=(replace(cache, values=cache.values.astype(jnp.float32)),)),
        replace(state, memories=()),
        replace(state, positions=state.positions[None]),
        replace(state, positions=state.positions.astype(jnp.int8)),
        replace(state, n_ctx=state.capacity),
        replace(state, memories=(KeyValues(cache.keys[..., :100, :], cache.values[..., :100, :]),)),
        replace(state, memories=(KeyValues(cache.keys[0], cache.values[0]),)),
        replace(state, capacity=state.capacity + 1),
    ):
        with pytest.raises(ValueError, match="the state's"):
            jaxllama.step(params, wrong, THREE[:1], config=config)
    with pytest.raises(ValueError, match="token_embd has shape"):
        jaxllama.step(params, state, THREE[:1], config=replace(config, n_vocab=config.n_vocab - 1))


def test_ids_outside_the_vocabulary(parts):
    params, state, config = parts
    for token in (-1, config.n_vocab):
        with pytest.raises(ValueError, match=f"token {token} is not in the vocabulary"):
            jaxllama.step(params, state, jnp.asarray([token], jnp.int32), config=config)
    run = jax.jit(jaxllama.step, static_argnames="config")
    last, beyond = (run(params, state, jnp.asarray([token], jnp.int32), config=config)[0] for token in (config.n_vocab - 1, 2**31 - 1))
    np.testing.assert_array_equal(last, beyond)
    padded = jnp.asarray([[1, -7]], jnp.int32)  # what does not count may be anything
    jaxllama.prefill(params, state, padded, jnp.asarray([1], jnp.int32), config=config)


def test_a_full_context_is_an_error_outside_of_jit_and_nan_inside(parts):
    params, state, config = parts
    run = jax.jit(jaxllama.step, static_argnames="config")
    for position in (16, 2**31 - 1):
        full = replace(state, positions=jnp.asarray([position], jnp.int32))
        with pytest.raises(jaxllama.ContextFull, match="its context has room for 16"):
            jaxllama.step(params, full, THREE[:1], config=config)
        logits, _ = run(params, full, THREE[:1], config=config)
        assert np.isnan(logits).all()
    before = replace(state, positions=jnp.asarray([-1], jnp.int32))
    with pytest.raises(ValueError, match=r"a state's positions are at least 0, not \[-1\]"):
        jaxllama.step(params, before, THREE[:1], config=config)
    assert np.isnan(run(params, before, THREE[:1], config=config)[0]).all()
    nearly = replace(state, positions=jnp.asarray([15], jnp.int32))
    assert np.isfinite(run(params, nearly, THREE[:1], config=config)[0]).all()
    assert jaxllama.step(params, nearly, THREE[:1], jnp.asarray([True]), config=config)[1].positions[0] == 16
    full = replace(state, positions=jnp.asarray([16], jnp.int32))
    jaxllama.step(params, full, THREE[:1], jnp.asarray([False]), config=config)  # an idle slot needs no room


def test_what_a_slot_holds_survives_a_write_without_room(parts):
    """Also where the caches have no room for the chunk beyond the context, so that XLA would move the write back over what is there."""
    params, _, config = parts
    tokens = jnp.arange(1, 121, dtype=jnp.int32)[None]
    state = jaxllama.init_state(config, 1, n_ctx=120, padding=0)
    forward, step = (jax.jit(f, static_argnames="config") for f in (jaxllama.forward, jaxllama.step))
    _, state = forward(params, state, tokens, config=config)
    logits, after = forward(params, state, tokens[:, :20], config=config)
    assert np.isnan(logits).all()
    back = jaxllama.rollback(after, 20 + 1)
    expected, _ = step(params, jaxllama.rollback(state, 1), tokens[:, -1], config=config)
    np.testing.assert_array_equal(step(params, back, tokens[:, -1], config=config)[0], expected)


@pytest.mark.parametrize("format", ["Q4_0", "IQ2_XS", "F16"])
def test_matrices_outside_of_a_stack(format):
    q = jaxllama.from_blocks(hostile_calls.blocks_of(format), format)
    x = jnp.ones((2, 256))
    for index in (-1, 5, 99):
        with pytest.raises(IndexError, match=f"no matrix {index} in a stack of 5"):
            jaxllama.qmatmul(x, q, index)
        with pytest.raises(IndexError, match=f"no matrix {index} in a stack of 5"):
            jaxllama.qtake(q, THREE, index)
    run = jax.jit(jaxllama.qmatmul)
    np.testing.assert_array_equal(run(x, q, 99), run(x, q, 4))
    np.testing.assert_array_equal(run(x, q, -3), run(x, q, 0))
    with pytest.raises(TypeError, match="numbers of matrices must be whole"):
        jaxllama.qmatmul(x, q, 1.0)
    assert jaxllama.qmatmul(x[:0], q).shape == (0, 20)
    for wrong in (x[:, :-1], x[0, 0], x.astype(jnp.complex64)):
        with pytest.raises(ValueError, match="as many columns as the weight"):
            jaxllama.qmatmul(wrong, q)


def test_tensors_that_are_not_what_they_say():
    q = jaxllama.from_blocks(hostile_calls.blocks_of("Q4_K"), "Q4_K")
    wrong = [
        (replace(q, shape=(5, 200, 256)), "has the parts"),
        (replace(q, shape=(50, 20, 256)), "has the parts"),
        (replace(q, shape=(5, 20, 255)), "columns in blocks of 256"),
        (replace(q, shape=(0, 20, 256)), "columns in blocks of 256"),
        (replace(q, parts=q.parts[:-1]), "has the parts"),
        (replace(q, parts=tuple(p.astype(jnp.float32) for p in q.parts)), "has the parts"),
        (replace(q, format="Q6_K"), "has the parts"),
        (replace(q, format="Q9"), "no block format 'Q9'"),
    ]
    for tensor, message in wrong:
        for call in (lambda t: jaxllama.qmatmul(jnp.ones((1, 256)), t), lambda t: jaxllama.qtake(t, THREE), jaxllama.dequantize, jaxllama.to_blocks):
            with pytest.raises(ValueError, match=message):
                call(tensor)


def test_blocks_of_a_stack_are_alike():
    blocks = hostile_calls.blocks_of("Q4_K")
    for wrong in (blocks[1, :3], np.concatenate([blocks[1]] * 90), blocks[1, :, :144][:, :0], blocks[1].astype(np.int32)):
        with pytest.raises(ValueError, match=r"matrix 1 of the stack is .*, expected uint8\[20, 144\]"):
            jaxllama.from_blocks(iter([blocks[0], wrong]), "Q4_K", stack=2)
    for wrong in (blocks.astype(np.float32), blocks[None]):
        with pytest.raises(ValueError, match="blocks are uint8"):
            jaxllama.from_blocks(wrong, "Q4_K")


def test_sampling_of_other_slots(story_model):
    from jaxllama.decode import start_history

    size = story_model.config.n_vocab
    sampling = jaxllama.make_sampling(1)
    history = start_history([[1]], sampling, n_vocab=size, room=8)
    at = jnp.zeros(1, jnp.int32)
    for logits, more in ((jnp.zeros((3, size)), at), (jnp.zeros((1, size - 1)), at), (jnp.zeros((1, size)), jnp.zeros(2, jnp.int32)), (jnp.zeros(size), at)):
        for call in (jaxllama.sample, jaxllama.distribution):
            with pytest.raises(ValueError, match="expected"):
                call(logits, sampling, history, more, story_model.words)


def test_caches_that_no_memory_holds(parts, tmp_path):
    """Linux promises any amount of memory and ends the process that uses it; a session file may ask for that."""
    if available_memory() is None:
        pytest.skip("the system does not say how much memory is free")
    _, state, config = parts
    with pytest.raises(MemoryError, match=r"the KV cache of 1 slots with 1099511627904 positions takes .* GB of memory are free; lower n_ctx"):
        jaxllama.init_state(config, 1, n_ctx=2**40, padding=8)
    path = tmp_path / "session.npz"
    jaxllama.save_state(path, jaxllama.fork(state, [0] * 200))
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"capacity": np.asarray(2**24)}))
    with pytest.raises(MemoryError, match="the KV cache of 200 slots"):
        jaxllama.load_state(path, config)


def test_ids_of_any_type_of_integer(parts):
    params, state, config = parts
    expected, after = jaxllama.step(params, state, THREE[:1], config=config)
    for tokens in (np.asarray([1], np.int8), jnp.asarray([1], jnp.uint8)):
        np.testing.assert_array_equal(jaxllama.step(params, state, tokens, config=config)[0], expected)
    for found in (
        jaxllama.step(params, jax.tree.map(np.asarray, state), [1], [True], config=config),
        jaxllama.prefill(params, state, np.asarray([[1]]), np.asarray([1], np.uint64), config=config),
    ):
        np.testing.assert_array_equal(found[0], expected)
        assert found[1].positions.tolist() == [1]
    np.testing.assert_array_equal(jaxllama.forward(params, state, [[1]], config=config)[0][:, 0], expected)
    for back in ([1], np.uint64(1), np.asarray([1], np.int8)):
        assert jaxllama.rollback(after, back).positions.tolist() == [0]
    for active in ([1], ["a"], [0.5]):
        with pytest.raises(TypeError, match="active must be booleans"):
            jaxllama.step(params, state, [1], active, config=config)


LARGE = (2**31, 2**32 + 1, 2**63 - 1, 2**64 - 1)


@pytest.mark.parametrize("number", LARGE)
def test_numbers_of_64_bits_do_not_wrap(parts, number):
    params, state, config = parts
    array = np.asarray([number])  # int64 or uint64
    for call in (
        lambda: jaxllama.step(params, state, array, config=config),
        lambda: jaxllama.step(params, state, [number], config=config),
        lambda: jaxllama.prefill(params, state, array[None], [1], config=config),
        lambda: jaxllama.forward(params, state, array[None], config=config),
    ):
        with pytest.raises(ValueError, match=f"token {number} is not in the vocabulary"):
            call()
    with pytest.raises(ValueError, match="from 0 to 1 can count"):
        jaxllama.prefill(params, state, [[1]], array, config=config)
    filled = replace(state, positions=jnp.asarray([3], jnp.int32))
    for back in (number, array, array[0]):
        assert jaxllama.rollback(filled, back).positions.tolist() == [0]
    rows = jaxllama.from_blocks(jaxllama.quantize(np.arange(96, dtype=np.float32).reshape(3, 32), "F32"), "F32")
    assert jaxllama.qtake(rows, array)[0, 0] == jaxllama.qtake(rows, number)[0] == 64
    assert jaxllama.qtake(rows, -array.astype(np.int64) if number < 2**63 else [-1])[0, 0] == 0
    for call in (lambda: jaxllama.qmatmul(np.ones(32, np.float32), rows, number), lambda: jaxllama.qtake(rows, 0, number)):
        with pytest.raises(IndexError, match=f"there is no matrix {number}"):
            call()


def test_unsigned_numbers_are_clamped_at_the_top_inside_of_jit(parts):
    params, state, config = parts
    top = jnp.asarray([2**32 - 1], jnp.uint32)
    last, _ = jaxllama.step(params, state, [config.n_vocab - 1], config=config)
    found, _ = jax.jit(jaxllama.step, static_argnames="config")(params, state, top, config=config)
    np.testing.assert_allclose(found, last, atol=1e-4)
    stack = jaxllama.from_blocks(jaxllama.quantize(np.arange(192, dtype=np.float32).reshape(2, 3, 32), "F32"), "F32")
    assert jax.jit(lambda ids: jaxllama.qtake(stack, ids, ids[0]))(top)[0, 0] == 160
    np.testing.assert_array_equal(jax.jit(lambda i: jaxllama.qmatmul(jnp.ones(32), stack, i))(top[0]), jaxllama.qmatmul(jnp.ones(32), stack, 1))
    assert jax.jit(jaxllama.rollback)(replace(state, positions=jnp.asarray([3], jnp.int32)), top).positions.tolist() == [0]


def test_the_types_of_64_bits_that_jax_can_have(parts):
    params, state, config = parts
    two = jaxllama.fork(state, [0, 0])  # several slots are written in a loop
    with jax.enable_x64(True):
        for ids in (jnp.asarray([1, 2]), jnp.asarray([1, 2], jnp.uint64)):
            logits, after = jax.eval_shape(partial(jaxllama.step, config=config), params, two, ids)
            assert (logits.dtype, after.positions.dtype) == (jnp.float32, jnp.int32)
        assert jaxllama.rollback(two, jnp.asarray([1, 0])).positions.dtype == jnp.int32


GENERATED = "import jaxllama; print(jaxllama.load(n_ctx=32).generate('Once', n_predict=2, seed=1, **{}).text)"


@pytest.mark.exhaustive
@pytest.mark.parametrize(("setting", "options"), [("JAX_ENABLE_X64", {"grammar": 'root ::= "ab"+'}), ("JAX_DISABLE_JIT", {})])
def test_settings_of_jax_change_no_text(default_model, setting, options):
    done = subprocess.run([sys.executable, "-c", GENERATED.format(options)], capture_output=True, text=True, env=os.environ | {setting: "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == default_model.generate("Once", n_predict=2, seed=1, **options).text + "\n"


def test_states_that_were_given_away(parts):
    given = jaxllama.fork(parts[1])
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)(given)
    assert repr(given) == "DecodeState(given away, n_ctx=16)"
    for call in (lambda: jaxllama.rollback(given, 1), lambda: given.fits(1), lambda: jaxllama.fork(given)):
        with pytest.raises(ValueError, match="the state was given away"):
            call()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", [1, 2]),
        ("n_ctx", [1, 2]),
        ("n_ctx", "a"),
        ("n_ctx", np.nan),
        ("capacity", 1.5),
        ("dtype", 3),
        ("positions", 0),
        ("positions", [0.5]),
        ("positions", [[0]]),
        ("positions", ["a"]),
        ("cache.0", np.zeros((5, 1, 2, 0, 64))),
        ("cache.1", 0),
    ],
)
def test_sessions_with_arrays_that_none_has(parts, tmp_path, name, value):
    path = tmp_path / "session.npz"
    jaxllama.save_state(path, parts[1])
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {name: np.asarray(value)}))
    with pytest.raises(SessionError, match=name.replace(".", " ")):
        jaxllama.load_state(path, parts[2])


def test_damaged_sessions(parts, tmp_path):
    """A flag that says encrypted, a way of compressing that Python lacks, headers of archive and arrays: any byte may be another one."""
    path = tmp_path / "session.npz"
    jaxllama.save_state(path, parts[1])
    whole = path.read_bytes()
    directory = whole.index(b"PK\x01\x02")
    places = [*range(60), *range(128, 190), *range(directory, directory + 60), *range(len(whole) - 22, len(whole))]
    kinds = set()
    for place in places:
        for value in (1, 99):
            damaged = BytesIO(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                jaxllama.load_state(damaged, parts[2])
            except SessionError as error:
                kinds.add(type(error.__cause__))
    assert {RuntimeError, NotImplementedError} <= kinds


def test_positions_that_no_session_has(parts, tmp_path):
    for position in (-1, 17, 10**6):
        with pytest.raises(ValueError, match=rf"the state's positions are \[{position}\], expected from 0 to its context of 16"):
            jaxllama.save_state(tmp_path / "s.npz", replace(parts[1], positions=jnp.asarray([position], jnp.int32)))
    assert not list(tmp_path.iterdir())


def test_options_that_are_no_whole_numbers(story_model):
    for n_predict in (float("nan"), 2.5, "3", None, True, -2):
        with pytest.raises(ValueError, match=r"n_predict .max_tokens. must be a whole number"):
            story_model.generate("Once", n_predict=n_predict)
    for n_probs in (-1, 1.5, "a"):
        with pytest.raises(ValueError, match="n_probs must be a whole number"):
            story_model.generate("Once", n_predict=1, n_probs=n_probs)
    for seed in (1.5, "a", [0.5]):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            jaxllama.make_sampling(1, seed=seed)


def test_slots_that_are_no_numbers(parts):
    for slots in ([True], jnp.asarray([False]), [0.0], [], [1]):
        with pytest.raises(ValueError, match="slots must be whole numbers from 0 to 0"):
            jaxllama.fork(parts[1], slots)


def test_rolling_forward(parts):
    _, state, _ = parts
    for wrong, kind in ((-1, ValueError), (1.5, TypeError), ([True], TypeError), (THREE, ValueError)):
        with pytest.raises(kind, match=r"rolled forward|expected a number of tokens|the numbers of tokens must be whole"):
            jaxllama.rollback(state, wrong)


@pytest.mark.usefixtures("kernels")
def test_the_check_before_every_kernel():
    x, y = jnp.zeros((2, 3)), jnp.zeros((3, 4))

    def call(*operands: Operand) -> None:
        call_kernel("never", lambda _: pytest.fail("made"), operands, [Output("A", jnp.float32)], {"A": 2})

    with pytest.raises(ValueError, match=r"never: y has shape \(3, 4\), expected \[B, B\] with B = 3, no axis empty"):
        call(Operand("x", x, "A B", jnp.float32), Operand("y", y, "B B", jnp.float32))
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\), expected \[A, 4\] with A = 2"):
        call(Operand("x", x, "A 4", jnp.float32))
    with pytest.raises(ValueError, match=r"x has shape \(2, 3\), expected \[A\]"):
        call(Operand("x", x, "A", jnp.float32))
    with pytest.raises(ValueError, match="no axis empty"):
        call(Operand("x", x[:, :0], "A B", jnp.float32))
    with pytest.raises(ValueError, match="x is of type float32, expected int32"):
        call(Operand("x", x, "A B", jnp.int32))
