"""How fast a model reads and writes: tokens a second, compiling left out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.decode import begin, check_chosen, fork, jit_decode_loop, jit_prefill, make_sampling, start_history
from jaxllama.decode.shapes import LOOP_TOKENS, bucket_for, padded_chunks
from jaxllama.models import DecodeState, init_state
from jaxllama.models.parameters import leaves
from jaxllama.quant import QTensor, from_blocks, qmatmul
from jaxllama.quant.block import LANES

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
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    run = stopwatch(model, test)
    return Speed(test, tuple([run() for _ in range(repeats + warmup)][warmup:]))


def stopwatch(model: Model, test: SpeedTest) -> Callable[[], float]:
    """Read what comes before a test; the function returned runs the test once and returns its seconds. It can run as often as one likes.

    Raises:
        ValueError: as `measure`.
        LogitsError: by the function returned, where the model's logits are not numbers.
    """
    if test.prompt < 0 or test.generated < 0 or test.depth < 0 or test.prompt + test.generated == 0 or test.slots < 1:
        raise ValueError(f"a test needs prompt tokens or generated tokens, and at least one slot, not {test}")
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
    run = replace(run, fresh=jnp.asarray(False))  # every token costs a step
    done = 0
    while done < count:
        steps = jnp.int32(min(LOOP_TOKENS, count - done))
        emitted, state, run = model.programs(jit_decode_loop, model.params, state, run, sampling, model.words, None, steps, config=model.config)
        check_chosen(run)
        done += int(emitted.counts[0])


def weights_read(model: Model) -> int:
    """Bytes of packed matrices that one token touches: all but the embedding, of which it takes a row, where the output has a matrix of its own."""
    total = sum(leaf.nbytes for _, leaf in leaves(model.params))
    return total - (model.params["token_embd"].nbytes if "output" in model.params else 0)


LARGEST_READ = 2**28  # bytes; more than the caches of most processors hold


def reader(nbytes: int) -> Callable[[], float]:
    """Make about `nbytes` bytes of weights, `LARGEST_READ` at most; the function returned reads them once and returns bytes a second.

    It reads as a token does: F32 matrices times one row, by the kernels and threads of a model's products. Nothing has to be unpacked, so reading is all there
    is to do. XLA's own sum over the same bytes counts where it is faster, as on processors without a kernel. Weights that stay in the caches do so in
    both, since they are as many bytes.
    """
    nbytes = min(nbytes, LARGEST_READ)
    columns = 1024
    rows = max(LANES, min(nbytes // (4 * columns), 8192) // LANES * LANES)
    height = max(1, round(nbytes / (4 * columns * rows)))
    matrix = np.ones((rows, columns), np.float32).view(np.uint8)
    weight = from_blocks((matrix for _ in range(height)), "F32", stack=height)
    x = jnp.ones((1, columns), jnp.float32)

    @jax.jit
    def multiply(weight: QTensor, x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, height, lambda i, total: total + qmatmul(x, weight, i).sum(), jnp.float32(0))

    @jax.jit
    def add(weight: QTensor, x: jax.Array) -> jax.Array:
        return sum((part.sum() for part in weight.parts), x[0, 0])

    def seconds(way: Callable[[QTensor, jax.Array], jax.Array]) -> float:
        start = time.perf_counter()
        way(weight, x).block_until_ready()
        return time.perf_counter() - start

    for way in (multiply, add):
        seconds(way)  # compiles
    return lambda: weight.nbytes / min(seconds(multiply), seconds(add))
