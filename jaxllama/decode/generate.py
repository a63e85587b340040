"""From prompts to streams of tokens: the host's side of decoding."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxllama.models import Config, ContextFull, DecodeState, Params, cache_dtype, check_held, given_away, init_state

from .constraint import Ready
from .grammars import Running
from .history import start_history
from .loop import Run, Stop, begin, jit_choose, jit_decode_loop
from .programs import Programs
from .sampling import Sampling
from .shapes import LOOP_TOKENS, bucket_for, padded_chunks
from .step import jit_prefill, jit_step
from .words import Words

Adjust = Callable[[int, Sequence[int], np.ndarray], "np.ndarray | None"]
"""(slot, its tokens so far, logits f32[V] of the next) -> logits f32[V] instead, or None to stop."""

DISPATCH_SECONDS = 0.1  # a dispatch is made about so long, so that text flows smoothly and the host costs little


class LogitsError(ValueError):
    """Nothing can be chosen: a model's logits are not numbers, or biases and samplers have left no token."""

    def __init__(self, reason: Stop = Stop.BROKEN, who: str = "the logit biases and samplers") -> None:
        """Why, and with `Stop.FORBIDDEN` who has left no token."""
        super().__init__(
            f"{who} left no token to choose from, or made logits that are not numbers"
            if reason is Stop.FORBIDDEN
            else "the model's logits are not numbers; its file, or the copy of its weights in the cache folder, may be damaged: "
            "--check-tensors, or load(..., check_tensors=True), looks at every number of both"
        )


def check_chosen(run: Run) -> None:
    """Raise a LogitsError if there was nothing to choose from in a slot."""
    for reason in (Stop.BROKEN, Stop.FORBIDDEN):
        if (np.asarray(run.reason) == reason).any():
            raise LogitsError(reason)


@dataclass
class Timings:
    """Seconds and tokens of a generation. Compiling is counted apart, and waiting for other threads is not counted."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    decode_tokens: int = 0
    decode_seconds: float = 0.0

    @property
    def prompt_rate(self) -> float:
        """Prompt tokens a second."""
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds else 0.0

    @property
    def decode_rate(self) -> float:
        """Generated tokens a second, of all slots together; the first token of each slot belongs to the prompt."""
        return self.decode_tokens / self.decode_seconds if self.decode_seconds else 0.0


@dataclass
class Tokens:
    """What one dispatch brought: for each slot its new tokens and their log-probabilities, and where the slots stand now; and for each token the most likely
    ones there, with their log-probabilities, where somebody asked."""

    tokens: list[list[int]]
    logprobs: list[list[float]]
    reasons: list[Stop]
    likely: list[list[list[tuple[int, float]]]]


@dataclass
class Session:
    """A state with the prompts it has read; `prefill_prompts` makes it, `stream_tokens` continues it."""

    state: DecodeState
    logits: jax.Array  # f32[B, V], after the last token of each slot
    timings: Timings = field(default_factory=Timings)
    tokens: list[list[int]] = field(default_factory=list)  # all that each slot has read and made; what is beyond its position is not in the cache yet
    owner: weakref.ref[Programs] | None = field(default=None, repr=False)  # of the model whose session it is

    def __repr__(self) -> str:
        return f"Session({[len(tokens) for tokens in self.tokens]} tokens, {self.state!r})"

    def is_of(self, programs: Programs) -> bool:
        """Whether it is of the model with these programs: another one's cache means nothing to it."""
        return self.owner is not None and self.owner() is programs

    def has(self, *, n_ctx: int, cache_type: str) -> bool:
        """Whether its caches are of this size and type."""
        return self.state.n_ctx == n_ctx and all(leaf.dtype == cache_dtype(cache_type) for leaf in jax.tree.leaves(self.state.memories))


def prefill_prompts(
    params: Params,
    prompts: Sequence[Sequence[int]],
    *,
    config: Config,
    programs: Programs,
    n_ctx: int,
    n_batch: int = 512,
    cache_type: str = "f16",
    kept: Session | None = None,
) -> Session:
    """Read prompts of any lengths, one a slot, in chunks.

    Args:
        kept: of one slot, with the same sizes: what its cache and the only prompt have in common is not read again. It is used up.
            Where it has read exactly this prompt, and nothing was generated yet, nothing is read.

    Raises:
        ContextFull: a prompt has more than `n_ctx` tokens.
        ValueError: a prompt is empty; or a kept session is another model's, or does not belong to exactly one prompt.
    """
    if kept is not None and (len(prompts) != 1 or kept.state.slots != 1):
        raise ValueError(f"a kept session has one slot and continues one prompt, not {kept.state.slots} slots and {len(prompts)} prompts")
    if kept is not None and not kept.is_of(programs):
        raise ValueError("the kept session belongs to another model")
    if kept is not None and not kept.has(n_ctx=n_ctx, cache_type=cache_type):
        raise ValueError(f"the kept session has a context of {kept.state.n_ctx}, or a type of cache, that is not the model's now ({n_ctx}, {cache_type})")
    longest = max(map(len, prompts))
    if longest > n_ctx:
        raise ContextFull(f"the prompt has {longest} tokens, the context holds {n_ctx}; shorten the prompt or raise n_ctx (-c)")
    if any(len(p) == 0 for p in prompts):
        raise ValueError("a prompt is empty: it needs at least one token")
    slots = len(prompts)
    padding = bucket_for(min(n_ctx, n_batch), n_batch)  # of the largest chunk there can be, whatever this prompt's length: the loop compiles for this size
    state, unread = None, prompts
    if kept is not None:
        with programs.turn():  # others may be using it up
            _check_unused(kept)
            if kept.tokens[0] == list(prompts[0]) and int(kept.state.positions[0]) == longest:
                return replace(kept, timings=Timings())
            common = _in_common(kept, prompts[0])
            if kept.state.shortens or common == int(kept.state.positions[0]):
                state, unread = replace(kept.state, positions=jnp.full(1, common, jnp.int32)), [prompts[0][common:]]
    if state is None:
        state = init_state(config, slots, n_ctx=n_ctx, padding=padding, cache_type=cache_type)
    logits, seconds = None, 0.0
    for tokens, counts in padded_chunks(unread, n_batch):
        with programs.turn() as turn:
            if kept is not None and logits is None:
                _check_unused(kept)
            new, state = programs(jit_prefill, params, state, jnp.asarray(tokens), jnp.asarray(counts), config=config)
            logits = new if logits is None else jnp.where(jnp.asarray(counts > 0)[:, None], new, logits)
            jax.block_until_ready(logits)
        seconds += turn.seconds
    assert logits is not None
    return Session(state, logits, Timings(prompt_tokens=sum(map(len, unread)), prompt_seconds=seconds), [list(p) for p in prompts], weakref.ref(programs))


def _check_unused(session: Session) -> None:
    """Raises ValueError where another call has continued it."""
    if given_away(session.state) or len(session.tokens) != 1:
        raise ValueError("the kept session was used up by the call that continued it; keep the session that the call returned")


def _in_common(kept: Session, prompt: Sequence[int]) -> int:
    """How many of a prompt's first tokens are in the cache; never all of them, since the last one's logits are wanted."""
    cached = kept.tokens[0][: int(kept.state.positions[0])]
    same = next((n for n, (a, b) in enumerate(zip(cached, prompt, strict=False)) if a != b), min(len(cached), len(prompt)))
    return min(same, len(prompt) - 1)


def stream_tokens(
    params: Params,
    session: Session,
    sampling: Sampling,
    *,
    words: Words,
    limits: Sequence[int],
    config: Config,
    programs: Programs,
    grammars: Running | None = None,
    report: str = "",
    ended: Collection[int] = (),
    adjust: Adjust | None = None,
) -> Iterator[Tokens]:
    """Generate from where the prompts ended until every slot has stopped.

    The session's state and timings are kept current; its state always belongs to the session, never to the caller.

    Args:
        words: the vocabulary.
        limits: for each slot how many tokens are wanted.
        grammars: the slots' grammars.
        report: "before" or "after" the samplers: the most likely tokens there.
        ended: slots that are to stop although nothing on the device says so; the caller adds to it between two dispatches.
        adjust: changes logits on the host before anything else sees them; every token is then a dispatch of its own.

    Raises:
        LogitsError: there is nothing to choose from in a slot.
    """
    if any(limit < 1 for limit in limits):
        raise ValueError(f"limits must be at least 1, not {list(limits)}")
    history = start_history(session.tokens, sampling, n_vocab=config.n_vocab, room=session.state.n_ctx + 1)
    run = begin(session.logits, history, jnp.asarray(limits, jnp.int32), None if grammars is None else grammars.constraint)
    steps, timings = 1, session.timings
    first = True
    while (np.asarray((run := _without(run, ended)).reason) == Stop.RUNNING).any() or first:
        if adjust is not None and not bool(run.unsampled):
            with programs.turn():
                check_held(session.state)
                if not bool(run.fresh):
                    logits, session.state = programs(
                        jit_step, params, session.state, run.token, jnp.asarray(np.asarray(run.reason) == Stop.RUNNING), config=config
                    )
                    run = replace(run, logits=logits)
            run = replace(_adjusted(run, session, adjust), fresh=jnp.asarray(True))
        with programs.turn() as turn:
            check_held(session.state)
            if grammars is not None and grammars.outdated:
                run = _settled(run, grammars, [[]] * len(session.tokens))
            tables = None if grammars is None else grammars.device
            if bool(run.unsampled):
                before = np.asarray(run.reason) == Stop.RUNNING
                run, choice = programs(jit_choose, run, session.state, sampling, words, tables, report=report, whole=True)
                counts = (before & np.asarray(choice.allowed)).astype(int)
                brought = (np.asarray(x)[:, None] for x in (run.token, choice.logprobs, choice.likely, choice.likely_logprobs))
            else:
                emitted, session.state, run = programs(
                    jit_decode_loop, params, session.state, run, sampling, words, tables, jnp.int32(steps), config=config, report=report
                )
                counts = np.asarray(jax.block_until_ready(emitted).counts)
                brought = (np.asarray(x) for x in (emitted.tokens, emitted.logprobs, emitted.likely, emitted.likely_logprobs))
            check_chosen(run)
            tokens, logprobs, likely, likely_logprobs = brought
            made = [row[:n].tolist() for row, n in zip(tokens, counts, strict=True)]
            _remember(session, made)
            run = _settled(run, grammars, made)
        if not first:  # the first token belongs to the prompt
            timings.decode_seconds += turn.seconds
            timings.decode_tokens += int(counts.sum())
            steps = 1 if adjust is not None else int(np.clip(DISPATCH_SECONDS * max(counts.max(), 1) / max(turn.seconds, 1e-6), 1, LOOP_TOKENS))
        first = first and bool(run.unsampled)
        yield _tokens(made, logprobs, run, likely, likely_logprobs)


def _without(run: Run, ended: Collection[int]) -> Run:
    """The run with these slots stopped."""
    if not ended:
        return run
    reasons = np.array(run.reason)
    over = [slot for slot in ended if reasons[slot] == Stop.RUNNING]
    if not over:
        return run
    reasons[over] = Stop.CALLER
    return replace(run, reason=jnp.asarray(reasons))


def _adjusted(run: Run, session: Session, adjust: Adjust) -> Run:
    """The run with the logits that its caller wants instead, and without the slots that he stops."""
    logits, reasons = np.array(run.logits), np.array(run.reason)
    for slot in np.flatnonzero(reasons == Stop.RUNNING):
        if np.isnan(logits[slot]).any():
            raise LogitsError  # the model's own
        wanted = adjust(int(slot), session.tokens[slot], logits[slot])
        if wanted is None:
            reasons[slot] = Stop.CALLER
        else:
            logits[slot] = _checked(wanted, logits.shape[1:])
    return replace(run, logits=jnp.asarray(logits), reason=jnp.asarray(reasons))


def _checked(wanted: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What a logits processor returned.

    Raises:
        TypeError: it is not an array of as many real numbers as there are tokens.
        LogitsError: they leave nothing to choose from.
    """
    found = np.asarray(wanted)
    real = found.dtype.kind in "fiu" or found.dtype.name == "bfloat16"
    if not real or found.shape != shape:
        made = f"{found.dtype}{list(found.shape)}" if hasattr(wanted, "shape") else repr(wanted)[:60]
        raise TypeError(f"the logits processor returned {made}, expected float32{list(shape)}, a logit for every token, or None to stop")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not found.max() < np.inf or found.max() == -np.inf:
        raise LogitsError(Stop.FORBIDDEN, "the logits processor")
    return found


def _tokens(made: list[list[int]], logprobs: np.ndarray, run: Run, likely: np.ndarray, likely_logprobs: np.ndarray) -> Tokens:
    found = [
        [list(zip(ids.tolist(), values.tolist(), strict=True)) for ids, values in zip(a[: len(m)], b[: len(m)], strict=True)]
        for m, a, b in zip(made, likely, likely_logprobs, strict=True)
    ]
    reasons = [Stop(int(r)) for r in np.asarray(run.reason)]
    return Tokens(made, [row[: len(m)].tolist() for m, row in zip(made, logprobs, strict=True)], reasons, found)


def _settled(run: Run, grammars: Running | None, made: Sequence[Sequence[int]]) -> Run:
    """The run with everything its grammars need for the next token."""
    if grammars is None:
        return run
    for slot, tokens in enumerate(made):
        grammars.take(slot, tokens)
    assert run.constraint is not None
    grammars.constraint = run.constraint
    running = np.asarray(run.reason) == Stop.RUNNING
    grammars.settle(running.tolist())
    dead = jnp.asarray(running) & (grammars.constraint.ready == Ready.DEAD_END)
    return replace(run, constraint=grammars.constraint, reason=jnp.where(dead, Stop.GRAMMAR, run.reason))


def _remember(session: Session, made: Sequence[Sequence[int]]) -> None:
    for tokens, new in zip(session.tokens, made, strict=True):
        tokens.extend(new)
