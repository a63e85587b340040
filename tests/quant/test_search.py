"""Searches for scales against a plain search through many of them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxllama.quant.search import IMPORTANCE_ATTEMPTS, affine, descend

GROUPS = 50


def test_no_minimum_is_negative():
    """For numbers that are all positive the scale alone fits as well as it can."""
    rng = np.random.default_rng(0)
    x, weight = rng.uniform(1, 2, (16, GROUPS)), rng.exponential(1, (16, GROUPS))
    scale, minimum = (np.asarray(v) for v in affine(jnp.asarray(x, jnp.float32), jnp.asarray(weight, jnp.float32), 3, IMPORTANCE_ATTEMPTS))
    assert (minimum >= 0).all()

    def error(scale: np.ndarray, minimum: np.ndarray | float = 0.0) -> np.ndarray:
        return (weight * (scale * np.clip(np.round((x + minimum) / scale), 0, 3) - minimum - x) ** 2).sum(0)

    least = np.min([error(np.full(GROUPS, s)) for s in np.linspace(0.3, 2, 500)], axis=0)
    assert error(scale[0], minimum[0]).sum() <= 1.1 * least.sum()


def test_codes_that_are_changed_one_by_one_fit_better():
    rng = np.random.default_rng(0)
    x, weight = (jnp.asarray(v, jnp.float32) for v in (rng.uniform(0, 1, (8, GROUPS)), rng.exponential(1, (8, GROUPS))))
    before = jnp.round(x / x.max(0, keepdims=True) * 15)
    scale, after = descend(x, weight, before, 0, 15)

    def unexplained(codes) -> float:
        return float(((weight * x * x).sum(0) - (weight * x * codes).sum(0) ** 2 / (weight * codes * codes).sum(0)).sum())

    assert unexplained(after) < 0.9 * unexplained(before)
    np.testing.assert_allclose(scale[0], (weight * x * after).sum(0) / (weight * after * after).sum(0), rtol=1e-5)
