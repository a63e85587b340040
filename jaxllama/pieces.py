"""What a generation gives: pieces of text as they come, and the whole result."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from .decode import Stop, Timings, Tokens
from .text import Tokenizer
from .text.stop import StopFinder


@dataclass(frozen=True)
class Piece:
    """A part of a streamed generation.

    Attributes:
        text: what can be shown now; may be empty, or belong to tokens before this one (a character is never cut in two).
        token: the token's id; None for the last piece.
        logprob: log-probability of the token, before the samplers.
        reason: on the last piece, why generation stopped: "end" (an end-of-generation token), "limit" (n_predict), "context" (it is full), "stop" (a stop
            string, or whoever changes the logits) or "grammar" (the text is incomplete, but the grammar allows no further token).
        timings: on the last piece.
        likely: with `n_probs`: the most likely tokens at this position, with their log-probabilities.
    """

    text: str
    token: int | None = None
    logprob: float | None = None
    reason: str | None = None
    timings: Timings | None = None
    likely: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Result:
    """A finished generation.

    Attributes:
        text: the continuation, without the prompt.
        tokens, logprobs: the generated tokens, without the end-of-generation token, and their log-probabilities.
        reason: as in `Piece`.
        timings: of the whole call; slots of a batch share it.
        likely: with `n_probs`: for each token the most likely ones at its position.
    """

    text: str
    tokens: list[int]
    logprobs: list[float]
    reason: str
    timings: Timings = field(repr=False)
    likely: list[tuple[tuple[int, float], ...]] = field(default_factory=list, repr=False)


class PieceWriter:
    """Turns one slot's tokens into pieces."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], shown: Collection[int] = (), n_probs: int = 0):
        self.decoder, self.stops = tokenizer.stream(shown=shown), StopFinder(stop)
        self.finished, self._n_probs = False, n_probs

    def take(self, step: Tokens, slot: int, timings: Timings) -> Iterator[Piece]:
        if self.finished:
            return
        tokens, reason = step.tokens[slot], step.reasons[slot]
        for i, (token, logprob, likely) in enumerate(zip(tokens, step.logprobs[slot], step.likely[slot], strict=True)):
            if reason is Stop.END and i == len(tokens) - 1:
                break  # the token that ends the text is no part of it
            text = self.stops.push(self.decoder.push(token))
            yield Piece(text, token, logprob, likely=tuple(likely[: self._n_probs]))
            if self.stops.found is not None:
                self.finished = True
                yield Piece("", reason="stop", timings=timings)
                return
        if reason is not Stop.RUNNING:
            self.finished = True
            rest = self.stops.push(self.decoder.flush()) + self.stops.flush()
            yield Piece(rest, reason="stop" if reason is Stop.CALLER else reason.name.lower(), timings=timings)


def result_of(pieces: Sequence[Piece]) -> Result:
    """The result of a generation that has ended."""
    made = [p for p in pieces if p.token is not None]
    last = pieces[-1]
    assert last.reason is not None
    assert last.timings is not None
    return Result(
        text="".join(p.text for p in pieces),
        tokens=[p.token for p in made if p.token is not None],
        logprobs=[p.logprob for p in made if p.logprob is not None],
        reason=last.reason,
        timings=last.timings,
        likely=[p.likely for p in made] if any(p.likely for p in made) else [],
    )
