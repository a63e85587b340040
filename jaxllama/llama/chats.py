"""Chat completions in llama-cpp-python's shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxllama.request import texts_of

from .formats import STOPS

if TYPE_CHECKING:
    from .reading import Reading


def tools_of(
    functions: Sequence[Mapping[str, Any]] | None, function_call: Any, tools: Sequence[Mapping[str, Any]] | None, tool_choice: Any
) -> tuple[Sequence[Mapping[str, Any]] | None, Any]:
    """Tools and their choice, also where a request has OpenAI's older names for them."""
    if functions is not None:
        tools = [{"type": "function", "function": function} for function in functions]
    if isinstance(function_call, Mapping):
        tool_choice = {"type": "function", "function": {"name": function_call.get("name")}}
    elif function_call is not None:
        tool_choice = function_call
    return tools, tool_choice


def chat(
    llama: Reading,
    messages: Sequence[Mapping[str, Any]],
    *,
    chat_format: str,
    stream: bool,
    older: bool,
    usage: bool,
    stop: str | Sequence[str] | None,
    options: dict[str, Any],
) -> Any:
    """The answer, or an iterator of its chunks.

    Args:
        chat_format: whose mark ends the answer.
        older: the call of a function is also told under its older name.
        usage: the last chunk tells it.
    """
    mark = STOPS.get(chat_format)
    stops = texts_of("stop", stop)
    asked = {**options, "stop": [*stops, mark] if mark else stops, "reasoning_format": "none", "kept": llama.kept}
    if stream:
        return _stream(llama, messages, usage, asked)
    try:
        found = llama.model.chat(messages, **asked)
    finally:
        llama.noted()
    choices = [_with_older(choice) if older else choice for choice in found["choices"]]
    return {name: found[name] for name in ("id", "object", "created", "model")} | {"choices": choices, "usage": found["usage"]}


def _with_older(choice: dict[str, Any]) -> dict[str, Any]:
    calls = choice["message"].get("tool_calls")
    return choice | {"message": choice["message"] | {"function_call": calls[0]["function"]}} if calls else choice


def _stream(llama: Reading, messages: Sequence[Mapping[str, Any]], usage: bool, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        for chunk in llama.model.stream_chat(messages, **asked):
            head = {name: chunk[name] for name in ("id", "model", "created", "object")}
            (choice,) = chunk["choices"]
            delta = choice["delta"]
            if "role" in delta:
                delta = {"role": delta["role"]}
            yield head | {"choices": [{"index": choice["index"], "delta": delta, "logprobs": choice.get("logprobs"), "finish_reason": choice["finish_reason"]}]}
            if usage and "usage" in chunk:
                yield head | {"choices": [], "usage": chunk["usage"]}
    finally:
        llama.noted()
