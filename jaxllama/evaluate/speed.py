"""How fast a model reads and writes: tokens a second, compiling left out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.decode import begin, fork, jit_decode_loop, jit_prefill, make_sampling, start_history
from jaxllama.decode.shapes import LOOP_TOKENS, bucket_for, padded_chunks
from jaxllama.models import DecodeState, init_state
from jaxllama.models.parameters import leaves

if TYPE_CHECKING:
    from jaxllama.api import Model

_TOKENS = 256  # random prompts use the first tokens of the vocabulary


@dataclass(frozen=True)
class SpeedTest:
    """What to time: reading `prompt` tokens and then writing `generated`, either of which may be 0, after `depth` tokens that are not timed."""

    prompt: int
    generated: int
    depth: int = 0
    slots: int = 1

    @property
    def name(self) -> str:
        """llama-bench's: pp512, tg128, pp512+tg128, and @ d1024 for a depth."""
        parts = [f"pp{self.prompt}"] * (self.prompt > 0) + [f"tg{self.generated}"] * (self.generated > 0)
        return "+".join(parts) + (f" @ d{self.depth}" if self.depth else "")

    @property
    def tokens(self) -> int:
        """Tokens of one run, of all slots."""
        return self.slots * (self.prompt + self.generated)

    @property
    def room(self) -> int:
        """Tokens a context needs for it."""
        return self.depth + self.prompt + self.generated + LOOP_TOKENS


@dataclass(frozen=True)
class Speed:
    """Seconds of each run of a test."""

    test: SpeedTest
    seconds: tuple[float, ...]

    @property
    def rates(self) -> list[float]:
        """Tokens a second."""
        return [self.test.tokens / s for s in self.seconds]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.rates)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.rates) if len(self.rates) > 1 else 0.0


def measure(model: Model, test: SpeedTest, *, repeats: int = 5, warmup: bool = True) -> Speed:
    """Time a test.

    Args:
        model: with room for `test.room` tokens.
        repeats: runs that count.
        warmup: make a run before them that does not.

    Raises:
        ValueError: the test asks for nothing, or for more than the context holds.
    """
    if repeats < 1:
        raise ValueError(f"a test needs at least one run, not {repeats}")
    run = stopwatch(model, test)
    return Speed(test, tuple([run() for _ in range(repeats + warmup)][warmup:]))


def stopwatch(model: Model, test: SpeedTest) -> Callable[[], float]:
    """Read what comes before a test; the function returned runs the test once and returns its seconds. It can run as often as one likes.

    Raises:
        ValueError: as `measure`.
    """
    if test.prompt < 0 or test.generated < 0 or test.depth < 0 or test.prompt + test.generated == 0 or test.slots < 1:
        raise ValueError(f"a test needs tokens to read or to write, and at least one slot, not {test}")
    if test.room > model.n_ctx:
        raise ValueError(f"{test.name} needs a context of {test.room} tokens, this one has {model.n_ctx}")
    rng = np.random.default_rng(0)
    depth, prompt = (rng.integers(0, min(_TOKENS, model.config.n_vocab), (test.slots, n)).astype(np.int32) for n in (test.depth, test.prompt))
    state = init_state(model.config, test.slots, n_ctx=model.n_ctx, padding=bucket_for(model.n_ctx, model.n_batch), cache_type=model.cache_type)
    start_state = jax.block_until_ready(_read(model, state, depth))

    def run() -> float:
        state = jax.block_until_ready(fork(start_state))
        with model.programs.turn() as turn:
            state = jax.block_until_ready(_read(model, state, prompt))
            _write(model, state, test.generated)
        return turn.seconds

    return run


def _read(model: Model, state: DecodeState, tokens: np.ndarray) -> DecodeState:
    for padded, counts in padded_chunks(tokens, model.n_batch):
        _, state = model.programs(jit_prefill, model.params, state, jnp.asarray(padded), jnp.asarray(counts), config=model.config)
    return state


def _write(model: Model, state: DecodeState, count: int) -> None:
    slots = state.slots
    sampling = make_sampling(slots, temperature=0.0, ignore_end=True)
    history = start_history([[]] * slots, sampling, n_vocab=model.config.n_vocab, room=model.n_ctx + 1)
    run = begin(jnp.zeros((slots, model.config.n_vocab)), history, jnp.full(slots, 2**30, jnp.int32))
    done = 0
    while done < count:
        steps = jnp.int32(min(LOOP_TOKENS, count - done))
        emitted, state, run = model.programs(jit_decode_loop, model.params, state, run, sampling, model.words, None, steps, config=model.config)
        done += int(emitted.counts[0])


def weights_read(model: Model) -> int:
    """Bytes of packed matrices that one token touches: all but the embedding, of which it takes a row, where the output has a matrix of its own."""
    total = sum(leaf.nbytes for _, leaf in leaves(model.params))
    return total - (model.params["token_embd"].nbytes if "output" in model.params else 0)


def memory_bandwidth(nbytes: int = 2**28, repeats: int = 5) -> float:
    """Bytes a second with which XLA reads an array larger than the caches, at best."""
    x = jnp.ones(nbytes // 4, jnp.float32)
    total = jax.jit(jnp.sum)
    total(x).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        total(x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return nbytes / best
