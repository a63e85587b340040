"""Block-wise attention against the plain formula in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxllama.layers.attention import BLOCK, FULL, attend, update_cache

K, G, H, S = 2, 3, 8, 3 * BLOCK


def plain(q, k, v, positions, window, scale, softcap):
    """q[B, T, N, H], k and v[B, K, S, H] -> [B, T, N, H], one query at a time."""
    out = np.zeros(q.shape)
    for b, t, n in np.ndindex(q.shape[:3]):
        at = positions[b] + t
        keys = slice(max(0, at - window + 1), at + 1)
        scores = k[b, n // G, keys] @ q[b, t, n] * scale
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights / weights.sum() @ v[b, n // G, keys]
    return out


@pytest.mark.parametrize("positions", [[0], [BLOCK - 2], [0, 200], [BLOCK, 2 * BLOCK + 7]])
@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize(("window", "softcap"), [(FULL, 0.0), (10, 0.0), (BLOCK + 3, 0.0), (FULL, 2.0)])
def test_attend(positions, length, window, softcap):
    rng = np.random.default_rng(0)
    slots = len(positions)
    q = rng.standard_normal((slots, length, K * G, H))
    k, v = rng.standard_normal((2, 3, slots, K, S, H))
    at = jnp.asarray(positions, jnp.int32)
    run = jax.jit(attend, static_argnames=("scale", "softcap"))
    q32, k32, v32 = (jnp.asarray(a, jnp.float32) for a in (q, k, v))
    found = run(q32, k32, v32, jnp.int32(1), at, window=jnp.int32(window), scale=0.5, softcap=softcap)
    np.testing.assert_allclose(found, plain(q, k[1], v[1], positions, window, 0.5, softcap), rtol=2e-5, atol=2e-5)


def test_what_lies_beyond_the_position_does_not_count():
    rng = np.random.default_rng(1)
    q = jnp.asarray(rng.standard_normal((1, 1, K * G, H)), jnp.float32)
    k, v = jnp.asarray(rng.standard_normal((2, 1, 1, K, S, H)), jnp.float32)
    at = jnp.asarray([5], jnp.int32)
    arguments = {"window": jnp.int32(FULL), "scale": 1.0}
    clean = attend(q, k, v, jnp.int32(0), at, **arguments)
    junk = attend(q, k.at[..., 6:, :].set(1e4), v.at[..., 6:, :].set(jnp.nan_to_num(jnp.inf)), jnp.int32(0), at, **arguments)
    np.testing.assert_array_equal(clean, junk)


def test_update_cache_writes_each_slot_at_its_place():
    cache = jnp.zeros((2, 2, K, S, H), jnp.float16)
    new = jnp.ones((2, 3, K, H))
    found = np.asarray(jax.jit(update_cache)(cache, new, jnp.int32(1), jnp.asarray([0, 100], jnp.int32)))
    assert found[1, 0, :, :3].all()
    assert found[1, 1, :, 100:103].all()
    assert found.sum() == 2 * 3 * K * H
