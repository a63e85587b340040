"""What a chat template can take, found by rendering probes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NEEDLE, _OTHER = "nee-dle", "hay-stack"


@dataclass(frozen=True)
class Caps:
    """What a template can take; what it cannot is brought into a form that it can (`adapt.py`).

    Attributes:
        string_content: content as text; otherwise as a list of parts.
        system: messages of the system; otherwise they are put before the first message of the user.
        tools: descriptions of tools; otherwise they are written into the message of the system.
        tool_calls: calls in messages of the assistant; otherwise they are written as JSON.
        object_arguments: arguments of calls as objects; otherwise as JSON text.
        tool_role: messages of tools; otherwise they become messages of the user.
        parallel_calls: several calls in one message; otherwise each gets its own, followed by its result.
        content_and_calls: words beside calls; otherwise they get a message of their own, if `content_before_calls`.
        content_before_calls: a message of words, and then one of calls.
        thought_and_content: a thought and words beside calls; otherwise the words are added to the thought.
        any_id: ids of calls of any length; otherwise of nine letters and digits.
        thinking: the variable `enable_thinking` makes a difference.
    """

    string_content: bool
    system: bool
    tools: bool
    tool_calls: bool
    object_arguments: bool
    tool_role: bool
    parallel_calls: bool
    content_and_calls: bool
    content_before_calls: bool
    thought_and_content: bool
    any_id: bool
    thinking: bool


def tool_of(name: str, *arguments: str) -> dict[str, Any]:
    """A tool with arguments of text."""
    parameters = {"type": "object", "properties": {a: {"type": "string", "description": a} for a in arguments}, "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "description": "a probe", "parameters": parameters}}


def call_of(name: str, arguments: Any, number: int = 0) -> dict[str, Any]:
    """A call; ids have nine letters and digits, which is what the strictest templates want."""
    return {"id": f"call{number:05}", "type": "function", "function": {"name": name, "arguments": arguments}}


def probed(render: Callable[..., str]) -> Caps:
    """What a template can take.

    Args:
        render: messages and variables -> what the template writes; nothing where it refuses them.
    """
    string = _NEEDLE in render([{"role": "user", "content": _NEEDLE}])
    string = string or _NEEDLE not in render([{"role": "user", "content": [{"type": "text", "text": _NEEDLE}]}])

    def message(role: str, content: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": content if string else [{"type": "text", "text": content}], **more}

    user, tool = message("user", _OTHER), {"tools": [tool_of(_NEEDLE, "arg")]}

    def called(*arguments: Any) -> str:
        calls = [call_of(f"{_NEEDLE}{n}", a, n) for n, a in enumerate(arguments)]
        empty = message("assistant", "", tool_calls=calls)
        tries = ({"role": "assistant", "tool_calls": calls}, empty | {"content": None}, empty)
        return next(filter(None, (render([user, one], **tool) for one in tries)), "")

    as_object, as_text = called({"arg": "va-lue"}), called('{"arg": "va-lue"}')
    objects = ("va-lue" in as_object and '\\"arg' not in as_object) or "va-lue" not in as_text
    calls = f"{_NEEDLE}0" in as_object or f"{_NEEDLE}0" in as_text

    def given(value: str) -> Any:
        return {"arg": value} if objects else json.dumps({"arg": value})

    def calling(content: str, id_: str = "call00000", **more: Any) -> dict[str, Any]:
        return message("assistant", content, tool_calls=[call_of("f", given("b")) | {"id": id_}], **more)

    def result(content: str, id_: str = "call00000") -> dict[str, Any]:
        return message("tool", content, name="f", tool_call_id=id_)

    other, long_id = {"tools": [tool_of("f", "arg")]}, "call_" + 24 * "0"
    beside = _NEEDLE in render([user, calling(_NEEDLE)], **other)
    thoughts = [render([user], add_generation_prompt=True, enable_thinking=on) for on in (True, False)]
    return Caps(
        string_content=string,
        system=_NEEDLE in render([message("system", _NEEDLE), user]),
        tools=_NEEDLE in render([user], **tool),
        tool_calls=calls,
        object_arguments=objects,
        tool_role=_NEEDLE in render([user, calling(""), result(_NEEDLE)]),
        parallel_calls=f"{_NEEDLE}1" in called(given("x"), given("y")),
        content_and_calls=beside or not calls,
        content_before_calls=_NEEDLE in render([user, message("assistant", _NEEDLE), calling(""), result(""), message("assistant", "x"), user], **other),
        thought_and_content=not beside or bool(render([user, calling(_NEEDLE, reasoning_content=_OTHER, thinking=_OTHER)], **other)),
        any_id=not calls or bool(render([user, calling("", long_id), result("", long_id)])) or not render([user, calling(""), result("")]),
        thinking=thoughts[0] != thoughts[1],
    )
