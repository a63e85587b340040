"""Perplexity: e to the mean negative log probability of a text's tokens, as llama.cpp measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, sqrt
from typing import TYPE_CHECKING

import numpy as np

from ..names import tells_nearest
from .windows import batches, log_probs, read, split_windows, with_bos

if TYPE_CHECKING:
    from jaxllama.api import Model, Prompt


@dataclass(frozen=True)
class Estimate:
    """A mean negative log probability (nats a token) over `count` tokens, with its standard error, and the perplexity it makes."""

    nll: float
    error: float
    count: int

    @property
    def value(self) -> float:
        return exp(self.nll)

    @property
    def value_error(self) -> float:
        return self.error * self.value


def estimate(nll: np.ndarray) -> Estimate:
    """The estimate from single values."""
    mean = float(nll.mean(dtype=np.float64))
    variance = float(np.square(nll, dtype=np.float64).mean()) - mean * mean
    return Estimate(mean, sqrt(variance / (len(nll) - 1)) if variance > 0 and len(nll) > 1 else 0.0, len(nll))


@tells_nearest
def perplexity(
    model: Model,
    tokens: Prompt,
    *,
    n_ctx: int = 512,
    chunks: int | None = None,
    stride: int = 0,
    progress: Callable[[int, Estimate], None] = lambda window, so_far: None,
) -> Estimate:
    """The perplexity of a text.

    The text is split into chunks of `n_ctx` tokens, each evaluated on its own with BOS as its first token; the second half of each chunk is scored, so that
    every scored token has context. With a stride the chunks overlap, and the last `stride` tokens of each are scored.

    Args:
        tokens: the text, or its ids.
        chunks: maximum number of chunks; None or -1: all.
        stride: tokens from the start of a chunk to the start of the next; 0: no overlap.
        progress: called after each chunk with its number, from 1, and the estimate so far.

    Raises:
        ValueError: the text is too short.

    Source: llama.cpp's tools/perplexity.
    """
    tokens = model.encode(tokens)
    found: list[np.ndarray] = []
    if stride > 0:
        if stride >= n_ctx:
            raise ValueError(f"a stride of {stride} tokens needs chunks (n_ctx) of more than {stride} tokens, not {n_ctx}")
        split_windows(tokens, n_ctx)  # for its complaints
        starts = range(0, len(tokens) - n_ctx, stride)
        windows = np.stack([np.asarray(tokens[s : s + n_ctx], np.int32) for s in starts[: chunks if chunks is not None and chunks >= 0 else None]])
        first = n_ctx - stride - 1
    else:
        windows = split_windows(tokens, n_ctx, limit=chunks)
        first = n_ctx // 2
    for group in batches(windows, model.n_batch):
        x = read(model, group if stride > 0 else with_bos(model, group))  # llama.cpp forgets the first token when it strides
        for one, window in zip(x, group, strict=True):
            found.append(-log_probs(model, one[first : n_ctx - 1], window[first + 1 :]))
            progress(len(found), estimate(np.concatenate(found)))
    return estimate(np.concatenate(found))
