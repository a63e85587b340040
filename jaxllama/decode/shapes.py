"""The shapes that programs are compiled for, all decided here: prompt buckets, the tokens of a dispatch, the padding of a context."""

from __future__ import annotations

from collections.abc import Iterator

PROMPT_BUCKETS = (8, 32, 128, 512)
FILLED = 0.75  # a chunk is padded to a bucket when it fills this much of it; else it is cut into smaller ones
LOOP_TOKENS = 32  # the most tokens a slot can get in one dispatch of the decode loop


def buckets(n_batch: int) -> tuple[int, ...]:
    """The prompt buckets when chunks have at most `n_batch` tokens."""
    if n_batch < 1:
        raise ValueError(f"a batch needs at least one token, not {n_batch}")
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
