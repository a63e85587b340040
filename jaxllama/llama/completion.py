"""Text completions in llama-cpp-python's shapes."""

from __future__ import annotations

import codecs
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jaxllama.answers import FINISH
from jaxllama.decode.chain import REPORTED

if TYPE_CHECKING:
    from jaxllama.pieces import Piece

    from .saving import Saving

MOST_LIKELY = REPORTED


@dataclass
class Asked:
    """A request for a text.

    Attributes:
        prompt: text or ids, and `ids` what becomes of it.
        limit: tokens; at most as many as the context has room for.
        logprobs: how many likely tokens to name; None for no log-probabilities.
        after: text that follows, where the model has no tokens for infilling.
        empty: the prompt is an empty text. Its BOS token counts as the first of the completion, as in llama-cpp-python, so there is no space after it.
        options: for `Model.stream`.
    """

    prompt: str | Sequence[int]
    ids: list[int]
    limit: int
    model: str
    logprobs: int | None = None
    echo: bool = False
    after: str = ""
    empty: bool = False
    usage: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class _Report:
    """The log-probabilities of tokens, and where their texts begin."""

    def __init__(self, llama: Saving, offset: int):
        self._llama, self.offset = llama, offset
        self._decode = codecs.getincrementaldecoder("utf-8")("ignore").decode  # a character counts with the token that ends it
        self.tokens: list[str] = []
        self.offsets: list[int] = []
        self.values: list[float | None] = []
        self.likely: list[dict[str, float] | None] = []

    def following(self) -> _Report:
        """An empty one for the tokens that come next."""
        found = _Report(self._llama, self.offset)
        found._decode = self._decode
        return found

    def _text(self, token: int) -> str:
        return self._llama.vocabulary.piece(token).decode("utf-8", "ignore")

    def add(self, token: int, value: float | None, likely: Sequence[tuple[int, float]]) -> None:
        text = self._text(token)
        self.tokens.append(text)
        self.offsets.append(self.offset)
        self.offset += len(self._decode(self._llama.vocabulary.piece(token)))
        self.values.append(value)
        self.likely.append(None if value is None else {**{self._text(t): v for t, v in likely}, text: value})

    def shape(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "text_offset": self.offsets, "token_logprobs": self.values, "top_logprobs": self.likely}


def _head(asked: Asked) -> dict[str, Any]:
    return {"id": f"cmpl-{uuid.uuid4()}", "object": "text_completion", "created": int(time.time()), "model": asked.model}


def _choice(text: str, report: dict[str, Any] | None = None, reason: str | None = None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": report, "finish_reason": reason}


def _usage(asked: Asked, made: int) -> dict[str, int]:
    made += asked.empty
    return {"prompt_tokens": len(asked.ids), "completion_tokens": made, "total_tokens": len(asked.ids) + made}


def _prompt_text(llama: Saving, asked: Asked) -> str:
    return asked.prompt if isinstance(asked.prompt, str) else llama.detokenize(asked.ids).decode("utf-8", "ignore")


def _pieces(llama: Saving, asked: Asked, seed: int) -> Iterator[Piece]:
    """The text's pieces; the cache is asked before and gets the state after."""
    if llama.cache is not None:
        llama.recall(asked.ids)
    made: list[int] = []
    for piece in llama.pieces(asked.ids, n_predict=asked.limit, n_probs=asked.logprobs or 0, seed=seed, **asked.options):
        made += [] if piece.token is None else [piece.token]
        yield piece
    if llama.cache is not None:
        llama.cache[[*asked.ids, *made]] = llama.save_state()


def complete(llama: Saving, asked: Asked, seed: int) -> dict[str, Any]:
    """The whole completion."""
    report = _Report(llama, 0 if asked.echo else len(_prompt_text(llama, asked)))
    if asked.echo and asked.logprobs is not None:
        score = llama.model.score(asked.ids, n_probs=asked.logprobs)
        bos = asked.ids[0] == llama.token_bos()  # whose text nobody sees
        for n in range(bos, len(asked.ids)):
            report.add(asked.ids[n], None if n == bos else score.logprobs[n], score.likely[n] if score.likely else ())
    text, made, reason = "", 0, "length"
    for piece in _pieces(llama, asked, seed):
        text += piece.text
        if piece.token is not None:
            made += 1
            report.add(piece.token, piece.logprob, piece.likely)
        if piece.reason is not None:
            reason = FINISH[piece.reason]
    text = text.removeprefix(" ") if asked.empty else text
    text = (_prompt_text(llama, asked) if asked.echo else "") + text + asked.after
    return _head(asked) | {"choices": [_choice(text, report.shape() if asked.logprobs is not None else None, reason)], "usage": _usage(asked, made)}


def stream(llama: Saving, asked: Asked, seed: int) -> Iterator[dict[str, Any]]:
    """The completion in chunks; the last has no text and the reason."""
    head, made, offset, held = _head(asked), 0, len(_prompt_text(llama, asked)), _Report(llama, 0)
    held.offset = offset
    if asked.empty:
        yield head | {"choices": [_choice("")]}
    for piece in _pieces(llama, asked, seed):
        if piece.token is not None:
            made += 1
            held.add(piece.token, piece.logprob, piece.likely)
        if piece.text:
            yield head | {"choices": [_choice(piece.text, held.shape() if asked.logprobs is not None and held.tokens else None)]}
            held = held.following()
        if piece.reason is not None:
            if asked.after:
                yield head | {"choices": [_choice(asked.after)]}
            yield head | {"choices": [_choice("", None, FINISH[piece.reason])]}
    if asked.usage:
        yield head | {"choices": [], "usage": _usage(asked, made)}


def together(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several completions of one prompt as one answer with several choices."""
    choices = [one["choices"][0] | {"index": number} for number, one in enumerate(found)]
    prompt, made = found[0]["usage"]["prompt_tokens"], sum(one["usage"]["completion_tokens"] for one in found)
    return found[0] | {"choices": choices, "usage": {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}}
