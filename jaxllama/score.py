"""How likely a text is, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from .decode import LogitsError, Programs
from .decode.chain import REPORTED

Likely = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Score:
    """What a model thinks of a text.

    Attributes:
        tokens: of the text, special tokens included.
        logprobs: the natural log of each token's probability after those before it; None for the first.
        likely: with `n_probs`: the most likely tokens in each place, with their log-probabilities; empty for the first.
    """

    tokens: list[int]
    logprobs: list[float | None]
    likely: list[Likely] = field(default_factory=list, repr=False)

    @property
    def total(self) -> float:
        """The log-probability of the whole text after its first token."""
        return sum(value for value in self.logprobs if value is not None)


@partial(jax.jit, static_argnames=("most",))
def _report(logits: jax.Array, targets: jax.Array, *, most: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-probabilities f32[T] of tokens int32[T] under logits f32[T, V], and the most likely ones [T, most]."""
    logs = jax.nn.log_softmax(logits, -1)
    values, ids = jax.lax.top_k(logs, most)
    return jnp.take_along_axis(logs, targets[:, None], axis=1)[:, 0], ids, values


def score_tokens(ids: Sequence[int], chunks: Iterable[tuple[jax.Array, int]], programs: Programs, n_probs: int) -> Score:
    """The score of a text.

    Args:
        chunks: logits f32[1, T, V] after the text's tokens, piece by piece, and how many of each piece count.

    Raises:
        LogitsError: the logits are not numbers.
    """
    logprobs: list[float | None] = [None]
    likely: list[Likely] = [()]
    for logits, count in chunks:
        _, length, size = logits.shape
        targets = np.zeros(length, np.int32)
        after = ids[len(logprobs) : len(logprobs) + count]  # the last token's logits are of a token that is not there
        targets[: len(after)] = after
        most = min(size, max(n_probs, REPORTED)) if n_probs else 0
        found, tokens, values = (np.asarray(x)[: len(after)] for x in programs(_report, logits[0], jnp.asarray(targets), most=most))
        if np.isnan(found).any():
            raise LogitsError
        logprobs += found.tolist()
        likely += [tuple(zip(a.tolist(), b.tolist(), strict=True)) for a, b in zip(tokens[:, :n_probs], values[:, :n_probs], strict=True)]
    return Score(list(ids), logprobs, likely if n_probs else [])
