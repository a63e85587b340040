"""Importance matrices: run a text and add up the squares of what every matrix is multiplied with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jaxllama.formats.importance import ImportanceMatrix

from ..names import tells_nearest
from .perplexity import Estimate, estimate
from .windows import batches, log_probs, read_watched, split_windows, with_bos

if TYPE_CHECKING:
    from jaxllama.api import Model, Prompt


@tells_nearest
def importance_matrix(
    model: Model,
    tokens: Prompt,
    *,
    n_ctx: int = 512,
    skip: int = 0,
    chunks: int | None = None,
    dataset: str = "",
    process_output: bool = False,
    score: bool = True,
    into: ImportanceMatrix | None = None,
    progress: Callable[[int, Estimate | None, ImportanceMatrix], None] = lambda window, so_far, matrix: None,
) -> ImportanceMatrix:
    """The importance matrix of a model for a text.

    Args:
        tokens: the text, or its ids; chunks of `n_ctx` tokens are evaluated independently.
        skip: number of chunks to skip at the start.
        chunks: maximum number of chunks; None or -1: all.
        dataset: name of the text, which the file will record.
        process_output: collect data for the output matrix too.
        score: also measure the perplexity, as `perplexity` does.
        into: an importance matrix to add to, of the same chunk length.
        progress: called after each chunk with its number, the perplexity so far, and the matrix so far.

    Raises:
        ValueError: the text is too short, or an activation is not finite.

    Source: llama.cpp's tools/imatrix.
    """
    windows = split_windows(model.encode(tokens)[skip * n_ctx :], n_ctx, limit=chunks)
    matrix = into if into is not None else ImportanceMatrix(chunk_size=n_ctx)
    nll: list[np.ndarray] = []
    first, done = n_ctx // 2, 0
    for group in batches(windows, model.n_batch):
        x, pieces = read_watched(model, with_bos(model, group), output=process_output and "output" in model.params)
        for seen in pieces:
            _add(matrix, seen)
        for one, window in zip(x, group, strict=True):
            if score:
                nll.append(-log_probs(model, one[first : n_ctx - 1], window[first + 1 :]))
            done += 1
            matrix.chunks += 1
            progress(done, estimate(np.concatenate(nll)) if score else None, matrix)
    if dataset:
        matrix.datasets.append(dataset)
    return matrix


def _add(matrix: ImportanceMatrix, seen: dict) -> None:
    for name, (sums, counts) in seen.items():
        sums, counts = np.asarray(sums), np.asarray(counts)
        if not np.isfinite(sums).all():
            raise ValueError(f"the input of '{name}' has NaN or infinite values, which no importance matrix can hold")
        matrix.add(f"{name}.weight", np.atleast_2d(sums), np.atleast_1d(counts))
