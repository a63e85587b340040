"""gpt-oss's answers: messages in channels. Analysis is reasoning, one to functions.NAME is a call, all else is content."""

from __future__ import annotations

import re

from .answer import Call, Parsed, find_mark, past_space, scanned

_HEAD = re.compile(r"(?:<\|start\|>)?(?:assistant)?((?:(?!<\|message\|>).)*)<\|message\|>", re.DOTALL)
_TARGET, _CHANNEL = re.compile(r"to=functions\.([\w.-]+)"), re.compile(r"<\|channel\|>(\w+)")
_ENDS, _NEXT = ("<|end|>", "<|return|>", "<|call|>"), ("<|start|>", "<|channel|>")


def read_harmony(text: str, *, final: bool, reasoning_format: str) -> Parsed:
    """Take an answer apart; see `parse`."""
    found, at = Parsed(), 0
    while head := _HEAD.match(text, at):
        target, channel = _TARGET.search(head[1]), _CHANNEL.search(head[1])
        span = scanned(text, head.end())[0] if target else None
        stop, end = _end(text, head.end() if span is None or span.end is None else span.end, final=final)
        body = text[head.end() : stop]
        if target:
            found.calls.append(Call(target[1], body.strip()))
        elif channel and channel[1] == "analysis":
            if reasoning_format == "none":
                found.content += text[at : end or stop]
            else:
                found.reasoning += ("\n" if found.reasoning else "") + body
        else:
            found.content += body
        if end is None:
            return found
        at = end
    rest = text[at:]
    if final and "<|" not in rest:
        found.content += rest
    return found


def _end(text: str, at: int, *, final: bool) -> tuple[int, int | None]:
    """Where a message ends, and the next begins. A mark in the middle of a message, where no other message follows, is part of what it says."""
    while True:
        stop, end = find_mark(text, at, _ENDS, final=final)
        if end is None:
            return stop, None
        place = past_space(text, end)
        if text.startswith(_NEXT, place):
            return stop, place
        if any(mark.startswith(text[place:]) for mark in _NEXT):  # the end of the answer, or of what there is of it
            return stop, len(text) if final else None
        at = end
