"""An answer that comes in pieces, as deltas in the form of OpenAI's streams."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .answer import Call, Parsed
from .history import ID_LENGTH
from .messages import MessageError
from .parse import FORMATS, parse
from .syntax import AnswerSyntax


class AnswerReader:
    """Text in, deltas out.

    Invariant: however the text is cut, the deltas add up to the same message.

    Attributes:
        text: all that came.
        parsed: what it means so far.
    """

    def __init__(
        self,
        syntax: AnswerSyntax,
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        reasoning_format: str = "auto",
        calls: bool = True,
        new_id: Callable[[], str] | None = None,
    ):
        """
        Args:
            syntax: what the model's answers look like.
            tools: those it knows.
            reasoning_format: see `parse`.
            calls: look for calls.
            new_id: makes the ids of calls that have none; without it they are random, in the form that the family's templates take.
        """
        if reasoning_format not in FORMATS:
            raise MessageError(f"reasoning_format: expected one of {', '.join(FORMATS)}, found {reasoning_format!r}")
        self._arguments = (syntax, tools)
        self._options = {"reasoning_format": reasoning_format, "calls": calls}
        self._new_id = new_id or (lambda: secrets.token_hex(ID_LENGTH)[:ID_LENGTH] if syntax.tools.short_ids else "call_" + secrets.token_hex(12))
        self._id_is_last = syntax.tools.order[-1] == syntax.tools.keys[2]
        self._ids: list[str] = []
        self.text, self.parsed = "", Parsed()

    def push(self, text: str) -> list[dict[str, Any]]:
        """What is new with a piece of text: dictionaries with `content`, `reasoning_content` or `tool_calls`."""
        self.text += text
        return self._deltas(final=False) if text else []

    def finish(self) -> list[dict[str, Any]]:
        """What is new once the answer has ended."""
        return self._deltas(final=True)

    def _deltas(self, *, final: bool) -> list[dict[str, Any]]:
        before, now = self.parsed, parse(self.text, *self._arguments, final=final, **self._options)  # type: ignore[arg-type]
        found: list[dict[str, Any]] = []
        for key, old, new in (("reasoning_content", before.reasoning, now.reasoning), ("content", before.content, now.content)):
            if len(new) > len(old):
                found.append({key: new[len(old) :]})
        for index, call in enumerate(now.calls):
            if index == len(self._ids):
                if self._id_is_last and not (call.id or final or index < len(now.calls) - 1):
                    break  # the id goes with the beginning of a call
                self._ids.append(call.id or self._new_id())
                head = {"index": index, "id": self._ids[index], "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                found.append({"tool_calls": [head]})
            elif len(call.arguments) > len(before.calls[index].arguments):
                found.append({"tool_calls": [{"index": index, "function": {"arguments": call.arguments[len(before.calls[index].arguments) :]}}]})
        self.parsed = now
        return found

    def message(self) -> dict[str, Any]:
        """The whole message, in OpenAI's form."""
        calls: list[Call] = self.parsed.calls
        made = [{"id": i, "type": "function", "function": {"name": c.name, "arguments": c.arguments or "{}"}} for i, c in zip(self._ids, calls, strict=True)]
        found: dict[str, Any] = {"role": "assistant", "content": self.parsed.content or (None if made else "")}
        if self.parsed.reasoning:
            found["reasoning_content"] = self.parsed.reasoning
        return found | ({"tool_calls": made} if made else {})
