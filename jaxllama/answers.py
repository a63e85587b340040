"""A loaded model's answers to messages, in the shapes of OpenAI's client."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from .chat import PROMPT_OPTIONS, ChatPrompt
from .decode.chain import REPORTED
from .names import refuse_unknown
from .numeric import whole, whole_of
from .pieces import Piece
from .request import CONSTRAINTS, SAMPLING, answer_grammar, limit_of, texts_of
from .text.chat.messages import MessageError
from .text.chat.stream import AnswerReader

if TYPE_CHECKING:
    from .chat import Chat
    from .grammar import Grammar
    from .text import Tokenizer

FINISH = {"end": "stop", "stop": "stop", "limit": "length", "context": "length", "grammar": "stop"}  # our reasons to stop in OpenAI's words
_LIMITS = ("n_predict", "max_tokens", "max_completion_tokens")
_THOUGHT = ("reasoning", "reasoning_format", "reasoning_budget", "reasoning_budget_message")
_REPORT = ("logprobs", "top_logprobs", "include_usage", "n", "model", "user")
_GENERATION = ("stop", "kept", "timeout", "logits_processor", "preserved_tokens")
_ELSEWHERE = {"stream": "stream_chat(messages, ...) streams the answer", "echo": "score(prompt) gives the log-probabilities of a prompt's tokens"}


class Generating(Protocol):
    """What answers are made with: a `Model`."""

    tokenizer: Tokenizer
    chats: Chat

    @property
    def name(self) -> str: ...

    def grammar(self, **constraints: Any) -> Grammar | None: ...

    def stream(self, prompt: Any, *, n_predict: int, **options: Any) -> Iterator[Piece]: ...

    def stream_batch(self, prompts: Sequence[Any], *, n_predict: int, **options: Any) -> Iterator[tuple[int, Piece]]: ...


_OPTIONS = (*PROMPT_OPTIONS, *_THOUGHT, *_LIMITS, *_REPORT, *_GENERATION, *CONSTRAINTS, *SAMPLING)


class _Answer:
    """One answer under way: its prompt, what constrains it, and what was read of it."""

    def __init__(self, prompt: ChatPrompt, grammar: Grammar | None, reasoning_format: str):
        self.prompt, self.grammar = prompt, grammar
        self.reader = AnswerReader(prompt.syntax, prompt.tools, reasoning_format=reasoning_format, calls=bool(prompt.tools))
        self.begun = prompt.syntax.prefix if grammar is not None and grammar.place(prompt.syntax.prefix) else ""
        self.made = 0
        self.last: Piece | None = None
        self._unsent: list[dict[str, Any]] = []  # log-probabilities of tokens whose text did not come yet

    def push(self, piece: Piece, logprobs: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """What a piece adds to the message, with the log-probabilities of its tokens."""
        self.made, self.last = self.made + (piece.token is not None), piece
        self._unsent += logprobs
        deltas = self.reader.push(piece.text)
        for delta in chain(deltas, self.reader.finish()) if piece.reason is not None else deltas:
            sent, self._unsent = self._unsent, []
            yield delta, sent
        if piece.reason is not None and self._unsent:
            yield {}, self._unsent

    @property
    def finish_reason(self) -> str:
        assert self.last is not None
        return "tool_calls" if self.reader.parsed.calls else FINISH[self.last.reason or "end"]


class _Request:
    """What a chat asks for."""

    def __init__(self, model: Generating, options: Mapping[str, Any]):
        refuse_unknown("chat", options, _OPTIONS, _ELSEWHERE)
        rest = dict(options)
        self.model, self.limit = model, limit_of(rest, -1, _LIMITS)
        self.stops, name = texts_of("stop", rest.pop("stop", ())), rest.pop("model", None)
        if not isinstance(name, str | None):
            raise MessageError(f"model: expected the name that the answer bears, found {name!r}")
        self.name = name or model.name
        self.usage, _ = rest.pop("include_usage", True), rest.pop("user", None)  # a user's name means something to whoever counts requests
        self.n = whole_of("n", 1 if (n := rest.pop("n", None)) is None else n, 1, 128)
        logprobs, likely = rest.pop("logprobs", None), rest.pop("top_logprobs", None)
        if not isinstance(logprobs, bool | None):
            raise MessageError(f"logprobs: expected True or False, found {logprobs!r}; top_logprobs says how many of the most likely tokens to name")
        self.logprobs = bool(logprobs)
        self.likely = whole_of("top_logprobs", 0 if likely is None else likely, 0, REPORTED)
        if self.likely and not self.logprobs:
            raise MessageError("top_logprobs: needs logprobs=True")
        budget = self.budget = whole_of("reasoning_budget", rest.pop("reasoning_budget", -1), -1, note=" (0 is no reasoning, -1 no limit)")
        self.budget_message = rest.pop("reasoning_budget_message", "")
        reasoning = rest.pop("reasoning", "auto")
        self.reasoning = "off" if budget == 0 and reasoning == "auto" else reasoning
        self.format = rest.pop("reasoning_format", "auto")
        self.for_prompt = {name: rest.pop(name) for name in PROMPT_OPTIONS if name in rest}
        self.ignored = texts_of("schema_ignore", rest.get("schema_ignore"))
        wanted = {name: rest.pop(name) for name in CONSTRAINTS if name in rest and name != "schema_ignore"}
        rest.pop("schema_ignore", None)
        self.grammar = model.grammar(**wanted, schema_ignore=self.ignored)
        self.rest = rest

    def answers(self, messages: Sequence[Mapping[str, Any]]) -> list[_Answer]:
        """The answers to one conversation, before their first token."""
        prompt = self.model.chats.prompt(messages, reasoning=self.reasoning, **self.for_prompt)
        syntax = prompt.syntax
        grammar = answer_grammar(self.model.tokenizer, self.grammar, prompt.grammar(self.ignored), syntax.reasoning, opened=syntax.opened)
        return [_Answer(prompt, grammar, self.format) for _ in range(self.n)]

    def deltas(self, answers: Sequence[_Answer]) -> Iterator[tuple[int, dict[str, Any], list[dict[str, Any]]]]:
        """(number of an answer, what its message gains, log-probabilities of the tokens) as they come."""
        for slot, piece in self._pieces(answers):
            logprobs = [self._logprob(piece)] if self.logprobs and piece.token is not None else []
            for delta, sent in answers[slot].push(piece, logprobs):
                yield slot, delta, sent

    def _pieces(self, answers: Sequence[_Answer]) -> Iterator[tuple[int, Piece]]:
        options: dict[str, Any] = {**self.rest, "stop": self.stops, "n_probs": self.likely}
        seed = whole(options.get("seed"))
        if self.n > 1 and seed is not None and seed >= 0:
            options["seed"] = [seed + slot % self.n for slot in range(len(answers))]  # or they would all be the same
        if any(self._counts_thought(answer) for answer in answers):
            for slot, answer in enumerate(answers):
                mine = {name: value[slot] if name == "seed" and isinstance(value, list) else value for name, value in options.items()}
                yield from ((slot, piece) for piece in self._with_budget(answer, mine))
            return
        shown = frozenset().union(*(self.model.chats.shown(a.prompt.syntax) for a in answers))
        begun, grammars = [a.begun for a in answers], [a.grammar for a in answers]
        prompts = [a.prompt.ids for a in answers]
        yield from self.model.stream_batch(prompts, n_predict=self.limit, shown=shown, begun=begun, grammar=grammars, **options)

    def _counts_thought(self, answer: _Answer) -> bool:
        return self.budget > 0 and bool(answer.prompt.syntax.reasoning[1]) and not 0 <= self.limit <= self.budget

    def _with_budget(self, answer: _Answer, options: Mapping[str, Any]) -> Iterator[Piece]:
        """An answer's pieces; where reasoning has used up its budget, it is ended, and the answer goes on from there."""
        model, prompt, reader = self.model, answer.prompt, answer.reader
        start, end = prompt.syntax.reasoning
        options = {**options, "shown": model.chats.shown(prompt.syntax), "grammar": answer.grammar}
        made: list[int] = []
        for piece in model.stream(prompt.ids, n_predict=self.budget, begun=answer.begun, **options):
            made += [] if piece.token is None else [piece.token]
            thinking = end not in reader.text + piece.text and (prompt.syntax.opened or start in reader.text + piece.text)
            if piece.reason == "limit":
                ending = self.budget_message + end if thinking else ""
                yield replace(piece, text=piece.text + ending, reason=None, timings=None)
                more = model.tokenizer.encode(ending, add_special=False, parse_special=True)
                left = self.limit - self.budget if self.limit > 0 else -1
                begun = answer.begun.encode() + b"".join(model.tokenizer.piece(t, special=True) for t in [*made, *more])
                yield from model.stream([*prompt.ids, *made, *more], n_predict=left, begun=begun, **options)
                return
            yield piece

    def _logprob(self, piece: Piece) -> dict[str, Any]:
        """A token in OpenAI's words."""

        def told(token: int, value: float | None) -> dict[str, Any]:
            raw = self.model.tokenizer.piece(token, special=True)
            return {"token": raw.decode("utf-8", "replace"), "logprob": value, "bytes": list(raw)}

        assert piece.token is not None
        return told(piece.token, piece.logprob) | {"top_logprobs": [told(token, value) for token, value in piece.likely]}

    def shape(self, answers: Sequence[_Answer]) -> dict[str, Any]:
        """Usage and timings of the answers to one conversation."""
        last, made, prompt = answers[-1].last, sum(a.made for a in answers), len(answers[0].prompt.ids)
        assert last is not None
        assert last.timings is not None
        timings = last.timings
        measured = {
            "prompt_n": timings.prompt_tokens,
            "prompt_ms": 1e3 * timings.prompt_seconds,
            "predicted_n": made,
            "predicted_ms": 1e3 * timings.decode_seconds,
            "predicted_per_second": timings.decode_rate,
        }
        return {"usage": {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}, "timings": measured}

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-" + secrets.token_hex(12), "object": kind, "created": int(time.time()), "model": self.name}


def _logprobs(content: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"content": list(content), "refusal": None}


def stream_chat(model: Generating, messages: Sequence[Mapping[str, Any]], /, **options: Any) -> Iterator[dict[str, Any]]:
    """Answer messages, piece by piece; see `Model.stream_chat`."""
    request = _Request(model, options)
    return _chunks(request, request.answers(messages))


def _chunks(request: _Request, answers: Sequence[_Answer]) -> Iterator[dict[str, Any]]:
    head = request.head("chat.completion.chunk")

    def chunk(index: int, delta: Mapping[str, Any], reason: str | None = None, sent: Sequence[dict[str, Any]] = (), **more: Any) -> dict[str, Any]:
        choice = {"index": index, "delta": dict(delta), "finish_reason": reason}
        return head | {"choices": [choice | {"logprobs": _logprobs(sent) if sent else None} if request.logprobs else choice], **more}

    for index in range(len(answers)):
        yield chunk(index, {"role": "assistant", "content": None})
    for index, delta, sent in request.deltas(answers):
        yield chunk(index, delta, sent=sent)
    for index, answer in enumerate(answers):
        last = index == len(answers) - 1
        yield chunk(index, {}, answer.finish_reason, **(request.shape(answers) if request.usage and last else {}))


def complete_chats(model: Generating, conversations: Sequence[Sequence[Mapping[str, Any]]], /, **options: Any) -> list[dict[str, Any]]:
    """Answer several conversations as one batch; see `Model.chat`."""
    request = _Request(model, options)
    each = [request.answers(messages) for messages in conversations]
    if len(each) > 1 and options.get("kept") is not None:
        raise MessageError("kept: a prompt cache goes with one conversation")
    messages: list[dict[str, Any]] = [{"role": "assistant", "content": None} for answers in each for _ in answers]
    logprobs: list[list[dict[str, Any]]] = [[] for _ in messages]
    for slot, delta, sent in request.deltas(list(chain(*each))):
        logprobs[slot] += sent
        _add(messages[slot], delta)
    found = []
    for number, answers in enumerate(each):
        choices = []
        for index, answer in enumerate(answers):
            message, told = messages[number * request.n + index], logprobs[number * request.n + index]
            if "tool_calls" not in message and message["content"] is None:
                message["content"] = ""
            choices.append(
                {"index": index, "message": message, "finish_reason": answer.finish_reason, "logprobs": _logprobs(told) if request.logprobs else None}
            )
        found.append(request.head("chat.completion") | {"choices": choices} | (request.shape(answers) if request.usage else {}))
    return found


def complete_chat(model: Generating, messages: Sequence[Mapping[str, Any]], /, **options: Any) -> dict[str, Any]:
    """Answer messages; see `Model.chat`."""
    return complete_chats(model, [messages], **options)[0]


def _add(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add to a message what a delta brings."""
    for key in ("content", "reasoning_content"):
        if delta.get(key):
            message[key] = (message.get(key) or "") + delta[key]
    for call in delta.get("tool_calls", ()):
        calls = message.setdefault("tool_calls", [])
        if call["index"] == len(calls):
            calls.append({"id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": ""}})
        calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
