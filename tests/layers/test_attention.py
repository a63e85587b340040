"""Block-wise attention against the plain formula in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import telling

from jaxllama.layers import attention_kernel
from jaxllama.layers.attention import BLOCK, FULL, attend, attend_plain, update_cache

K, G, H, S = 2, 3, 32, 3 * BLOCK
has_kernel = attention_kernel.available(H, jnp.dtype(jnp.float32))
ways = pytest.mark.parametrize(
    "way", [attend_plain, pytest.param(attention_kernel.attend, marks=pytest.mark.skipif(not has_kernel, reason="no kernels on this processor"))]
)


def plain(q, k, v, positions, window, scale, softcap):
    """q[B, T, N, H], k and v[B, K, S, H] -> [B, T, N, H], one query at a time."""
    out, groups = np.zeros(q.shape), q.shape[2] // k.shape[1]
    for b, t, n in np.ndindex(q.shape[:3]):
        at = positions[b] + t
        keys = slice(max(0, at - window + 1), at + 1)
        scores = k[b, n // groups, keys] @ q[b, t, n] * scale
        if softcap:
            scores = softcap * np.tanh(scores / softcap)
        weights = np.exp(scores - scores.max())
        out[b, t, n] = weights / weights.sum() @ v[b, n // groups, keys]
    return out


@ways
@pytest.mark.parametrize("positions", [[0], [BLOCK - 2], [0, 200], [BLOCK, 2 * BLOCK + 7]])
@pytest.mark.parametrize("length", telling([1, 5, 50], [1, 50]))
@pytest.mark.parametrize(("window", "softcap"), [(FULL, 0.0), (10, 0.0), (BLOCK + 3, 0.0), (FULL, 2.0)])
def test_attend(way, positions, length, window, softcap):
    rng = np.random.default_rng(0)
    slots = len(positions)
    q = rng.standard_normal((slots, length, K * G, H))
    k, v = rng.standard_normal((2, 3, slots, K, S, H))
    at = jnp.asarray(positions, jnp.int32)
    run = jax.jit(way, static_argnames=("scale", "softcap"))
    q32, k32, v32 = (jnp.asarray(a, jnp.float32) for a in (q, k, v))
    found = run(q32, k32, v32, jnp.int32(1), at, window=jnp.int32(window), scale=0.5, softcap=softcap)
    np.testing.assert_allclose(found, plain(q, k[1], v[1], positions, window, 0.5, softcap), rtol=2e-5, atol=2e-5)


@ways
@pytest.mark.parametrize("length", [1, 5])
def test_sinks_take_part_in_the_softmax(way, length):
    """A sink is a position that every query sees, with a score of its own and the value zero."""
    rng = np.random.default_rng(3)
    q, sinks = rng.standard_normal((2, length, K * G, H)), 2 * rng.standard_normal(K * G)
    k, v = rng.standard_normal((2, 1, 2, K, S, H))
    positions = [BLOCK + 7, 3]
    q32, k32, v32, sinks32 = (jnp.asarray(a, jnp.float32) for a in (q, k, v, sinks))
    found = way(q32, k32, v32, jnp.int32(0), jnp.asarray(positions, jnp.int32), window=jnp.int32(FULL), scale=0.5, sinks=sinks32)
    expected = np.zeros(q.shape)
    for b, t, n in np.ndindex(q.shape[:3]):
        scores = np.append(k[0, b, n // G, : positions[b] + t + 1] @ q[b, t, n] * 0.5, sinks[n])
        weights = np.exp(scores - scores.max())
        expected[b, t, n] = (weights / weights.sum())[:-1] @ v[0, b, n // G, : positions[b] + t + 1]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@ways
def test_what_lies_beyond_the_position_does_not_count(way):
    rng = np.random.default_rng(1)
    q = jnp.asarray(rng.standard_normal((1, 1, K * G, H)), jnp.float32)
    k, v = jnp.asarray(rng.standard_normal((2, 1, 1, K, S, H)), jnp.float32)
    at = jnp.asarray([5], jnp.int32)
    arguments = {"window": jnp.int32(FULL), "scale": 1.0}
    clean = way(q, k, v, jnp.int32(0), at, **arguments)
    junk = way(q, k.at[..., 6:, :].set(1e4), v.at[..., 6:, :].set(jnp.nan_to_num(jnp.inf)), jnp.int32(0), at, **arguments)
    np.testing.assert_array_equal(clean, junk)


@ways
@pytest.mark.parametrize(("heads", "head", "dtype"), [((6, 1), 64, "float16"), ((8, 8), 16, "bfloat16"), ((4, 2), 128, "float16"), ((16, 1), 80, "float32")])
def test_shapes_and_types_of_caches(way, heads, head, dtype):
    rng = np.random.default_rng(2)
    (n, k_heads), positions = heads, [130, 3]
    q = jnp.asarray(rng.standard_normal((2, 2, n, head)), jnp.float32)
    k, v = jnp.asarray(rng.standard_normal((2, 2, 2, k_heads, S, head)), dtype)
    found = way(q, k, v, jnp.int32(1), jnp.asarray(positions, jnp.int32), window=jnp.int32(FULL), scale=head**-0.5)
    expected = plain(*(np.asarray(a, np.float64) for a in (q, k[1], v[1])), positions, FULL, head**-0.5, 0.0)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.skipif(not has_kernel, reason="no kernels on this processor")
def test_a_query_does_not_notice_its_company():
    """To the last bit: the same for a slot alone and among others, for one query and, but for rounding, for many."""
    rng = np.random.default_rng(3)
    q = jnp.asarray(rng.standard_normal((3, 40, K * G, H)), jnp.float32)
    k, v = jnp.asarray(rng.standard_normal((2, 1, 3, K, S, H)), jnp.float16)
    at = jnp.asarray([200, 0, 77], jnp.int32)
    arguments = {"window": jnp.int32(FULL), "scale": H**-0.5}
    together = attend(q, k, v, jnp.int32(0), at, **arguments)
    for slot in range(3):
        alone = attend(q[slot : slot + 1], k[:, slot : slot + 1], v[:, slot : slot + 1], jnp.int32(0), at[slot : slot + 1], **arguments)
        np.testing.assert_array_equal(together[slot], alone[0])
        last = attend(q[slot : slot + 1, -1:], k[:, slot : slot + 1], v[:, slot : slot + 1], jnp.int32(0), at[slot : slot + 1] + 39, **arguments)
        np.testing.assert_allclose(together[slot, -1:], last[0], rtol=1e-6, atol=1e-6)


def test_update_cache_writes_each_slot_at_its_place():
    cache = jnp.zeros((2, 2, K, S, H), jnp.float16)
    new = jnp.ones((2, 3, K, H))
    found = np.asarray(jax.jit(update_cache)(cache, new, jnp.int32(1), jnp.asarray([0, 100], jnp.int32)))
    assert found[1, 0, :, :3].all()
    assert found[1, 1, :, 100:103].all()
    assert found.sum() == 2 * 3 * K * H
