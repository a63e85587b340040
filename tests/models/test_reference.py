"""Logits against llama.cpp's, recorded for tiny random models of every architecture."""

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

from jaxllama.decode import prefill, step
from jaxllama.formats.gguf import open_gguf
from jaxllama.models import forward, init_state, load_params, read_config

_FOLDER = Path(__file__).resolve().parents[1] / "reference"
sys.path.insert(0, str(_FOLDER))
import record  # noqa: E402  # type: ignore[import-not-found]
from models import MODELS, TOKENS, write_model  # noqa: E402  # type: ignore[import-not-found]

LIMIT = 1e-6  # normalised mean squared error; llama.cpp rounds its GELU table to f16, all else is float32


def nmse(found: np.ndarray, expected: np.ndarray) -> float:
    return float(((found - expected) ** 2).sum() / (expected**2).sum())


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return dict(np.load(_FOLDER / "logits.npz"))


def test_every_model_is_recorded(recorded):
    assert set(recorded) == set(MODELS)


def test_one_model_is_recorded_without_the_others(recorded, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "RECORD", tmp_path / "logits.npz")
    monkeypatch.setattr(record, "measure", lambda peer, names: ((name, recorded[name] + 1) for name in names))
    np.savez_compressed(record.RECORD, **{name: logits for name, logits in recorded.items() if name != "qwen2"})
    record.main(["python", "--compare", "qwen2"])
    assert "qwen2" in capsys.readouterr().out
    assert "qwen2" not in np.load(record.RECORD)
    record.main(["python", "qwen2", "llama"])
    written = np.load(record.RECORD)
    assert list(written) == list(MODELS)
    for name in MODELS:
        np.testing.assert_array_equal(written[name], recorded[name] + (name in ("qwen2", "llama")))
    with pytest.raises(SystemExit):
        record.main(["python", "qwen9"])


@pytest.mark.parametrize("name", telling(list(MODELS), ["llama-yarn", "llama-experts", "qwen3", "gemma3", "gpt-oss", "deepseek2", "qwen35", "lfm2-window"]))
def test_logits_are_llama_cpps(name, recorded, tmp_path):
    write_model(name, tmp_path / "tiny.gguf")
    file = open_gguf(tmp_path / "tiny.gguf")
    config = replace(read_config(file), exact=True)
    params = load_params(file, config)
    state = init_state(config, n_ctx=64, padding=32, cache_type="f32")
    head = len(TOKENS) - 4
    logits, state = jax.jit(partial(forward, config=config))(params, state, jnp.asarray([TOKENS[:head]], jnp.int32))
    rows = [np.asarray(logits[0])]
    one = jax.jit(partial(step, config=config))
    for token in TOKENS[head:]:
        logits, state = one(params, state, jnp.asarray([token], jnp.int32))
        rows.append(np.asarray(logits))
    found = np.concatenate(rows)
    errors = [nmse(f, e) for f, e in zip(found, recorded[name], strict=True)]
    assert max(errors) < LIMIT, f"worst position {int(np.argmax(errors))}: {max(errors):.2e}"


def test_the_window_matters(tmp_path, recorded):
    """The recorded gemma2 logits are out of reach without its window: the reference test sees it."""
    write_model("gemma2", tmp_path / "tiny.gguf")
    file = open_gguf(tmp_path / "tiny.gguf")
    config = read_config(file)
    assert [layer.mixer.window for layer in config.layers] == [6, 0, 6, 0]
    full = replace(config, exact=True, layers=tuple(replace(layer, mixer=replace(layer.mixer, window=0)) for layer in config.layers))
    state = init_state(full, n_ctx=64, padding=32, cache_type="f32")
    logits, _ = jax.jit(partial(forward, config=full))(load_params(file, full), state, jnp.asarray([TOKENS], jnp.int32))
    assert nmse(np.asarray(logits[0]), recorded["gemma2"]) > 1e-3


def test_prefill_is_forwards_last_row(tmp_path):
    write_model("llama", tmp_path / "tiny.gguf")
    file = open_gguf(tmp_path / "tiny.gguf")
    config = read_config(file)
    params = load_params(file, config)
    tokens = jnp.asarray([TOKENS], jnp.int32)
    whole, _ = forward(params, init_state(config, n_ctx=64, padding=32), tokens, config=config)
    last, state = prefill(params, init_state(config, n_ctx=64, padding=32), tokens, jnp.asarray([len(TOKENS)]), config=config)
    np.testing.assert_allclose(last[0], whole[0, -1], rtol=1e-5, atol=1e-5)
    assert int(state.positions[0]) == len(TOKENS)
