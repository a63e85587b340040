"""Chatting with a loaded model, in the shapes of OpenAI's client."""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .request import CONSTRAINTS, answer_grammar, is_whole, texts_of
from .text import Tokenizer
from .text.chat.builtin import template_of
from .text.chat.messages import MessageError, check_tool_choice, check_tools
from .text.chat.stream import AnswerReader
from .text.chat.syntax import HARMONY, AnswerSyntax, answer_syntax
from .text.chat.template import ChatTemplate
from .text.chat.tool_grammar import ToolGrammar, tool_grammar

if TYPE_CHECKING:
    from .api import Model
    from .pieces import Piece

FINISH = {"end": "stop", "stop": "stop", "limit": "length", "context": "length", "grammar": "stop"}  # our reasons to stop in OpenAI's words
_PROMPT_OPTIONS = frozenset("tools tool_choice parallel_tool_calls add_generation_prompt continue_final_message chat_template_kwargs".split())
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


def stream_chat(
    model: Model,
    messages: Sequence[Mapping[str, Any]],
    *,
    max_tokens: int = -1,
    stop: str | Sequence[str] = (),
    reasoning_format: str = "auto",
    reasoning_budget: int = -1,
    reasoning_budget_message: str = "",
    reasoning: str = "auto",
    include_usage: bool = True,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Answer messages, piece by piece; see `Model.stream_chat`."""
    max_tokens = options.pop("n_predict", max_tokens)  # llama.cpp's name for it
    if "shown" in options:
        raise TypeError("shown: a chat's template says which special tokens its answers show; preserved_tokens adds others")
    if not is_whole(reasoning_budget) or reasoning_budget < -1:
        raise MessageError(f"reasoning_budget: expected a number of tokens, 0 for no reasoning or -1 for no limit, found {reasoning_budget!r}")
    reasoning = "off" if reasoning_budget == 0 and reasoning == "auto" else reasoning
    prompt = model.chats.prompt(messages, reasoning=reasoning, **{name: options.pop(name) for name in _PROMPT_OPTIONS & options.keys()})
    ignored = texts_of("schema_ignore", options.get("schema_ignore"))
    reader = AnswerReader(prompt.syntax, prompt.tools, reasoning_format=reasoning_format, calls=bool(prompt.tools))
    head = {"id": "chatcmpl-" + secrets.token_hex(12), "object": "chat.completion.chunk", "created": int(time.time()), "model": model.name}

    def chunk(delta: Mapping[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": dict(delta), "finish_reason": reason}], **more}

    yield chunk({"role": "assistant", "content": None})
    last: Piece | None = None
    made = 0
    stops, budget = texts_of("stop", stop), (reasoning_budget, reasoning_budget_message)
    wanted = model.grammar(**{name: options.pop(name) for name in CONSTRAINTS if name in options and name != "schema_ignore"}, schema_ignore=ignored)
    grammar = answer_grammar(model.tokenizer, wanted, prompt.grammar(ignored), prompt.syntax.reasoning, opened=prompt.syntax.opened)
    if grammar is not None:
        options |= {"grammar": grammar, "begun": prompt.syntax.prefix if grammar.place(prompt.syntax.prefix) else ""}
    for last in _pieces(model, prompt, reader, max_tokens, stops, budget, options):
        made += last.token is not None
        for delta in reader.push(last.text):
            yield chunk(delta)
    assert last is not None
    assert last.timings is not None
    for delta in reader.finish():
        yield chunk(delta)
    timings = last.timings
    usage = {"prompt_tokens": len(prompt.ids), "completion_tokens": made, "total_tokens": len(prompt.ids) + made}
    measured = {
        "prompt_n": timings.prompt_tokens,
        "prompt_ms": 1e3 * timings.prompt_seconds,
        "predicted_n": made,
        "predicted_ms": 1e3 * timings.decode_seconds,
        "predicted_per_second": timings.decode_rate,
    }
    reason = "tool_calls" if reader.parsed.calls else FINISH[last.reason or "end"]
    yield chunk({}, reason, **({"usage": usage, "timings": measured} if include_usage else {}))


def _pieces(
    model: Model, prompt: ChatPrompt, reader: AnswerReader, max_tokens: int, stop: Sequence[str], limit: tuple[int, str], sampling: Mapping[str, Any]
) -> Iterator[Piece]:
    """The answer's pieces; where reasoning has used up its budget, it is ended, and the answer goes on from there."""
    shown = model.chats.shown(prompt.syntax)
    start, end = prompt.syntax.reasoning
    budget, message = limit
    if budget <= 0 or not end or 0 <= max_tokens <= budget:
        yield from model.stream(prompt.ids, n_predict=max_tokens, stop=stop, shown=shown, **sampling)
        return
    made: list[int] = []
    for piece in model.stream(prompt.ids, n_predict=budget, stop=stop, shown=shown, **sampling):
        made += [] if piece.token is None else [piece.token]
        thinking = end not in reader.text + piece.text and (prompt.syntax.opened or start in reader.text + piece.text)
        if piece.reason == "limit":
            ending = message + end if thinking else ""
            yield replace(piece, text=piece.text + ending, reason=None, timings=None)
            more = model.tokenizer.encode(ending, add_special=False, parse_special=True)
            left = max_tokens - budget if max_tokens > 0 else -1
            begun = str(sampling.get("begun", "")).encode() + b"".join(model.tokenizer.piece(t, special=True) for t in [*made, *more])
            yield from model.stream([*prompt.ids, *made, *more], n_predict=left, stop=stop, shown=shown, **{**sampling, "begun": begun})
            return
        yield piece


def complete_chat(model: Model, messages: Sequence[Mapping[str, Any]], **options: Any) -> dict[str, Any]:
    """Answer messages; see `Model.chat`."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: list[dict[str, Any]] = []
    chunk: dict[str, Any] = {}
    for chunk in stream_chat(model, messages, **options):
        delta = chunk["choices"][0]["delta"]
        for key in ("content", "reasoning_content"):
            if delta.get(key):
                message[key] = (message.get(key) or "") + delta[key]
        for call in delta.get("tool_calls", ()):
            if call["index"] == len(calls):
                calls.append({"id": call["id"], "type": "function", "function": {"name": call["function"]["name"], "arguments": ""}})
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    choice = {"index": 0, "message": message, "finish_reason": chunk["choices"][0]["finish_reason"], "logprobs": None}
    return {k: v for k, v in chunk.items() if k not in ("choices", "object")} | {"object": "chat.completion", "choices": [choice]}
