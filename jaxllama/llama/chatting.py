"""The part of `Llama` that answers messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxllama.grammar import Grammar
from jaxllama.text.chat.builtin import template_of

from .completing import Completing
from .formats import FALLBACK
from .handlers import Handler, TemplateHandler
from .llama_chat_format import LlamaChatCompletionHandlerNotFoundException, get_chat_completion_handler

_OWN = ("self", "more", "min_tokens", "max_completion_tokens", "stream_options")  # which llama-cpp-python's handlers do not know


class Chatting(Completing):
    """
    Attributes:
        chat_format: the name of a format, a template of the file, one of llama.cpp's templates, or Jinja.
        chat_handler: a function that answers chats instead.
    """

    chat_format: str | None
    chat_handler: Handler | None
    _chat_handlers: dict[str, Handler]

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: Any = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        response_format: Any = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        logits_processor: Any = None,
        grammar: Grammar | str | None = None,
        logit_bias: Mapping[Any, float] | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        *,
        min_tokens: int = 0,
        max_completion_tokens: int | None = None,
        stream_options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """Answer messages: a dictionary in the shape of OpenAI's `chat.completion`, or with `stream` an iterator of its chunks.

        With a template, tools are in the prompt and calls are read from the answer. With a named format, as in llama-cpp-python, only a tool that `tool_choice`
        names is looked at: the answer is its call.

        Args:
            functions, function_call: OpenAI's older names for `tools` and `tool_choice`.
            max_tokens, min_tokens, stream_options, logits_processor: as for `create_completion`.
            **more: what else `Model.chat` (with a template) or `create_completion` takes.

        Raises:
            LlamaChatCompletionHandlerNotFoundException: there is no such `chat_format`.
            ValueError: `tool_choice` names no tool.
        """
        given = {name: value for name, value in locals().items() if name not in _OWN} | more
        if max_completion_tokens is not None:
            given["max_tokens"] = max_completion_tokens
        if stream_options is not None:
            given["stream_options"] = stream_options
        if min_tokens > 0:
            given["logits_processor"] = self._processors(logits_processor, min_tokens)
        return self._handler()(llama=self, **given)

    def _handler(self) -> Handler:
        """What answers: `chat_handler`, a template of the file, a handler with a name, or one of llama.cpp's templates.

        Raises:
            LlamaChatCompletionHandlerNotFoundException: `chat_format` is none of these.
        """
        if self.chat_handler is not None:
            return self.chat_handler
        name = self.chat_format or FALLBACK
        if name not in self._chat_handlers:
            try:
                return get_chat_completion_handler(name)
            except LlamaChatCompletionHandlerNotFoundException as error:
                try:
                    source = template_of(name)
                except ValueError:
                    raise error from None
                self._chat_handlers[name] = TemplateHandler(source)
        return self._chat_handlers[name]

    def create_chat_completion_openai_v1(self, *args: Any, **kwargs: Any) -> Any:
        """`create_chat_completion` with the types of OpenAI's client.

        Raises:
            ImportError: openai is not installed.
        """
        try:
            from openai.types.chat import ChatCompletion, ChatCompletionChunk  # type: ignore[import-not-found]
        except ImportError:
            raise ImportError("create_chat_completion_openai_v1 needs the openai package: pip install openai") from None
        found = self.create_chat_completion(*args, **kwargs)
        return (ChatCompletionChunk(**chunk) for chunk in found) if kwargs.get("stream") else ChatCompletion(**found)
