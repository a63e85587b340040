"""Text completions as chat completions, in llama-cpp-python's shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

JSON = dict[str, Any]


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


def tool_named(choice: Any, tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The function that a choice names.

    Raises:
        ValueError: there is none of that name.
    """
    name = (choice.get("function") or {}).get("name")
    found = next((tool["function"] for tool in tools if tool["function"]["name"] == name), None)
    if found is None:
        raise ValueError(f"Tool choice '{name}' not found in tools.")
    return found


def _logprobs(report: JSON | None) -> JSON | None:
    if report is None:
        return None

    def told(token: str, value: float | None) -> JSON:
        return {"token": token, "bytes": None, "logprob": value}

    rows = zip(report["tokens"], report["token_logprobs"], report["top_logprobs"], strict=True)
    return {"content": [told(token, value) | {"top_logprobs": [told(*one) for one in likely.items()]} for token, value, likely in rows], "refusal": None}


def _head(found: JSON, kind: str) -> JSON:
    return {"id": "chat" + found["id"], "object": kind, "created": found["created"], "model": found["model"]}


def chat_of(found: JSON) -> JSON:
    """A completion as an answer."""
    choices = [
        {
            "index": choice["index"],
            "message": {"role": "assistant", "content": choice["text"]},
            "logprobs": _logprobs(choice["logprobs"]),
            "finish_reason": choice["finish_reason"],
        }
        for choice in found["choices"]
    ]
    return _head(found, "chat.completion") | {"choices": choices, "usage": found["usage"]}


def _chunk(found: JSON, delta: JSON, report: JSON | None = None, reason: str | None = None) -> JSON:
    choice = {"index": 0, "delta": delta, "logprobs": _logprobs(report), "finish_reason": reason}
    return _head(found, "chat.completion.chunk") | {"choices": [choice]}


def _usage(chunk: JSON) -> JSON:
    return _head(chunk, "chat.completion.chunk") | {"choices": [], "usage": chunk["usage"]}


def chunks_of(chunks: Iterator[JSON]) -> Iterator[JSON]:
    """The chunks of a completion as those of an answer."""
    begun = False
    for chunk in chunks:
        if not begun:
            yield _chunk(chunk, {"role": "assistant"})
            begun = True
        if not chunk["choices"]:
            yield _usage(chunk)
            continue
        (choice,) = chunk["choices"]
        reason = choice["finish_reason"]
        yield _chunk(chunk, {"content": choice["text"]} if reason is None else {}, choice["logprobs"], reason)


def calls_of(found: Sequence[tuple[str, JSON]]) -> JSON:
    """Completions that are the arguments of functions, as an answer that calls them; a single call is told under its older name too."""
    calls = [
        {"id": f"call__{number}_{name}_{one['id']}", "type": "function", "function": {"name": name, "arguments": one["choices"][0]["text"]}}
        for number, (name, one) in enumerate(found)
    ]
    older = {"function_call": calls[0]["function"]} if len(calls) == 1 else {}
    first = found[0][1]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, **older, "tool_calls": calls},
        "logprobs": _logprobs(first["choices"][0]["logprobs"]),
        "finish_reason": "tool_calls",
    }
    usage = {name: sum(one["usage"][name] for _, one in found) for name in first["usage"]}
    return _head(first, "chat.completion") | {"choices": [choice], "usage": usage}


def call_chunks_of(name: str, chunks: Iterator[JSON]) -> Iterator[JSON]:
    """The chunks of a completion that is the arguments of a function, as those of an answer that calls it."""
    nothing = {"content": None, "function_call": None, "tool_calls": None}
    last: JSON | None = None
    for chunk in chunks:
        if last is None:
            yield _chunk(chunk, {"role": "assistant", **nothing})
        last = chunk
        if not chunk["choices"]:
            break
        (choice,) = chunk["choices"]
        function = {"name": name, "arguments": choice["text"]}
        call = {"index": 0, "id": f"call__0_{name}_{chunk['id']}", "type": "function", "function": function}
        yield _chunk(chunk, {"role": None, "content": None, "function_call": function, "tool_calls": [call]}, choice["logprobs"])
    if last is not None:
        yield _chunk(last, {"role": None, **nothing}, None, "tool_calls")
        if not last["choices"]:
            yield _usage(last)
