"""Norm, rope and feed-forward against their formulas."""

from __future__ import annotations

from math import log

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama.layers.feed_forward import mixture
from jaxllama.layers.norm import rms_norm
from jaxllama.layers.rope import Rope, rope_table, rotate


def test_rms_norm():
    x = np.random.default_rng(0).standard_normal((3, 8))
    w = np.linspace(0.5, 2, 8)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w
    np.testing.assert_allclose(rms_norm(jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32), 1e-5), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["norm", "neox"])
def test_rotation_is_a_complex_product(kind):
    rope = Rope(kind=kind, dims=6, base=100.0)
    x = np.random.default_rng(0).standard_normal((1, 4, 2, 8)).astype(np.float32)
    positions = np.asarray([[0, 1, 7, 100]])
    found = np.asarray(rotate(jnp.asarray(x), rope_table(rope, jnp.asarray(positions, jnp.int32)), kind))
    angle = positions[0][:, None] * 100.0 ** (-np.arange(3) / 3)
    first, second = (x[0, ..., 0:6:2], x[0, ..., 1:6:2]) if kind == "norm" else (x[0, ..., :3], x[0, ..., 3:6])
    turned = (first + 1j * second) * np.exp(1j * angle)[:, None]
    got = (found[0, ..., 0:6:2], found[0, ..., 1:6:2]) if kind == "norm" else (found[0, ..., :3], found[0, ..., 3:6])
    np.testing.assert_allclose(got[0], turned.real, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[1], turned.imag, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[..., 6:], x[..., 6:])


@given(st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(["norm", "neox"]))
def test_scores_depend_on_the_distance_alone(a, shift, kind):
    rope = Rope(kind=kind, dims=8)
    q, k = np.random.default_rng(a).standard_normal((2, 1, 1, 1, 8)).astype(np.float32)

    def score(i: int, j: int) -> float:
        left = rotate(jnp.asarray(q), rope_table(rope, jnp.asarray([[i]], jnp.int32)), kind)
        right = rotate(jnp.asarray(k), rope_table(rope, jnp.asarray([[j]], jnp.int32)), kind)
        return float((left * right).sum())

    assert abs(score(a + 3, a) - score(a + 3 + shift, a + shift)) < 1e-2


def test_yarn_keeps_fast_rotations_and_stretches_slow_ones():
    plain, _ = Rope(kind="norm", dims=64).frequencies()
    yarn, growth = Rope(kind="norm", dims=64, scaling="yarn", factor=8.0, original_context=2048).frequencies()
    np.testing.assert_allclose(yarn[:4], plain[:4])
    np.testing.assert_allclose(yarn[-4:], plain[-4:] / 8)
    assert growth == pytest.approx(1 + 0.1 * log(8))
    part, growth = Rope(kind="norm", dims=64, scaling="yarn", factor=8.0, original_context=2048, extrapolation=0.25, attention_factor=3.0).frequencies()
    np.testing.assert_allclose(part[:4], plain[:4] * (0.25 + 0.75 / 8))
    np.testing.assert_allclose(part[-4:], plain[-4:] / 8)
    assert growth == pytest.approx(3 * (1 + 0.1 * log(8)))
    linear, one = Rope(kind="norm", dims=64, scaling="linear", factor=8.0).frequencies()
    np.testing.assert_allclose(linear, plain / 8)
    assert one == 1


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_mixture_is_the_weighted_sum_of_the_chosen_experts(rows):
    rng = np.random.default_rng(0)
    experts, used, d, f = 4, 2, 6, 10
    weights = {
        "ffn_gate_inp": rng.standard_normal((1, experts, d)),
        "ffn_gate_exps": rng.standard_normal((experts, f, d)),
        "ffn_up_exps": rng.standard_normal((experts, f, d)),
        "ffn_down_exps": rng.standard_normal((experts, d, f)),
    }
    x = rng.standard_normal((rows, d))
    device = {k: jnp.asarray(v, jnp.float32) for k, v in weights.items()}
    found = mixture(jnp.asarray(x, jnp.float32), lambda x, role, e: x @ device[role][e].T, "silu", n_expert=experts, n_used=used, scale=1.5)
    logits = x @ weights["ffn_gate_inp"][0].T
    for row in range(rows):
        best = np.argsort(-logits[row])[:used]
        share = np.exp(logits[row][best]) / np.exp(logits[row][best]).sum()
        expected = np.zeros(d)
        for w, e in zip(share, best, strict=True):
            gate = x[row] @ weights["ffn_gate_exps"][e].T
            expected += w * ((gate / (1 + np.exp(-gate)) * (x[row] @ weights["ffn_up_exps"][e].T)) @ weights["ffn_down_exps"][e].T)
        np.testing.assert_allclose(found[row], 1.5 * expected, rtol=1e-3, atol=1e-4)


def test_gelu_is_the_tanh_form():
    from jaxllama.layers.feed_forward import ACTIVATIONS

    x = np.linspace(-4, 4, 33)
    expected = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(ACTIVATIONS["gelu"](jnp.asarray(x, jnp.float32)), expected, rtol=1e-4, atol=1e-6)
