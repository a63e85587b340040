"""What sampling knows of a vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


@flax.struct.dataclass
class Words:
    """A vocabulary; a pytree.

    Attributes:
        end: bool[V], tokens that end a generation.
        ranks, lasts: int32[V], for infill: each token's place in the order of texts (the first one's where texts are equal), and that of the last one which
            begins with its text; -1 where it has no text, or where nobody looked.
        fallback: int32[], the token to end with where infill leaves nothing.
    """

    end: jax.Array
    ranks: jax.Array
    lasts: jax.Array
    fallback: jax.Array


def make_words(n_vocab: int, end: Collection[int], *, pieces: Sequence[bytes] = (), fallback: int | None = None) -> Words:
    """A vocabulary.

    Args:
        end: tokens that end a generation.
        pieces: the tokens' texts; infill needs them.
        fallback: the token that infill ends with where nothing else is left; the first of `end` by default.
    """
    ends = sorted(t for t in end if t < n_vocab)
    mask = np.zeros(n_vocab, bool)
    mask[ends] = True
    ranks, lasts = np.full(n_vocab, -1, np.int32), np.full(n_vocab, -1, np.int32)
    begun: list[int] = []  # tokens that the present text begins with, the shortest first
    order = sorted((t for t, piece in enumerate(pieces[:n_vocab]) if piece), key=pieces.__getitem__)
    for rank, token in enumerate(order):
        while begun and not pieces[token].startswith(pieces[begun[-1]]):
            lasts[begun.pop()] = rank - 1
        same = begun and pieces[begun[-1]] == pieces[token]
        ranks[token] = ranks[begun[-1]] if same else rank
        begun.append(token)
    lasts[begun] = len(order) - 1
    chosen = fallback if fallback is not None else ends[0] if ends else 0
    return Words(jnp.asarray(mask), jnp.asarray(ranks), jnp.asarray(lasts), jnp.asarray(chosen, jnp.int32))
