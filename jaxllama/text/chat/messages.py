"""Messages as clients send them, checked and brought into one form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

Message = dict[str, Any]
_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_. -]{0,63}")
_TEXT_PARTS = ("text", "input_text", "output_text")


class MessageError(ValueError):
    """A message, a tool or an option is malformed; the text says which, and which field."""


def _fail(where: str, expected: str, found: object) -> MessageError:
    empty = isinstance(found, Sequence) and not found
    shown = repr(found) if empty or isinstance(found, (str, int, float, bool, type(None))) else type(found).__name__
    return MessageError(f"{where}: expected {expected}, found {shown[:80]}")


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))


def _content(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not _is_list(value):
        raise _fail(where, "a string or a list of content parts", value)
    texts = []
    for number, part in enumerate(value):
        at = f"{where}[{number}]"
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, Mapping) or "type" not in part:
            raise _fail(at, "a string or an object with a type", part)
        elif part["type"] not in _TEXT_PARTS:
            raise _fail(f"{at}.type", "'text' (images, audio and files are not supported)", part["type"])
        elif not isinstance(part.get("text"), str):
            raise _fail(f"{at}.text", "a string", part.get("text"))
        else:
            texts.append(part["text"])
    return "\n".join(texts)


def _calls(value: Any, where: str, before: int) -> list[dict[str, Any]]:
    """Calls; those without an id get one that no other call has, after as many as came before."""
    if not _is_list(value):
        raise _fail(where, "a list of tool calls", value)
    found = []
    for number, call in enumerate(value):
        at = f"{where}[{number}]"
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping):
            raise _fail(f"{at}.function", "an object with name and arguments", function)
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise _fail(f"{at}.function.name", "a string that is not empty", function.get("name"))
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except json.JSONDecodeError as error:
                raise MessageError(f"{at}.function.arguments: expected JSON: {error}") from None
        if not isinstance(arguments, Mapping):
            raise _fail(f"{at}.function.arguments", "a JSON object", arguments)
        found.append(
            {"id": str(call.get("id") or f"call{before + number:05}"), "type": "function", "function": {"name": function["name"], "arguments": dict(arguments)}}
        )
    return found


def check_messages(messages: Any) -> list[Message]:
    """Messages with text as content, and calls whose arguments are dictionaries.

    Raises:
        MessageError: something is missing or of the wrong kind.
    """
    if not _is_list(messages) or not messages:
        raise _fail("messages", "a list of at least one message", messages)
    found: list[Message] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, Mapping):
            raise _fail(where, "an object with role and content", message)
        role = message.get("role")
        if not isinstance(role, str) or not _ROLE.fullmatch(role):
            raise _fail(f"{where}.role", "'system', 'user', 'assistant' or 'tool'", role)
        kept: Message = {"role": role, "content": _content(message.get("content"), f"{where}.content")}
        for key in ("name", "tool_call_id", "reasoning_content", "thinking"):
            if message.get(key) is not None:
                if not isinstance(message[key], str):
                    raise _fail(f"{where}.{key}", "a string", message[key])
                kept[key] = message[key]
        if message.get("tool_calls"):
            if role != "assistant":
                raise MessageError(f"{where}.tool_calls: only assistant messages have tool calls, this one has the role '{role}'")
            kept["tool_calls"] = _calls(message["tool_calls"], f"{where}.tool_calls", sum(len(m.get("tool_calls", ())) for m in found))
        if kept["content"] is None and "tool_calls" not in kept:
            raise _fail(f"{where}.content", "a string", None)
        found.append(kept)
    return found


def check_tools(tools: Any) -> list[dict[str, Any]]:
    """Tools as `{"type": "function", "function": {name, description, parameters}}`.

    Raises:
        MessageError: something is missing or of the wrong kind.
    """
    if tools is None:
        return []
    if not _is_list(tools):
        raise _fail("tools", "a list of tools", tools)
    found, names = [], set()
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping):
            raise _fail(f"{where}.function", "an object with name and parameters", function)
        name = function.get("name")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
            raise _fail(f"{where}.function.name", "up to 64 letters, digits, _, . or -", name)
        if name in names:
            raise MessageError(f"{where}.function.name: two tools have the name '{name}'")
        names.add(name)
        parameters = function.get("parameters", {"type": "object", "properties": {}})
        if not isinstance(parameters, Mapping):
            raise _fail(f"{where}.function.parameters", "a JSON schema", parameters)
        if not isinstance(parameters.get("properties", {}), Mapping):
            raise _fail(f"{where}.function.parameters.properties", "an object", parameters["properties"])
        description = function.get("description", "")
        if not isinstance(description, str):
            raise _fail(f"{where}.function.description", "a string", description)
        found.append({"type": "function", "function": {"name": name, "description": description, "parameters": dict(parameters)}})
    return found


def check_tool_choice(choice: Any, tools: Sequence[Mapping[str, Any]]) -> str:
    """ "auto", "none", "required" or the name of a tool.

    Raises:
        MessageError: it is none of these.
    """
    if choice is None:
        return "auto" if tools else "none"
    names = [t["function"]["name"] for t in tools]
    if isinstance(choice, Mapping):
        choice = choice.get("function", {}).get("name") if isinstance(choice.get("function"), Mapping) else None
        if choice in names:
            return choice
        raise _fail("tool_choice.function.name", f"one of {', '.join(names) or 'no tools'}", choice)
    if choice not in ("auto", "none", "required"):
        raise _fail("tool_choice", "'auto', 'none', 'required' or a function of tools", choice)
    if choice == "required" and not tools:
        raise MessageError("tool_choice: 'required' needs tools, found none")
    return choice
