"""From messages to prompts: a model's chat template, and what its answers look like."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .text import Tokenizer
from .text.chat.builtin import template_of
from .text.chat.messages import MessageError, check_tool_choice, check_tools
from .text.chat.syntax import HARMONY, AnswerSyntax, answer_syntax
from .text.chat.template import ChatTemplate
from .text.chat.tool_grammar import ToolGrammar, tool_grammar

PROMPT_OPTIONS = ("tools", "tool_choice", "parallel_tool_calls", "add_generation_prompt", "continue_final_message", "chat_template_kwargs")
GUESSED = "the file has no chat template: messages are written in ChatML, which the model may not know"
_HARMONY_MARKS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>")


def chat_template(tokenizer: Tokenizer, metadata: Mapping[str, Any], source: str | None = None, *, tools: bool = False) -> ChatTemplate:
    """The template of a file.

    Args:
        tokenizer: whose special tokens no message can write.
        metadata: of the file.
        source: Jinja or the name of a built-in template, instead of the file's.
        tools: prefer the file's template for tools.
    """
    v = tokenizer.vocabulary
    bos, eos = (v.tokens[v.special[name]] if name in v.special else "" for name in ("bos", "eos"))
    special = tokenizer.special_texts()
    if source is not None:
        return ChatTemplate(source, bos=bos, eos=eos, special=special)
    return ChatTemplate.from_metadata(metadata, "tool_use" if tools else None, bos=bos, eos=eos, special=special)


@dataclass(frozen=True)
class ChatPrompt:
    """What messages become.

    Attributes:
        ids: the prompt.
        text: the same, to look at.
        syntax: what an answer looks like.
        tools: the tools that the model sees, checked.
        choice: "auto", "none", "required" or the name of one.
        parallel: several calls are allowed.
    """

    ids: list[int]
    text: str
    syntax: AnswerSyntax
    tools: list[dict[str, Any]]
    choice: str
    parallel: bool

    def grammar(self, ignore: Collection[str] = ()) -> ToolGrammar | None:
        """What the choice of tools implies; None where the answer is free.

        Args:
            ignore: keywords of the tools' schemas that may be left out where a grammar cannot say them.

        Raises:
            SchemaError: the schema of a tool says what a grammar cannot.
        """
        return tool_grammar(self.syntax.tools, self.tools, self.choice, parallel=self.parallel, ignore=ignore)


class Chat:
    """Prompts and answers of one model with one template."""

    def __init__(self, tokenizer: Tokenizer, metadata: Mapping[str, Any], template: str | None = None):
        """
        Args:
            tokenizer, metadata: of the file.
            template: Jinja or the name of a built-in template, instead of the file's.

        Raises:
            ValueError: the template is neither.
        """
        if not isinstance(template, str | None):
            raise TypeError(f"chat_template: expected Jinja or the name of a built-in template, found {template!r}")
        self._tokenizer, self._metadata, self._source = tokenizer, metadata, None if template is None else template_of(template)
        self._templates: dict[bool, ChatTemplate] = {}

    @property
    def guessed(self) -> bool:
        """Whether neither the file nor the caller names a template, so that ChatML is taken, as in llama.cpp."""
        return self._source is None and not ChatTemplate.source_of(self._metadata)

    def with_template(self, source: str) -> Chat:
        """The same with another template: Jinja, or the name of a built-in one."""
        return Chat(self._tokenizer, self._metadata, source)

    def template(self, *, tools: bool = False) -> ChatTemplate:
        """The template for chats with or without tools. There is a warning where it is `guessed`."""
        if tools not in self._templates:
            if self.guessed and not self._templates:
                warnings.warn(f"{GUESSED}; load(..., chat_template=...) takes another", stacklevel=2)
            self._templates[tools] = chat_template(self._tokenizer, self._metadata, self._source, tools=tools)
        return self._templates[tools]

    def prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        parallel_tool_calls: bool = True,
        reasoning: str = "auto",
        add_generation_prompt: bool = True,
        continue_final_message: bool | str = False,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> ChatPrompt:
        """Render messages.

        Args:
            messages, tools, tool_choice, parallel_tool_calls: as OpenAI has them.
            reasoning: "on", "off", or "auto" for the template's own way.
            add_generation_prompt, continue_final_message: see `ChatTemplate.render_marked`.
            chat_template_kwargs: more variables for the template.

        Raises:
            MessageError: something is malformed; the text says which message and which field.
            TemplateError: the template is wrong, or refuses the messages.
        """
        if reasoning not in ("auto", "on", "off"):
            raise MessageError(f"reasoning: expected 'auto', 'on' or 'off', found {reasoning!r}")
        if not isinstance(chat_template_kwargs, Mapping | None):
            raise MessageError(f"chat_template_kwargs: expected an object, found {chat_template_kwargs!r}")
        known = check_tools(tools)
        choice = check_tool_choice(tool_choice, known)
        shown = [] if choice == "none" else known
        variables = {"enable_thinking": reasoning != "off", **(chat_template_kwargs or {})}
        template = self.template(tools=bool(shown))
        marked = template.render_marked(
            messages, tools=shown, add_generation_prompt=add_generation_prompt, continue_final_message=continue_final_message, **variables
        )
        syntax = answer_syntax(template, marked)
        ids = self._tokenizer.encode_prompt(marked)
        return ChatPrompt(ids, self._tokenizer.decode(ids, unparse_special=True), syntax, shown, choice, parallel_tool_calls)

    def shown(self, syntax: AnswerSyntax) -> frozenset[int]:
        """Special tokens that are part of answers, and so must appear in their text."""
        t = syntax.tools
        markers = (t.section_start, t.section_end, t.call_start, t.call_end, t.name_end, t.id_end, t.argument_start, t.key_end, t.value_end, *syntax.reasoning)
        texts = " ".join([*markers, "<|python_tag|>", *(_HARMONY_MARKS if t.kind == HARMONY else ())])
        v = self._tokenizer.vocabulary
        return frozenset(i for i in self._tokenizer.hidden - v.end if v.tokens[i] in texts)
