"""A model's chat template: what it can take, and messages rendered to a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from .builtin import BUILTIN
from .marks import Marks, unmark
from .messages import Message, MessageError, check_messages, check_tools
from .sandbox import Template, TemplateError

_NEEDLE, _OTHER = "nee-dle", "hay-stack"
TOOLS_PROMPT = (
    "You can call these functions. To call one, answer with nothing but JSON: "
    '{{"tool_calls": [{{"name": "the function", "arguments": {{"the argument": "its value"}}}}]}}. To answer in words, write them.\n\n{tools}'
)


@dataclass(frozen=True)
class Caps:
    """What a template can take, found by rendering probes; what it cannot is brought into a form that it can.

    Attributes:
        string_content: content as text; otherwise as a list of parts.
        system: messages of the system; otherwise they are put before the first message of the user.
        tools: descriptions of tools; otherwise they are written into the message of the system.
        tool_calls: calls in messages of the assistant; otherwise they are written as JSON.
        object_arguments: arguments of calls as objects; otherwise as JSON text.
        tool_role: messages of tools; otherwise they become messages of the user.
        parallel_calls: several calls in one message.
        thinking: the variable `enable_thinking` makes a difference.
    """

    string_content: bool
    system: bool
    tools: bool
    tool_calls: bool
    object_arguments: bool
    tool_role: bool
    parallel_calls: bool
    thinking: bool


def tool_of(name: str, *arguments: str) -> dict[str, Any]:
    """A tool with arguments of text."""
    parameters = {"type": "object", "properties": {a: {"type": "string", "description": a} for a in arguments}, "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "description": "a probe", "parameters": parameters}}


def call_of(name: str, arguments: Any, number: int = 0) -> dict[str, Any]:
    """A call; ids have nine letters and digits, which is what the strictest templates want."""
    return {"id": f"call{number:05}", "type": "function", "function": {"name": name, "arguments": arguments}}


class ChatTemplate:
    """A template with the texts of its vocabulary.

    Attributes:
        source: Jinja; of a built-in template, its equivalent.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "", special: Iterable[str] = (), now: Callable[[], datetime] | None = None):
        """
        Args:
            source: Jinja, or the name of one of llama.cpp's built-in templates.
            bos, eos: their texts, for `bos_token` and `eos_token`.
            special: texts of the tokens that a prompt's encoding finds; inside messages they stay text.
            now: the time for `strftime_now`.
        """
        self.source = BUILTIN.get(source, source)
        self._template, self._marks = Template(self.source, now), Marks(special)
        self._variables = {"bos_token": bos, "eos_token": eos}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], variant: str | None = None, **texts: Any) -> ChatTemplate:
        """The template of a GGUF file, or its named variant where it has one ("tool_use"); ChatML for files without any."""
        return cls(cls.source_of(metadata, variant) or "chatml", **texts)

    @staticmethod
    def source_of(metadata: Mapping[str, Any], variant: str | None = None) -> str | None:
        """What the file says its template is; None where it says nothing."""
        found = metadata.get(f"tokenizer.chat_template.{variant}") if variant else None
        source = found or metadata.get("tokenizer.chat_template")
        return source if isinstance(source, str) and source else None

    def _try(self, messages: Sequence[Message], **variables: Any) -> str:
        """What a probe renders to; nothing where the template refuses it."""
        try:
            return self._template.render(messages=list(messages), **self._variables, **{"add_generation_prompt": False, **variables})
        except TemplateError:
            return ""

    @cached_property
    def caps(self) -> Caps:
        """What the template can take."""
        user = {"role": "user", "content": _OTHER}
        string = _NEEDLE in self._try([{"role": "user", "content": _NEEDLE}])
        parts = [{"type": "text", "text": _NEEDLE}]
        string = string or _NEEDLE not in self._try([{"role": "user", "content": parts}])

        def text(content: str) -> Any:
            return content if string else [{"type": "text", "text": content}]

        user["content"] = text(_OTHER)
        answer = {"role": "assistant", "content": text("")}
        tool = {"tools": [tool_of(_NEEDLE, "arg")]}

        def called(*arguments: Any) -> str:
            calls = [call_of(f"{_NEEDLE}{n}", a, n) for n, a in enumerate(arguments)]
            found = ""
            for content in ({}, {"content": None}, {"content": text("")}):
                found = found or self._try([user, {"role": "assistant", **content, "tool_calls": calls}], **tool)
            return found

        as_object, as_text = called({"arg": "va-lue"}), called('{"arg": "va-lue"}')
        objects = ("va-lue" in as_object and '\\"arg' not in as_object) or "va-lue" not in as_text

        def given(value: str) -> Any:
            return {"arg": value} if objects else json.dumps({"arg": value})

        responded = self._try(
            [user, answer | {"tool_calls": [call_of("f", given("b"))]}, {"role": "tool", "name": "f", "tool_call_id": "call00000", "content": text(_NEEDLE)}]
        )
        thoughts = [self._try([user], add_generation_prompt=True, enable_thinking=on) for on in (True, False)]
        return Caps(
            string_content=string,
            system=_NEEDLE in self._try([{"role": "system", "content": text(_NEEDLE)}, user]),
            tools=_NEEDLE in self._try([user], **tool),
            tool_calls=f"{_NEEDLE}0" in as_object or f"{_NEEDLE}0" in as_text,
            object_arguments=objects,
            tool_role=_NEEDLE in responded,
            parallel_calls=f"{_NEEDLE}1" in called(given("x"), given("y")),
            thinking=thoughts[0] != thoughts[1],
        )

    def render(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The prompt, without marks: for looking at. `render_marked`, which takes the same options, is what a model is given."""
        return unmark(self.render_marked(messages, **options))

    def render_marked(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool | str = False,
        **variables: Any,
    ) -> str:
        """The prompt, with marks in what came from messages, for `Tokenizer.encode_prompt`.

        Args:
            messages: in OpenAI's form.
            tools: in OpenAI's form.
            add_generation_prompt: end with the beginning of an answer.
            continue_final_message: end inside the last message, an assistant's, so that it is continued; "reasoning_content" to continue its reasoning.
            **variables: for the template, such as `enable_thinking`.

        Raises:
            MessageError: a message or a tool is malformed, or there is no message to continue.
            TemplateError: the template is wrong, or refuses the messages.
        """
        checked, known = check_messages(messages), check_tools(tools)
        if continue_final_message:
            if checked[-1]["role"] != "assistant":
                raise MessageError(f"messages[{len(checked) - 1}].role: only an assistant message can be continued, found '{checked[-1]['role']}'")
            return self._continued(checked, known, continue_final_message == "reasoning_content", variables)
        return self._rendered(checked, known, add_generation_prompt=add_generation_prompt, **variables)

    def _rendered(self, messages: list[Message], tools: list[dict[str, Any]], **variables: Any) -> str:
        marked = self._marks.mark(tools)
        adapted = self._adapted(self._marks.mark(messages), marked)  # what is added here may be special
        if tools and self.caps.tools:
            variables["tools"] = marked
        return self._template.render(messages=adapted, **self._variables, **variables)

    def _continued(self, messages: list[Message], tools: list[dict[str, Any]], reasoning: bool, variables: dict[str, Any]) -> str:
        """Everything up to the end of the last message's content."""
        last = messages[-1]
        key = "reasoning_content" if reasoning else "content"
        text = (last.get(key) or "").rstrip()
        end = "\ufdd2"  # another noncharacter: where the content ends
        whole = self._rendered([*messages[:-1], last | {key: text + end}], tools, add_generation_prompt=False, **variables)
        if end not in whole:
            raise TemplateError("the chat template does not print the last message, so that message cannot be continued")
        return whole[: whole.rindex(end)] + (last.get(key) or "")[len(text) :]

    def _adapted(self, messages: list[Message], tools: list[dict[str, Any]]) -> list[Message]:
        """The messages in a form that the template can take."""
        caps = self.caps
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
            if calls := message.get("tool_calls"):
                if not caps.tool_calls:
                    written = [{"name": c["function"]["name"], "arguments": c["function"]["arguments"]} for c in calls]
                    own = "<|tool_call|>" in self.source  # Granite, Phi-4
                    text = ("<|tool_call|>" if own else "") + json.dumps(written if own else {"tool_calls": written}, ensure_ascii=False)
                    message["content"] = "\n".join(filter(None, [message["content"], text]))
                    del message["tool_calls"]
                elif not caps.object_arguments:
                    text = lambda c: json.dumps(c["function"]["arguments"], ensure_ascii=False)  # noqa: E731
                    message["tool_calls"] = [c | {"function": c["function"] | {"arguments": text(c)}} for c in calls]
            if message["role"] == "tool" and not caps.tool_role:
                message["role"] = "user"
                message["content"] = json.dumps({"tool_response": {"name": message.get("name", ""), "content": message["content"]}}, ensure_ascii=False)
            if message["content"] is None:
                message["content"] = ""
        if not caps.system:
            found = _merge_system(found)
        if not caps.string_content:
            for message in found:
                message["content"] = [{"type": "text", "text": message["content"]}]
        return found


def _merge_system(messages: list[Message]) -> list[Message]:
    """What the system says, put before what the user says next."""
    found, waiting = [], []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif waiting and message["role"] == "user":
            found.append(message | {"content": "\n\n".join([*waiting, message["content"]])})
            waiting = []
        else:
            found.append(message)
    return [*found, *({"role": "user", "content": text} for text in waiting)]
