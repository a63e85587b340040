"""Messages in a form that a template can take: nothing that they say is lost."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from .caps import Caps
from .history import content_apart, one_call_each, paired, short_ids
from .messages import Message

TOOLS_PROMPT = (
    "You can call these functions. To call one, answer with nothing but JSON: "
    '{{"tool_calls": [{{"name": "the function", "arguments": {{"the argument": "its value"}}}}]}}. To answer in words, write them.\n\n{tools}'
)


def arranged(messages: Sequence[Message], caps: Caps) -> list[Message]:
    """The messages in the order that a template can take, with ids that it can take. There is a warning where it leaves out what is said beside calls."""
    found = paired(messages)
    if not caps.tool_calls:
        return found
    if not caps.any_id:
        found = short_ids(found)
    if not caps.content_and_calls and any(m["content"] for m in found if "tool_calls" in m):
        if caps.content_before_calls:
            found = content_apart(found)
        else:
            warnings.warn("the chat template leaves out the content of messages that have tool calls", stacklevel=2)
    return found if caps.parallel_calls else one_call_each(found)


def as_taken(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], caps: Caps, source: str) -> list[Message]:
    """The messages with contents, calls and roles as a template takes them.

    Args:
        tools: described to the model here if the template does not.
        source: the template; some families write calls in a form of their own, although their templates do not.
    """
    found = [dict(m) for m in messages]
    if tools and not caps.tools:
        listed = TOOLS_PROMPT.format(tools="\n".join(json.dumps(t["function"], ensure_ascii=False) for t in tools))
        if found[0]["role"] == "system":
            found[0]["content"] = f"{found[0]['content']}\n\n{listed}"
        else:
            found.insert(0, {"role": "system", "content": listed})
    for message in found:
        if message["role"] == "developer":
            message["role"] = "system"
        if thought := message.get("reasoning_content") or message.get("thinking"):  # families call it differently
            message["reasoning_content"] = message["thinking"] = thought
        if "tool_calls" in message:
            _write_calls(message, caps, source)
    if not caps.tool_role:
        found = _results_of_users(found)
    if not caps.system:
        found = _merge_system(found)
    for message in found:
        message["content"] = message["content"] or ""
        if not caps.string_content:
            message["content"] = [{"type": "text", "text": message["content"]}]
    return found


def _write_calls(message: Message, caps: Caps, source: str) -> None:
    calls, content = message["tool_calls"], message["content"]
    if not caps.tool_calls:
        written = [{"name": c["function"]["name"], "arguments": c["function"]["arguments"]} for c in calls]
        if "<|tool_call|>" in source:  # Granite, Phi-4
            parts = [content, "<|tool_call|>" + json.dumps(written, ensure_ascii=False)]
        else:  # an answer is a call if it begins as one
            parts = [json.dumps({"tool_calls": written}, ensure_ascii=False), content]
        message["content"] = "\n".join(filter(None, parts))
        del message["tool_calls"]
        return
    if not caps.object_arguments:
        text = lambda c: json.dumps(c["function"]["arguments"], ensure_ascii=False)  # noqa: E731
        message["tool_calls"] = [c | {"function": c["function"] | {"arguments": text(c)}} for c in calls]
    if not caps.thought_and_content and content and "thinking" in message:
        message["reasoning_content"] = message["thinking"] = f"{message['thinking']}\n\n{content}"
        message["content"] = None


def _results_of_users(messages: list[Message]) -> list[Message]:
    """Results as messages of the user; what the user says next is joined to them, as many templates want the roles to take turns."""
    found: list[Message] = []
    joining = False
    for message in messages:
        result = message["role"] == "tool"
        if result:
            text = json.dumps({"tool_response": {"name": message.get("name", ""), "content": message["content"]}}, ensure_ascii=False)
            message = {"role": "user", "content": text}
        if joining and message["role"] == "user":
            found[-1]["content"] += "\n" + (message["content"] or "")
        else:
            found.append(message)
        joining = result
    return found


def _merge_system(messages: list[Message]) -> list[Message]:
    """What the system says, put before what the user says next."""
    found, waiting = [], []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif waiting and message["role"] == "user":
            found.append(message | {"content": "\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            found.append(message)
    return [*found, *({"role": "user", "content": text} for text in waiting)]
