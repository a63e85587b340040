"""Walking through layers: whatever repeats, every layer is visited once and in its order."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxllama.models.walk import Run, runs, walk


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("aaaa", [Run(((0, 4),))]),
        ("abab", [Run(((0, 1), (1, 1)), 2)]),
        ("aaabaaabaa", [Run(((0, 3), (1, 1)), 2), Run(((0, 2),))]),
        ("abbbb", [Run(((0, 1),)), Run(((1, 4),))]),
        ("aab" * 3 + "ab" * 3 + "a", [Run(((0, 2), (1, 1)), 3), Run(((0, 1), (1, 1)), 3), Run(((0, 1),))]),
        ("abacabac", [Run(((0, 1), (1, 1), (0, 1), (2, 1)), 2)]),
        ("abcd", [Run(((0, 1),)), Run(((1, 1),)), Run(((2, 1),)), Run(((3, 1),))]),
        ("", []),
    ],
)
def test_what_repeats_is_found(layers, expected):
    assert runs(layers) == tuple(expected)


@given(st.text("abc", min_size=1, max_size=12))
@settings(max_examples=10)
def test_every_layer_is_visited_in_its_order(layers):
    """The carry notes which layer came when; outputs come back by kind, in the order of the kind's layers."""

    def body(kind, index, carry):
        at, order, numbers = carry
        return (at + 1, order.at[at].set(kind), numbers.at[at].set(index)), index * 10 + kind

    (_, order, numbers), outputs = walk(runs(layers), body, (jnp.int32(0), jnp.full(12, -1), jnp.full(12, -1)))
    kinds = list(dict.fromkeys(layers))
    expected = [(kinds.index(kind), layers[:i].count(kind)) for i, kind in enumerate(layers)]
    assert list(zip(order.tolist(), numbers.tolist(), strict=True))[: len(layers)] == expected
    for kind, name in enumerate(kinds):
        assert outputs[kind].tolist() == [10 * number + kind for number in range(layers.count(name))]
