"""What answers a chat: with a formatter, with a named format, or with a template."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jaxllama.api import Model
from jaxllama.chat import PROMPT_OPTIONS, Chat
from jaxllama.request import texts_of
from jaxllama.text.chat.marks import Marks
from jaxllama.text.chat.messages import check_messages

from .chats import call_chunks_of, calls_of, chat_of, chunks_of, tool_named, tools_of
from .completing import Completing
from .formats import ChatFormat
from .options import known_tokens, sampling
from .processors import StoppingCriteriaList, host_function

Messages = Sequence[Mapping[str, Any]]
Handler = Callable[..., Any]
"""`llama` and the arguments of `create_chat_completion`, all by name -> the answer, or an iterator of its chunks."""


class LlamaChatCompletionHandler(Protocol):
    """Answers in the place of `create_chat_completion`: gets `llama` and its arguments by name, returns an answer, or with `stream` an iterator of chunks."""

    def __call__(self, *, llama: Any, messages: Messages, **options: Any) -> Any: ...


@dataclass
class ChatFormatterResponse:
    """What a formatter makes of messages.

    Attributes:
        prompt: the text.
        stop: texts that end the answer.
        stopping_criteria: functions that end it.
        added_special: the prompt begins with BOS where the model wants it, so none is put before it.
    """

    prompt: str
    stop: str | list[str] | None = None
    stopping_criteria: StoppingCriteriaList | None = None
    added_special: bool = False


class ChatFormatter(Protocol):
    """Makes a prompt of messages; gets `functions`, `function_call`, `tools` and `tool_choice` too."""

    def __call__(self, *, messages: Messages, **options: Any) -> ChatFormatterResponse: ...


DEFAULTS = {"temperature": 0.2, "repeat_penalty": 1.1, "max_tokens": None}  # where a handler is called without `create_chat_completion`


def formatter_handler(formatter: ChatFormatter) -> Handler:
    """Answers with a function that makes a prompt of messages. Special tokens in the prompt are tokens, whoever wrote them."""

    def handler(
        *,
        llama: Completing,
        messages: Messages,
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: Any = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        **options: Any,
    ) -> Any:
        asked = {"functions": functions, "function_call": function_call, "tools": tools, "tool_choice": tool_choice}
        found = formatter(messages=messages, **asked, **{name: value for name, value in options.items() if name in PROMPT_OPTIONS})
        ids = llama.tokenize(found.prompt.encode(), add_bos=not found.added_special, special=True)
        return _answer(llama, ids, found.stop, **asked, stopping_criteria=found.stopping_criteria, **options)

    return handler


def format_handler(named: ChatFormat) -> Handler:
    """Answers in a named format. Special tokens that messages bring along stay text. Tools are not part of the prompt."""

    def handler(*, llama: Completing, messages: Messages, **options: Any) -> Any:
        marked = Marks(llama.vocabulary.special_texts()).mark(check_messages(messages))
        return _answer(llama, llama.encode_prompt(named.prompt(marked)), named.stop, **options)

    return handler


def _answer(
    llama: Completing,
    ids: Sequence[int],
    stopped: str | Sequence[str] | None,
    *,
    functions: Sequence[Mapping[str, Any]] | None = None,
    function_call: Any = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    tool_choice: Any = None,
    stream: bool = False,
    stop: str | Sequence[str] | None = None,
    logprobs: bool | None = None,
    top_logprobs: int | None = None,
    **options: Any,
) -> Any:
    """Complete a prompt; where one tool must be called, what is written are its arguments."""
    known, choice = tools_of(functions, function_call, tools, tool_choice)
    asked = {**DEFAULTS, **{name: value for name, value in options.items() if name not in PROMPT_OPTIONS}}
    asked |= {"stop": [*texts_of("stop", stop), *texts_of("stop", stopped)], "logprobs": (top_logprobs or 0) if logprobs else None}
    if isinstance(choice, Mapping) and known is not None:
        tool = tool_named(choice, known)
        asked |= {"json_schema": tool.get("parameters") or {"type": "object"}, "grammar": None, "response_format": None}
        found = llama.create_completion(ids, stream=stream, **asked)
        return call_chunks_of(tool["name"], found) if stream else calls_of([(tool["name"], found)])
    found = llama.create_completion(ids, stream=stream, **asked)
    return chunks_of(found) if stream else chat_of(found)


class TemplateHandler:
    """Answers with a chat template: the tools are in the prompt where the template has a place for them, and calls are read from the answer."""

    def __init__(self, source: str | None = None):
        """
        Args:
            source: Jinja, or the name of one of llama.cpp's templates; None for the file's own.
        """
        self._source: str | None = source
        self._chat: Chat | None = None

    def __call__(
        self,
        *,
        llama: Completing,
        messages: Messages,
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: Any = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        stream: bool = False,
        seed: int | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        logits_processor: Any = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        stream_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        known, choice = tools_of(functions, function_call, tools, tool_choice)
        asked = sampling({**options, "logit_bias": known_tokens(options.get("logit_bias"), llama.n_vocab())})
        asked |= {"tools": known, "tool_choice": choice, "max_tokens": -1 if max_tokens is None or max_tokens <= 0 else max_tokens}
        asked |= {"model": model or llama.model_path, "seed": llama.next_seed(seed), "repeat_last_n": llama.last_n_tokens_size}
        asked |= {"reasoning_format": "none", "kept": llama.kept, "logits_processor": host_function(logits_processor, None)}
        if logprobs:
            asked |= {"logprobs": True, "top_logprobs": top_logprobs}
        if stream:
            return self._stream(llama, messages, asked, bool((stream_options or {}).get("include_usage")))
        try:
            found = self._model(llama).chat(messages, **asked)
        finally:
            llama.noted()
        older = functions is not None or isinstance(choice, Mapping)
        choices = [_with_older(one) if older else one for one in found["choices"]]
        return {name: found[name] for name in ("id", "object", "created", "model")} | {"choices": choices, "usage": found["usage"]}

    def _model(self, llama: Completing) -> Model:
        """The model, with this template."""
        if self._source is None:
            return llama.model
        self._chat = self._chat or Chat(llama.vocabulary, llama.model.file.metadata, self._source)
        view = copy.copy(llama.model)
        view.chats = self._chat
        return view

    def _stream(self, llama: Completing, messages: Messages, asked: dict[str, Any], usage: bool) -> Iterator[dict[str, Any]]:
        try:
            for chunk in self._model(llama).stream_chat(messages, **asked):
                head = {name: chunk[name] for name in ("id", "model", "created", "object")}
                (choice,) = chunk["choices"]
                delta = {"role": choice["delta"]["role"]} if "role" in choice["delta"] else choice["delta"]
                told = {"index": choice["index"], "delta": delta, "logprobs": choice.get("logprobs"), "finish_reason": choice["finish_reason"]}
                yield head | {"choices": [told]}
                if usage and "usage" in chunk:
                    yield head | {"choices": [], "usage": chunk["usage"]}
        finally:
            llama.noted()


def _with_older(choice: dict[str, Any]) -> dict[str, Any]:
    calls = choice["message"].get("tool_calls")
    return choice | {"message": choice["message"] | {"function_call": calls[0]["function"]}} if calls else choice
