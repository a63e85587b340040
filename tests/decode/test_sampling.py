"""Sampling against a plain implementation in float64, and its statistics."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama.decode import logits_kernel
from jaxllama.decode.sampling import WINDOW, argmax, make_sampling, sample
from jaxllama.kernels.assemble import kernels_run

V = 600
_sample = jax.jit(sample)


def allowed(logits, *, temperature, top_k, top_p, min_p):
    """Probabilities f64[V] after all cuts, by llama.cpp's definitions."""
    order = np.argsort(-logits, kind="stable")
    sorted_ = logits[order].astype(np.float64)
    keep = np.arange(len(order)) < (top_k if top_k > 0 else len(order))
    p = np.where(keep, np.exp(sorted_ - sorted_[0]), 0)
    p /= p.sum()
    enough = int(np.argmax(np.cumsum(p) >= top_p)) if top_p < 1 else len(p) - 1
    keep &= np.arange(len(order)) <= enough
    if min_p > 0:
        keep &= sorted_ >= sorted_[0] + np.log(min_p)
    if temperature <= 0:
        keep &= np.arange(len(order)) == 0
        temperature = 1.0
    weights = np.where(keep, np.exp((sorted_ - sorted_[0]) / temperature), 0)
    found = np.zeros(len(order))
    found[order] = weights / weights.sum()
    return found


def logits_for(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(V) * 3).astype(np.float32)


parameters = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.3, 1.0, 2.0]),
        "top_k": st.sampled_from([0, 1, 5, 40, WINDOW, WINDOW + 1, 2 * V]),
        "top_p": st.sampled_from([0.0, 0.3, 0.9, 1.0]),
        "min_p": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    }
)


@given(parameters, st.integers(0, 2**31), st.integers(0, 2**32 - 1), st.integers(0, 10_000))
def test_only_allowed_tokens_are_chosen(p, logits_seed, seed, position):
    logits = logits_for(logits_seed)
    token, logprob = _sample(jnp.asarray(logits)[None], make_sampling(1, seed=seed, **p), jnp.asarray([position]), jnp.zeros(V, bool))
    # A token on the very edge of a cut may fall on either side of it in float32.
    eased = {**p, "top_p": min(1.0, p["top_p"] * (1 + 1e-5) + 1e-6), "min_p": p["min_p"] * (1 - 1e-5)}
    assert allowed(logits, **eased)[int(token[0])] > 0
    exact = logits.astype(np.float64)
    assert float(logprob[0]) == pytest.approx(exact[int(token[0])] - np.log(np.exp(exact).sum()), abs=1e-4)


@pytest.mark.parametrize(
    "p",
    [
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 0.7, "top_k": 10, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 1.5, "top_k": 40, "top_p": 0.8, "min_p": 0.02},
    ],
)
def test_frequencies_are_the_probabilities(p):
    """Chi-squared over 20,000 draws; the bound is six standard deviations."""
    logits, draws = logits_for(7), 20_000
    many = jnp.broadcast_to(jnp.asarray(logits), (500, V))
    counts = np.zeros(V)
    for i in range(draws // 500):
        tokens, _ = _sample(many, make_sampling(500, seed=3, **p), jnp.arange(500) + 500 * i, jnp.zeros(V, bool))
        counts += np.bincount(np.asarray(tokens), minlength=V)
    expected = allowed(logits, **p) * draws
    assert counts[expected == 0].sum() == 0
    common = expected >= 5
    chi = ((counts[common] - expected[common]) ** 2 / expected[common]).sum()
    freedom = common.sum() - 1
    assert chi < freedom + 6 * np.sqrt(2 * freedom)


def test_the_window_and_the_whole_vocabulary_agree():
    """A neighbour with a wide top-k sends the batch through the full sort; a slot's token does not change by that."""
    logits = jnp.asarray(np.stack([logits_for(i) for i in range(2)]))
    for position in range(50):
        at = jnp.asarray([position, position])
        narrow, _ = _sample(logits, make_sampling(2, seed=9, top_k=[40, 40], temperature=1.0), at, jnp.zeros(V, bool))
        wide, _ = _sample(logits, make_sampling(2, seed=9, top_k=[40, 0], temperature=1.0), at, jnp.zeros(V, bool))
        assert int(narrow[0]) == int(wide[0])


def test_ignored_ends_are_never_chosen():
    logits = jnp.zeros((2, V)).at[:, 5].set(50.0)
    end = jnp.zeros(V, bool).at[5].set(True)
    tokens, _ = _sample(logits, make_sampling(2, temperature=[0.0, 1.0], ignore_end=[False, True]), jnp.asarray([0, 0]), end)
    assert int(tokens[0]) == 5
    assert int(tokens[1]) != 5


@given(st.integers(0, 2**31), st.sampled_from([1, 7, 512, 513, 2000]))
def test_two_level_argmax(seed, size):
    x = np.random.default_rng(seed).integers(0, 50, (3, size)).astype(np.float32)  # many ties
    np.testing.assert_array_equal(jax.jit(argmax)(jnp.asarray(x)), x.argmax(-1))


def test_changing_a_parameter_compiles_nothing():
    traces = 0

    def counted(*arguments):
        nonlocal traces
        traces += 1
        return sample(*arguments)

    run = jax.jit(counted)
    logits = jnp.asarray(logits_for(0))[None]
    for t, k, p, m, s in ((0.0, 0, 1.0, 0.0, 1), (0.8, 40, 0.9, 0.1, 2), (2, 3, 0, 1, 3)):
        run(logits, make_sampling(1, temperature=t, top_k=k, top_p=p, min_p=m, seed=s), jnp.asarray([s]), jnp.zeros(V, bool))
    assert traces == 1


def test_the_seed_decides():
    logits = jnp.broadcast_to(jnp.asarray(logits_for(1)), (100, V))
    draw = partial(_sample, logits, positions=jnp.arange(100), end=jnp.zeros(V, bool))
    a, b, c = (np.asarray(draw(sampling=make_sampling(100, seed=s, temperature=1.0))[0]) for s in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


@pytest.mark.skipif(not kernels_run(), reason="no kernels on this processor")
@pytest.mark.parametrize("size", [1, 15, 300, 4096, 4100, 20001])
def test_the_kernel_finds_the_best_and_the_total(size):
    rng = np.random.default_rng(size)
    logits = rng.integers(-30, 30, (3, size)).astype(np.float32) / 4  # many are equal: the first counts
    end = rng.random(size) < 0.3
    end[rng.integers(size)] = False
    strict = np.asarray([True, False, True])
    token, total = logits_kernel.best_and_total(jnp.asarray(logits), jnp.asarray(end), jnp.asarray(strict))
    allowed = np.where(strict[:, None] & end[None], -np.inf, logits)
    np.testing.assert_array_equal(token, allowed.argmax(-1))
    np.testing.assert_allclose(total, jax.nn.logsumexp(jnp.asarray(logits), -1), rtol=1e-6, atol=1e-6)
