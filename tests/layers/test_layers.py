"""Norm, rope and feed-forward against their formulas."""

from __future__ import annotations

from math import log

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama.layers.activations import activate
from jaxllama.layers.mixture import choose, mix
from jaxllama.layers.norm import Norm, normalize
from jaxllama.layers.rope import Rope, rope_table, rotate


@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_norms(kind):
    x = np.random.default_rng(0).standard_normal((3, 8)) + 1
    w, b = np.linspace(0.5, 2, 8), np.linspace(-1, 1, 8)
    centred = x - x.mean(-1, keepdims=True) if kind == "layer" else x
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w
    x, w, b = (jnp.asarray(a, jnp.float32) for a in (x, w, b))
    np.testing.assert_allclose(normalize(x, Norm(kind, 1e-5), w), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(normalize(x, Norm(kind, 1e-5), w, b), expected + np.asarray(b), rtol=1e-4, atol=1e-6)


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
def test_a_mixture_is_the_weighted_sum_of_the_chosen_experts(rows):
    rng = np.random.default_rng(0)
    experts, used, d = 4, 2, 6
    matrices, x, scores = rng.standard_normal((experts, d, d)), rng.standard_normal((rows, d)), rng.standard_normal((rows, experts))
    device = jnp.asarray(matrices, jnp.float32)
    weights, chosen = choose(jnp.asarray(scores, jnp.float32), None, n_used=used, scale=1.5)
    found = mix(jnp.asarray(x, jnp.float32), weights, chosen, lambda x, e: jnp.tanh(x @ device[e].T), n_expert=experts)
    for row in range(rows):
        best = np.argsort(-scores[row])[:used]
        share = np.exp(scores[row][best]) / np.exp(scores[row][best]).sum()
        expected = sum(w * np.tanh(x[row] @ matrices[e].T) for w, e in zip(share, best, strict=True))
        np.testing.assert_allclose(found[row], 1.5 * expected, rtol=1e-3, atol=1e-4)


SCORES = np.asarray([[0.1, 2.0, -1.0, 1.9, 0.5, 0.4, 3.0, -3.0]])


@pytest.mark.parametrize(
    ("options", "bias", "chosen", "weights"),
    [
        ({}, None, [6, 1], np.exp([3.0, 2.0]) / np.exp([3.0, 2.0]).sum()),
        ({"normalized": False}, None, [6, 1], np.exp([3.0, 2.0]) / np.exp(SCORES).sum()),
        ({"normalized": False, "gate": "softmax_weight"}, None, [6, 1], np.exp([3.0, 2.0]) / np.exp([3.0, 2.0]).sum()),
        ({"normalized": False, "gate": "sigmoid", "scale": 2.5}, None, [6, 1], 2.5 / (1 + np.exp([-3.0, -2.0]))),
        ({"normalized": False, "gate": "sqrt_softplus"}, None, [6, 1], np.sqrt(np.log1p(np.exp([3.0, 2.0])))),
        ({"normalized": False, "gate": "sigmoid"}, [0, 0, 9, 0, 0, 0, 0, 0], [2, 6], 1 / (1 + np.exp([1.0, -3.0]))),  # the bias chooses, and does not weigh
        (
            {"normalized": False, "gate": "sigmoid", "groups": 4, "groups_used": 1},
            None,
            [1, 0],
            1 / (1 + np.exp([-2.0, -0.1])),
        ),  # the pair with the largest sum
        ({"normalized": False, "gate": "sigmoid", "groups": 2, "groups_used": 1}, None, [1, 3], 1 / (1 + np.exp([-2.0, -1.9]))),
    ],
)
def test_how_experts_are_chosen(options, bias, chosen, weights):
    found, which = choose(jnp.asarray(SCORES, jnp.float32), None if bias is None else jnp.asarray(bias, jnp.float32), n_used=2, **options)
    assert which[0].tolist() == chosen
    np.testing.assert_allclose(found[0], weights, rtol=1e-5)


def test_activations():
    x, up = np.linspace(-9, 9, 33), np.linspace(8, -10, 33)
    expected = {
        "silu": x / (1 + np.exp(-x)) * up,
        "gelu": 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) * up,
        "swiglu_oai": np.minimum(x, 7) / (1 + np.exp(-1.702 * np.minimum(x, 7))) * (np.clip(up, -7, 7) + 1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(activate(name, jnp.asarray(x, jnp.float32), jnp.asarray(up, jnp.float32)), values, rtol=1e-4, atol=1e-5)
