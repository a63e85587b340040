"""The shapes that programs are compiled for, all decided here: prompt buckets, the tokens of a dispatch, the padding of a context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

PROMPT_BUCKETS = (8, 32, 128, 512)
FILLED = 0.75  # a chunk is padded to a bucket when it fills this much of it; else it is cut into smaller ones
LOOP_TOKENS = 32  # the most tokens a slot can get in one dispatch of the decode loop


def buckets(n_batch: int) -> tuple[int, ...]:
    """The prompt buckets when chunks have at most `n_batch` tokens."""
    if n_batch < 1:
        raise ValueError(f"n_batch must be at least one token, not {n_batch}")
    return (*(b for b in PROMPT_BUCKETS if b < n_batch), n_batch)


def bucket_for(length: int, n_batch: int = PROMPT_BUCKETS[-1]) -> int:
    """The smallest bucket that holds `length` tokens."""
    return next(b for b in buckets(n_batch) if b >= min(length, n_batch))


def chunks(length: int, n_batch: int = PROMPT_BUCKETS[-1]) -> Iterator[tuple[int, int, int]]:
    """(start, stop, bucket) of the pieces in which a prompt of `length` tokens runs."""
    start = 0
    while start < length:
        left = min(length - start, n_batch)
        bucket = bucket_for(left, n_batch)
        if left < FILLED * bucket:
            bucket = max((b for b in buckets(n_batch) if b <= left), default=bucket)
        stop = start + min(left, bucket)
        yield start, stop, bucket
        start = stop


def padded_chunks(rows: Sequence[Sequence[int]] | np.ndarray, n_batch: int = PROMPT_BUCKETS[-1]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token rows of any lengths in pieces that programs are compiled for: tokens int32[B, bucket], padded with zeros, and how many of each count, int32[B]."""
    lengths = np.asarray([len(row) for row in rows])
    for start, stop, bucket in chunks(int(lengths.max()), n_batch):
        tokens = np.zeros((len(rows), bucket), np.int32)
        for padded, row in zip(tokens, rows, strict=True):
            piece = row[start:stop]
            padded[: len(piece)] = piece
        yield tokens, np.clip(lengths - start, 0, stop - start).astype(np.int32)
