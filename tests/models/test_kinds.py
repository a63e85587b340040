"""The laws of a state, for every kind of memory: chunks, padding, idle slots, company, forks and saved states do not matter."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import telling

from jaxllama.decode import fork, load_state, rollback, save_state
from jaxllama.formats.gguf import open_gguf
from jaxllama.models import extend, init_state, load_params, project, read_config
from jaxllama.quant import qtake

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from models import MODELS, TOKENS, write_model  # type: ignore[import-not-found]

LATEST = {tiny.architecture: name for name, tiny in reversed(MODELS.items())}  # one of each architecture
RECURRENT = {"mamba2", "lfm2", "qwen35"}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
LONG, SHORT = list(TOKENS[:14]), list(TOKENS[5:10])


class Loaded:
    """A tiny model with one program for chunks of eight tokens."""

    def __init__(self, name: str, folder: Path):
        write_model(name, folder / "tiny.gguf")
        file = open_gguf(folder / "tiny.gguf")
        self.config = replace(read_config(file), exact=True)
        self.params = load_params(file, self.config)
        self._run = jax.jit(partial(extend, config=self.config))

    def state(self, slots: int):
        return init_state(self.config, slots, n_ctx=32, padding=32, cache_type="f32")

    def read(self, rows: list[list[int]], state=None, chunk: int = 8):
        """Logits of the last token of each row, which are read `chunk` at a time, and the state. Several rows have three slots: two programs in all."""
        rows = rows if len(rows) == 1 else [*rows, *[[]] * (3 - len(rows))]
        state = self.state(len(rows)) if state is None else state
        found = np.zeros((len(rows), self.config.n_vocab), np.float32)
        for start in range(0, max(map(len, rows)), chunk):
            pieces = [row[start : start + chunk] for row in rows]
            padded = np.asarray([[*piece, *[7] * (8 - len(piece))] for piece in pieces], np.int32)
            logits, state = self._run(self.params, state, jnp.asarray(padded), jnp.asarray([len(piece) for piece in pieces], jnp.int32))
            for slot, piece in enumerate(pieces):
                if piece:
                    found[slot] = logits[slot, len(piece) - 1]
        return found, state


@pytest.fixture(scope="module", params=telling(list(LATEST.values()), [LATEST[name] for name in ("deepseek2", "qwen35")]))
def model(request, tmp_path_factory) -> Loaded:
    return Loaded(request.param, tmp_path_factory.mktemp("kinds"))


def test_chunks_and_company_do_not_matter(model):
    whole, _ = model.read([LONG])
    for chunk in (5, 1):
        found, _ = model.read([LONG], chunk=chunk)
        np.testing.assert_allclose(found, whole, **CLOSE)
    together, state = model.read([LONG, SHORT])
    np.testing.assert_allclose(together[0], whole[0], **CLOSE)
    np.testing.assert_allclose(together[1], model.read([SHORT])[0][0], **CLOSE)
    assert state.positions.tolist() == [len(LONG), len(SHORT), 0]


def test_an_idle_slot_remembers_nothing(model):
    """Padding and idle slots leave no trace: what a slot says next does not depend on how often it was idle."""
    _, state = model.read([LONG, SHORT])
    _, idle = model.read([[3, 4, 5], []], fork(state))
    found, _ = model.read([[9], [9]], fork(idle))
    expected, _ = model.read([[3, 4, 5, 9], [9]], state)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], **CLOSE)


def test_forks_and_saved_states_go_on_alike(model, tmp_path):
    _, state = model.read([LONG])
    expected, _ = model.read([[9, 8]], state)
    three, _ = model.read([[9, 8], [1], [9, 8]], fork(state, [0, 0, 0]))
    np.testing.assert_array_equal(three[0], three[2])
    np.testing.assert_allclose(three[0], expected[0], **CLOSE)
    save_state(tmp_path / "state.npz", state)
    found, _ = model.read([[9, 8]], load_state(tmp_path / "state.npz", model.config))
    np.testing.assert_array_equal(found, expected)


def test_what_can_be_taken_back(model):
    _, state = model.read([LONG])
    if model.config.architecture in RECURRENT:
        with pytest.raises(ValueError, match="this model has recurrent layers"):
            rollback(state, 3)
        return
    _, longer = model.read([[1, 2, 3]], state)
    found, _ = model.read([[9]], rollback(longer, 3))
    np.testing.assert_array_equal(found, model.read([[9]], state)[0])


def test_vectors_go_in_where_they_are_wanted(tmp_path):
    """A token's embedding, given as a vector, is the token."""
    model = Loaded("gemma3-pattern", tmp_path)
    tokens = jnp.asarray([LONG[:8]], jnp.int32)
    vectors = qtake(model.params["token_embd"], tokens) * model.config.embedding_scale
    run = jax.jit(partial(extend, config=model.config))
    expected, _ = run(model.params, model.state(1), tokens)
    some = jnp.arange(8)[None] % 3 == 0
    mixed, _ = run(model.params, model.state(1), jnp.where(some, 5, tokens), vectors=vectors, use_vectors=some)
    np.testing.assert_allclose(mixed, expected, **CLOSE)
    alone, _ = run(model.params, model.state(1), jnp.zeros_like(tokens), vectors=vectors)
    np.testing.assert_allclose(alone, expected, **CLOSE)
    with pytest.raises(ValueError, match=r"expected numbers \[B, T, D\]"):
        run(model.params, model.state(1), tokens, vectors=vectors[..., :5])
    for wrong in ({"use_vectors": some}, {"use_vectors": some[:, :3], "vectors": vectors}, {"use_vectors": tokens, "vectors": vectors}):
        with pytest.raises(ValueError, match=r"bool\[B, T\]"):
            run(model.params, model.state(1), tokens, **wrong)


def test_what_extend_returns(tmp_path):
    """The logits after all tokens, after each slot's last one, and the hidden states that they are made of."""
    model = Loaded("llama", tmp_path)
    rows, counts = jnp.asarray([LONG[:8], SHORT + [7] * 3], jnp.int32), jnp.asarray([8, 5], jnp.int32)
    every, state = model._run(model.params, model.state(2), rows, counts)
    last, _ = jax.jit(partial(extend, config=model.config, logits="last"))(model.params, model.state(2), rows, counts)
    np.testing.assert_allclose(last, np.stack([every[0, 7], every[1, 4]]), **CLOSE)
    hidden, moved = jax.jit(partial(extend, config=model.config, logits="none"))(model.params, model.state(2), rows, counts)
    np.testing.assert_allclose(project(model.params, hidden[1, 4], config=model.config), last[1], **CLOSE)
    assert moved.positions.tolist() == state.positions.tolist() == [8, 5]
