"""Calls of a conversation and their results: which belongs to which, and one call in a message where a template takes no more."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from .messages import Message

ID_LENGTH = 9  # letters and digits, in the families whose templates want ids of one length


def paired(messages: Sequence[Message]) -> list[Message]:
    """The messages, with the id and the name of its call in every result that lacks them: by the id, or else by the order."""
    found: list[Message] = []
    open_calls: list[dict] = []
    for message in messages:
        if message["role"] != "tool":
            open_calls = list(message.get("tool_calls", ()))
        elif open_calls:
            call = next((c for c in open_calls if c["id"] == message.get("tool_call_id")), None)
            if call is None and "tool_call_id" not in message:
                call = next((c for c in open_calls if c["function"]["name"] == message.get("name")), open_calls[0])
            if call is not None:
                open_calls.remove(call)
                message = {"name": call["function"]["name"], **message, "tool_call_id": call["id"]}
        found.append(message)
    return found


def one_call_each(messages: Sequence[Message]) -> list[Message]:
    """The messages, with every call in one of its own, followed by its result."""
    found: list[Message] = []
    at = 0
    while at < len(messages):
        message, at = messages[at], at + 1
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            found.append(message)
            continue
        results = []
        while at < len(messages) and messages[at]["role"] == "tool":
            results.append(messages[at])
            at += 1
        for number, call in enumerate(calls):
            found.append((message if number == 0 else {"role": message["role"], "content": None}) | {"tool_calls": [call]})
            own = [r for r in results if r.get("tool_call_id") == call["id"]]
            found += own
            results = [r for r in results if r not in own]
        found += results
    return found


def content_apart(messages: Sequence[Message]) -> list[Message]:
    """The messages, with what is said beside calls in a message before them."""
    found: list[Message] = []
    for message in messages:
        if message.get("tool_calls") and message["content"]:
            found.append({"role": message["role"], "content": message["content"]})
            message = message | {"content": None}
        found.append(message)
    return found


def short_ids(messages: Sequence[Message]) -> list[Message]:
    """The messages, with letters and digits of one length in the place of all other ids."""

    def short(id_: str) -> str:
        fits = re.fullmatch(f"[A-Za-z0-9]{{{ID_LENGTH}}}", id_)
        return id_ if fits else hashlib.sha256(id_.encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]

    found = []
    for message in messages:
        message = dict(message)
        if "tool_call_id" in message:
            message["tool_call_id"] = short(message["tool_call_id"])
        if "tool_calls" in message:
            message["tool_calls"] = [c | {"id": short(c["id"])} for c in message["tool_calls"]]
        found.append(message)
    return found
