"""Sampling against a plain implementation in float64 (`sampling_reference`), and its statistics."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_reference import Reference
from tiers import telling

from jaxllama.decode import (
    Breakers,
    chain_of,
    chain_of_letters,
    distribution,
    logits_kernel,
    make_breakers,
    make_sampling,
    make_words,
    remember,
    sample,
    start_history,
)
from jaxllama.decode.candidates import argmax, running_sum, top
from jaxllama.decode.sampling import DEFAULT_CHAIN, FLOATS, INTEGERS, MOST_TAIL

V = 300
ENDS = (3, 7)
# Many texts that begin alike, for infill.
PIECES = [bytes([97 + i % 5]) * (1 + i % 3) + bytes([97 + (i // 15) % 20]) * (i % 2) for i in range(V)]
WORDS = make_words(V, ENDS, pieces=PIECES)
CHAINS = (
    DEFAULT_CHAIN,
    ("temperature", "top_k", "top_p", "min_p"),
    ("min_p", "penalties", "typ_p", "xtc", "dry"),
    ("top_k", "infill"),
    ("top_k", "min_p", "adaptive_p"),
    ("temperature", "typ_p", "top_n_sigma", "xtc", "top_k"),
)
TELLING = [chain for chain in CHAINS if chain is DEFAULT_CHAIN or "infill" in chain or "adaptive_p" in chain]  # all samplers
_distribution, _sample, _remember = jax.jit(distribution), jax.jit(sample, static_argnames=("report", "whole")), jax.jit(remember)

VALUES = {
    "temperature": (0.0, 0.5, 1.0, 1.7),
    "dynatemp_range": (0.0, 0.0, 0.4, 1.5),
    "dynatemp_exponent": (1.0, 0.5, 2.0),
    "top_k": (0, 1, 5, 40, 1000),
    "top_p": (1.0, 0.9, 0.5, 0.0),
    "min_p": (0.0, 0.05, 0.3),
    "typical_p": (1.0, 1.0, 0.9, 0.3),
    "top_n_sigma": (-1.0, -1.0, 1.0, 0.5),
    "xtc_probability": (0.0, 0.5),
    "xtc_threshold": (0.05, 0.1, 0.3, 0.6),
    "min_keep": (0, 0, 3),
    "repeat_penalty": (1.0, 1.3),
    "frequency_penalty": (0.0, 0.4),
    "presence_penalty": (0.0, 0.3, -0.5),
    "repeat_last_n": (0, 3, 64, -1),
    "dry_multiplier": (0.0, 0.8, 2.0),
    "dry_allowed_length": (1, 2, 4),
    "dry_penalty_last_n": (64, 10, -1, 0),
    "dry_base": (1.75, 1.0, 3.0),
    "mirostat": (0, 0, 0, 1, 2),
    "mirostat_tau": (2.0, 5.0),
    "adaptive_target": (-1.0, 0.3, 0.6),
    "adaptive_decay": (0.9, 0.5),
}
requests = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})


def logits_for(seed: int, size: int = V) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * 3).astype(np.float32)


def breakers_of(sequences) -> Breakers:
    """Breakers as tokens: a head, and what follows it."""
    words = -(-V // 32)
    single, tails, heads = np.zeros(words, np.uint32), np.full((8, MOST_TAIL), -1, np.int32), np.zeros((8, words), np.uint32)
    for n, (head, *tail) in enumerate(sequences):
        if tail:
            tails[n, : len(tail)] = tail
            heads[n, head >> 5] |= np.uint32(1 << (head & 31))
        else:
            single[head >> 5] |= np.uint32(1 << (head & 31))
    return Breakers(single, tails, heads)


@pytest.mark.parametrize("chain", telling(CHAINS, TELLING), ids=",".join)
@settings(max_examples=50)
@given(requests, st.integers(0, 2**31), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 5), max_size=60), st.data())
def test_every_sampler_is_the_reference(chain, p, logits_seed, seed, history, data):
    """The probabilities after any chain, whatever is on: exactly the reference's, but for rounding."""
    logits = logits_for(logits_seed)
    bias = data.draw(st.dictionaries(st.integers(0, V - 1), st.sampled_from([2.0, -3.0, -np.inf]), max_size=3))
    ignore_end, position = data.draw(st.booleans()), data.draw(st.integers(0, 10_000))
    sequences = data.draw(st.sampled_from([(), ((4,), (5, 1), (5, 1, 2))]))
    sampling = make_sampling(1, seed=seed, ignore_end=ignore_end, logit_bias=bias, samplers=chain, breakers=breakers_of(sequences), **p)
    prompt = data.draw(st.integers(0, len(history)))
    past = start_history([history[:prompt]], sampling, n_vocab=V, room=64)
    for token in history[prompt:]:
        past = _remember(past, sampling, jnp.asarray([token], jnp.int32), jnp.asarray([True]))
    found = np.asarray(_distribution(jnp.asarray(logits)[None], sampling, past, jnp.asarray([position]), WORDS))[0]
    stream = jax.random.fold_in(jax.random.fold_in(jax.random.key(np.uint32(seed)), position), 1)
    decay = p["adaptive_decay"]
    reference = Reference(
        logits,
        {**FLOATS, **INTEGERS, **p, "logit_bias": bias, "ignore_end": ignore_end},
        history,
        chance=float(jax.random.uniform(stream)),
        breakers=sequences,
        end=ENDS,
        pieces=PIECES,
        chosen=(p["adaptive_target"] / (1 - decay), 1 / (1 - decay)),
    )
    expected = reference.run(chain)
    if np.abs(found - expected).max() > 1e-4:  # a token on the very edge of a cut may fall on either side of it
        differing = (found > 0) != (expected > 0)
        assert differing.sum() == 1, np.flatnonzero(differing)
        assert max(found[differing][0], expected[differing][0]) < 0.2
    else:
        np.testing.assert_allclose(found, expected, atol=1e-4)


LARGE = 3000  # tokens: both windows are smaller
LARGE_WORDS = make_words(LARGE, ENDS)


@pytest.mark.parametrize("chain", telling([c for c in CHAINS if "infill" not in c], [DEFAULT_CHAIN]), ids=",".join)
@settings(max_examples=30)
@given(
    requests.map(lambda p: {**p, "dynatemp_range": 0.0}),
    st.integers(0, 2**31),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.3, 1.0, 3.0, 6.0]),
)
def test_a_window_is_the_whole(chain, p, logits_seed, seed, width):
    """Where a window says that it was enough, the token is the one that the whole vocabulary gives."""
    logits = jnp.asarray(logits_for(logits_seed, LARGE) / 3 * width)[None]
    sampling = make_sampling(1, seed=seed, samplers=chain, **p)
    past = start_history([[1, 2, 1, 2, 1]], sampling, n_vocab=LARGE, room=64)
    arguments = logits, sampling, past, jnp.asarray([7]), LARGE_WORDS
    quick, _ = _sample(*arguments)
    exact, _ = _sample(*arguments, whole=True)
    assert bool(exact.enough[0])
    if bool(quick.enough[0]):
        assert int(quick.tokens[0]) == int(exact.tokens[0])
        assert float(quick.logprobs[0]) == float(exact.logprobs[0])


def test_the_default_chain_never_needs_more_than_its_window():
    logits = jnp.asarray(logits_for(5, LARGE) / 30)[None]  # nearly all alike
    for options in ({}, {"top_k": 500}, {"temperature": 0.0}):
        sampling = make_sampling(1, **options)
        choice, _ = _sample(logits, sampling, start_history([[1]], sampling, n_vocab=LARGE, room=64), jnp.asarray([7]), LARGE_WORDS)
        assert bool(choice.enough[0])
    sampling = make_sampling(1, top_k=0, top_p=1.0, min_p=0.0)
    choice, _ = _sample(logits, sampling, start_history([[1]], sampling, n_vocab=LARGE, room=64), jnp.asarray([0]), LARGE_WORDS)
    assert not bool(choice.enough[0])


@pytest.mark.parametrize(
    "p",
    [
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 0.7, "top_k": 10, "top_p": 1.0, "min_p": 0.0},
        {"temperature": 1.5, "top_k": 40, "top_p": 0.8, "min_p": 0.02},
        {"typical_p": 0.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
        {"dynatemp_range": 0.5, "top_p": 1.0, "min_p": 0.0},
        {"mirostat": 1, "mirostat_tau": 3.0},
        {"mirostat": 2, "mirostat_tau": 3.0},
        pytest.param({"samplers": ("top_k", "adaptive_p"), "adaptive_target": 0.2}, marks=pytest.mark.exhaustive),
        pytest.param({"samplers": ("top_k", "infill"), "top_k": 20}, marks=pytest.mark.exhaustive),  # compares all tokens with all, in 500 slots
    ],
    ids=str,
)
def test_frequencies_are_the_probabilities(p):
    """Chi-squared over 20,000 draws; the bound is six standard deviations."""
    logits, draws, slots = logits_for(7), 20_000, 500
    many = jnp.broadcast_to(jnp.asarray(logits), (slots, V))
    sampling = make_sampling(slots, seed=11, **p)
    past = start_history([[1]] * slots, sampling, n_vocab=V, room=8)
    counts = np.zeros(V)
    for i in range(draws // slots):
        choice, _ = _sample(many, sampling, past, i * slots + jnp.arange(slots), WORDS, whole=True)
        np.add.at(counts, np.asarray(choice.tokens), 1)
    one = make_sampling(1, seed=11, **p)
    expected = np.asarray(_distribution(many[:1], one, start_history([[1]], one, n_vocab=V, room=8), jnp.asarray([0]), WORDS))[0].astype(np.float64) * draws
    assert counts[expected < 1e-9].sum() == 0
    seen = expected > 5
    chi = ((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum()
    assert chi < seen.sum() + 6 * np.sqrt(2 * seen.sum())


@pytest.mark.exhaustive
def test_xtc_happens_as_often_as_it_should():
    draws, slots = 5_000, 500  # slots as above: the same program
    logits = jnp.broadcast_to(jnp.full(V, -9.0).at[:3].set(jnp.asarray([2.0, 1.9, 1.8])), (slots, V))
    sampling = make_sampling(slots, seed=3, temperature=0.0, xtc_probability=0.3, min_p=0.0)
    past = start_history([[1]] * slots, sampling, n_vocab=V, room=8)
    tokens = np.concatenate([_sample(logits, sampling, past, i + jnp.arange(slots), WORDS, whole=True)[0].tokens for i in range(0, draws, slots)])
    assert set(tokens.tolist()) == {0, 2}  # all but the last of the likely ones are gone, or nothing is
    assert (tokens == 2).mean() == pytest.approx(0.3, abs=6 * np.sqrt(0.21 / draws))


def test_mirostat_keeps_the_surprise():
    """Over many tokens the mean surprise is what was asked for."""
    for version, tau in ((1, 2.5), (2, 2.5), (2, 4.0)):
        sampling = make_sampling(1, mirostat=version, mirostat_tau=tau, temperature=1.0, seed=1)
        past = start_history([[1]], sampling, n_vocab=LARGE, room=64)  # as above: the same program
        surprises = []
        logits = jnp.asarray(logits_for(2, LARGE))[None]
        for i in range(400):
            before = past.surprise
            _, past = _sample(logits, sampling, past, jnp.asarray([i]), LARGE_WORDS, whole=True)
            surprises.append(float((before - past.surprise)[0]) / 0.1 + tau)
        assert np.mean(surprises[100:]) == pytest.approx(tau, abs=0.35)


def test_equal_logits_keep_their_order():
    x = (np.random.default_rng(0).integers(0, 3, (4, 40_000))).astype(np.float32)  # many ties
    np.testing.assert_array_equal(jax.jit(argmax)(jnp.asarray(x)), x.argmax(-1))
    values, ids = jax.jit(partial(top, count=64))(jnp.asarray(x))
    order = np.argsort(-x, axis=-1, kind="stable")[:, :64]
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis=1))


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1500])
def test_running_sums(size):
    x = np.random.default_rng(size).random((2, size)).astype(np.float32)
    np.testing.assert_allclose(running_sum(jnp.asarray(x)), np.cumsum(x, -1), rtol=1e-5)


def test_changing_a_parameter_compiles_nothing():
    compiled = None
    logits = jnp.asarray(logits_for(0, LARGE))[None]
    for change in ({}, {"temperature": 0.0}, {"mirostat": 2, "seed": 5}, {"dry_multiplier": 1.0, "logit_bias": {1: 2.0}}, {"xtc_probability": 0.5, "top_k": 0}):
        sampling = make_sampling(1, **change)
        _sample(logits, sampling, start_history([[1]], sampling, n_vocab=LARGE, room=64), jnp.asarray([3]), LARGE_WORDS)
        compiled = compiled or _sample._cache_size()
    assert _sample._cache_size() == compiled


def test_the_seed_decides():
    slots = 500  # as above: the same program
    logits = jnp.broadcast_to(jnp.asarray(logits_for(1)), (slots, V))
    found = []
    for seed in (1, 1, 2):
        sampling = make_sampling(slots, seed=seed, temperature=1.0)
        choice, _ = _sample(logits, sampling, start_history([[1]] * slots, sampling, n_vocab=V, room=8), jnp.arange(slots), WORDS, whole=True)
        found.append(np.asarray(choice.tokens))
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_a_function_of_ones_own():
    """Any function of logits and history, before what cuts and after it."""

    def only_even(logits, history):
        return jnp.where(jnp.arange(logits.shape[1]) % 2 == 0, logits, -jnp.inf)

    def no_repeats(logits, history):
        return jnp.where(history.counts > 0, -jnp.inf, logits)

    logits = logits_for(3)
    for chain in ((only_even, no_repeats, "top_k", "temperature"), ("top_k", only_even, "temperature", no_repeats)):
        sampling = make_sampling(1, samplers=chain, top_k=100)
        past = start_history([[int(logits.argmax())]], sampling, n_vocab=V, room=8)
        found = np.asarray(_distribution(jnp.asarray(logits)[None], sampling, past, jnp.asarray([1]), WORDS))[0]
        assert found.sum() == pytest.approx(1, abs=1e-5)
        assert found[1::2].sum() == 0
        assert found[logits.argmax()] == 0


@pytest.mark.parametrize("chain", [("own", "top_k"), ("top_k", "own")])
def test_a_function_that_returns_no_logits(chain):
    for returned, found in ((lambda x: x[:1, :3], r"float32\[1, 3\]"), (lambda x: None, "NoneType"), (lambda x: x > 0, r"bool\[1, 300\]")):

        def own(logits, history, returned=returned):
            return returned(logits)

        sampling = make_sampling(1, samplers=[own if name == "own" else name for name in chain])
        with pytest.raises(TypeError, match=rf"the sampler own returned {found}, expected the changed logits: float32\[1, 300\]"):
            distribution(jnp.zeros((1, V)), sampling, start_history([[1]], sampling, n_vocab=V, room=8), jnp.asarray([1]), WORDS)


def test_names_of_samplers():
    assert chain_of("top-k;TEMP;nucleus;typical;xtc") == ("top_k", "temperature", "top_p", "typ_p", "xtc")
    assert chain_of_letters("edskypmxt") == DEFAULT_CHAIN
    with pytest.raises(ValueError, match="no sampler 'foo'"):
        chain_of("top_k;foo")
    with pytest.raises(ValueError, match="no sampler 'q'"):
        chain_of_letters("kq")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeat_penalty": 0.0}, "above 0"),
        ({"mirostat": 3}, "at most 2"),
        ({"dry_penalty_last_n": -2}, "at least -1, not -2"),
        ({"top_k": 1.5}, "whole number"),
        ({"temperature": float("nan")}, "finite"),
        ({"logit_bias": {1: float("inf")}}, "minus infinity"),
        ({"temperature": [1.0, 2.0]}, "expected one value or 1"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(ValueError, match=message):
        make_sampling(1, **options)
    with pytest.raises(TypeError, match="sampling takes no option 'top_x'; did you mean 'top_p'"):
        make_sampling(1, top_x=1)


def test_breakers_are_found_in_tokens():
    """A token with the whole text in it breaks at once; one at whose end it begins, together with what is missing."""
    pieces = [b"a", b"x\n\n", b"y\n", b"\n", b"\nz", b"ab\n\nc"]
    made = make_breakers(["\n\n"], pieces, lambda text: [3] * len(text))
    assert [bool(made.single[0] >> t & 1) for t in range(6)] == [False, True, False, False, False, True]
    assert made.tails[0, :2].tolist() == [3, -1]
    assert [bool(made.heads[0, 0] >> t & 1) for t in range(6)] == [False, False, True, True, False, False]


@pytest.mark.usefixtures("kernels")
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
