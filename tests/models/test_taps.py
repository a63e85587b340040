"""Activations by name: what is captured is what was computed, and what is changed counts."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxllama.formats.gguf import TensorData, open_gguf, write_gguf
from jaxllama.layers.norm import normalize
from jaxllama.models import forward, init_state, load_params, project, read_config

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from models import TOKENS, write_model  # type: ignore[import-not-found]

ROW = jnp.asarray([TOKENS[:6]], jnp.int32)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def load(path: Path):
    file = open_gguf(path)
    config = replace(read_config(file), exact=True)
    return load_params(file, config), init_state(config, n_ctx=32, padding=32, cache_type="f32"), config


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("taps") / "tiny.gguf"
    write_model("gemma3-pattern", path)  # four layers of two kinds
    return path


@pytest.fixture(scope="module")
def loaded(path):
    return load(path)


def run(loaded, **options):
    params, state, config = loaded
    return jax.jit(partial(forward, config=config, **options))(params, state, ROW)


@pytest.fixture(scope="module")
def plain(loaded) -> np.ndarray:
    return np.asarray(run(loaded)[0])


def test_what_is_captured_is_what_was_computed(loaded, plain, path):
    params, _, config = loaded
    names = [f"blk.{n}.resid" for n in range(4)] + ["blk.2.resid_mid", "blk.2.queries", "blk.1.keys", "blk.1.values", "blk.3.heads", "blk.3.attn_output"]
    logits, _, found = run(loaded, capture=names)
    np.testing.assert_allclose(logits, plain, **CLOSE)
    assert set(found) == set(names)
    shapes = {"resid": (1, 6, 64), "resid_mid": (1, 6, 64), "queries": (1, 6, 4, 24), "keys": (1, 6, 2, 24), "values": (1, 6, 2, 24), "heads": (1, 6, 4, 24)}
    assert all(x.shape == shapes.get(name.split(".")[2], (1, 6, 64)) for name, x in found.items())
    last = normalize(found["blk.3.resid"], config.norm, params["output_norm"])
    np.testing.assert_allclose(project(params, last, config=config), plain, **CLOSE)
    weight = open_gguf(path).data("blk.3.attn_output.weight").view(np.float32)
    np.testing.assert_allclose(found["blk.3.attn_output"][0], np.asarray(found["blk.3.heads"]).reshape(6, -1) @ weight.T, **CLOSE)


def test_layers_come_in_their_order(loaded):
    """A model of the first layers ends where the whole model is after them."""
    params, state, config = loaded
    _, _, found = run(loaded, capture=[f"blk.{n}.resid" for n in range(4)])
    for count in (1, 3):
        first = replace(config, layers=config.layers[:count])
        _, _, alone = jax.jit(partial(forward, config=first, capture=(f"blk.{count - 1}.resid",)))(params, state, ROW)
        np.testing.assert_allclose(alone[f"blk.{count - 1}.resid"], found[f"blk.{count - 1}.resid"], **CLOSE)


def test_an_intervention_is_like_other_weights(loaded, plain, path, tmp_path):
    """Without a product in one layer the model is the one whose file has zeros there."""
    file = open_gguf(path)
    name = "blk.2.attn_output.weight"
    tensors = [TensorData(t.name, t.shape, t.type, file.data(t.name) * (t.name != name)) for t in file.tensors.values()]
    write_gguf(tmp_path / "zero.gguf", list(file.fields.values()), tensors)
    expected, _ = run(load(tmp_path / "zero.gguf"))
    found, _ = run(loaded, intervene={"blk.2.attn_output": jnp.zeros_like})
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert np.abs(np.asarray(found) - plain).max() > 1e-2


def test_interventions_are_a_part_of_the_program(loaded, plain):
    """They may use what is traced outside; what is captured is what took the activation's place."""
    params, state, config = loaded

    @jax.jit
    def steered(vector):
        return forward(params, state, ROW, config=config, capture=("blk.1.resid",), intervene={"blk.1.resid": lambda x: x + vector[None, None]})

    same, _, before = steered(jnp.zeros(64))
    np.testing.assert_allclose(same, plain, **CLOSE)
    other, _, after = steered(jnp.ones(64))
    assert np.abs(np.asarray(other) - plain).max() > 1e-2
    np.testing.assert_allclose(after["blk.1.resid"], before["blk.1.resid"] + 1, **CLOSE)


def test_nobody_pays_who_looks_at_nothing(loaded):
    params, state, config = loaded
    texts = [jax.jit(partial(forward, config=config, **options)).lower(params, state, ROW).as_text() for options in ({}, {"intervene": {}})]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"capture": ["blk.1.atn_output"]}, ValueError, r"no activation 'atn_output'; did you mean 'attn_output'\?"),
        ({"capture": ["blk.1.zzz"]}, ValueError, r"no activation 'zzz'; there are .*attn_k, attn_output, .*resid, resid_mid"),
        ({"intervene": {"blk.1.ffn_dwn": jnp.zeros_like}}, ValueError, r"did you mean 'ffn_down'\?"),
        ({"capture": ["blk.4.resid"]}, ValueError, r"'blk.4.resid' names no activation: expected blk.N.NAME, N from 0 to 3"),
        ({"capture": ["resid"]}, ValueError, r"'resid' names no activation"),
        ({"capture": "blk.1.resid"}, TypeError, r"capture takes several names"),
        ({"intervene": {"blk.1.resid": 3}}, TypeError, r"expected a function of the activation, found 3"),
        ({"intervene": {"blk.1.resid": lambda x: x[:, :1]}}, ValueError, r"'resid' has the shape \[1, 6, 64\], what shall take its place \[1, 1, 64\]"),
    ],
)
def test_wrong_wishes(loaded, options, error, message):
    params, state, config = loaded
    with pytest.raises(error, match=message):
        jax.eval_shape(partial(forward, config=config, **options), params, state, ROW)
