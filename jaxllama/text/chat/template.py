"""A model's chat template: what it can take, and messages rendered to a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from .adapt import arranged, as_taken
from .builtin import template_of
from .caps import Caps, probed
from .marks import Marks, unmark
from .messages import Message, MessageError, check_messages, check_tools
from .sandbox import Template, TemplateError


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

        Raises:
            ValueError: the source is neither.
        """
        self.source = template_of(source)
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
        return probed(self._try)

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
        adapted = as_taken(self._marks.mark(arranged(messages, self.caps)), marked, self.caps, self.source)  # what is added here may be special
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
