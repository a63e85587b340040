"""Chat formats and handlers of one's own, under llama-cpp-python's names; `formats.py` has the named ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxllama.text.chat.sandbox import Template

from .formats import CHAT_FORMATS
from .function_calling import function_calling
from .handlers import (
    ChatFormatter,
    ChatFormatterResponse,
    Handler,
    LlamaChatCompletionHandler,
    Messages,
    TemplateHandler,
    format_handler,
    formatter_handler,
)
from .processors import StoppingCriteriaList

__all__ = [
    "ChatFormatter",
    "ChatFormatterResponse",
    "Jinja2ChatFormatter",
    "LlamaChatCompletionHandler",
    "LlamaChatCompletionHandlerNotFoundException",
    "LlamaChatCompletionHandlerRegistry",
    "chat_formatter_to_chat_completion_handler",
    "get_chat_completion_handler",
    "guess_chat_format_from_gguf_metadata",
    "hf_autotokenizer_to_chat_completion_handler",
    "hf_autotokenizer_to_chat_formatter",
    "hf_tokenizer_config_to_chat_completion_handler",
    "hf_tokenizer_config_to_chat_formatter",
    "register_chat_completion_handler",
    "register_chat_format",
]  # and `format_NAME` for the named formats

# The beginnings of the SHA-256 of templates that are known by a name.
_KNOWN = {"153280e3ff55d19d": "chatml", "7e995b379ec01747": "mistral-instruct", "26a59556925c9873": "mistral-instruct", "ba03a121d097859c": "llama-3"}


class LlamaChatCompletionHandlerNotFoundException(Exception):
    """There is no chat format of that name."""


class LlamaChatCompletionHandlerRegistry:
    """The handlers of all names; one for the process."""

    _chat_handlers: dict[str, Handler] = {  # noqa: RUF012
        **{name: format_handler(named) for name, named in CHAT_FORMATS.items()},
        **dict.fromkeys(("functionary", "functionary-v1", "functionary-v2"), TemplateHandler()),
        "chatml-function-calling": function_calling,
    }

    def register_chat_completion_handler(self, name: str, chat_handler: Handler, overwrite: bool = False) -> None:
        """Add a handler.

        Raises:
            ValueError: the name is taken.
        """
        if not overwrite and name in self._chat_handlers:
            raise ValueError(f"Formatter with name '{name}' is already registered. Use `overwrite=True` to overwrite it.")
        self._chat_handlers[name] = chat_handler

    def unregister_chat_handler(self, name: str) -> None:
        """Remove a handler.

        Raises:
            ValueError: there is none.
        """
        if name not in self._chat_handlers:
            raise ValueError(f"No formatter registered under the name '{name}'.")
        del self._chat_handlers[name]

    def get_chat_completion_handler_by_name(self, name: str) -> Handler:
        """The handler of a name.

        Raises:
            LlamaChatCompletionHandlerNotFoundException: there is none.
        """
        if name not in self._chat_handlers:
            raise LlamaChatCompletionHandlerNotFoundException(f"Invalid chat handler: {name} (valid formats: {list(self._chat_handlers)})")
        return self._chat_handlers[name]


def get_chat_completion_handler(name: str) -> Handler:
    """The handler of a name, see `LlamaChatCompletionHandlerRegistry`."""
    return LlamaChatCompletionHandlerRegistry().get_chat_completion_handler_by_name(name)


def register_chat_completion_handler(name: str) -> Callable[[Handler], Handler]:
    """A decorator that gives a handler a name, for `Llama(chat_format=name)`."""

    def decorate(handler: Handler) -> Handler:
        LlamaChatCompletionHandlerRegistry().register_chat_completion_handler(name, handler)
        return handler

    return decorate


def register_chat_format(name: str) -> Callable[[ChatFormatter], ChatFormatter]:
    """A decorator that gives a formatter a name, for `Llama(chat_format=name)`."""

    def decorate(formatter: ChatFormatter) -> ChatFormatter:
        register_chat_completion_handler(name)(formatter_handler(formatter))
        return formatter

    return decorate


chat_formatter_to_chat_completion_handler = formatter_handler


class Jinja2ChatFormatter:
    """Makes prompts with a template, in the sandbox in which all templates run here."""

    def __init__(self, template: str, eos_token: str, bos_token: str, add_generation_prompt: bool = True, stop_token_ids: Sequence[int] | None = None):
        """
        Args:
            template: Jinja.
            eos_token, bos_token: their texts; the first ends an answer.
            stop_token_ids: tokens that end it.

        Raises:
            TemplateError: the template is wrong.
        """
        self.template, self.eos_token, self.bos_token, self.add_generation_prompt = template, eos_token, bos_token, add_generation_prompt
        self.stop_token_ids = None if stop_token_ids is None else set(stop_token_ids)
        self._template = Template(template)

    def __call__(self, *, messages: Messages, **options: Any) -> ChatFormatterResponse:
        texts = {"bos_token": self.bos_token, "eos_token": self.eos_token, "add_generation_prompt": self.add_generation_prompt}
        prompt = self._template.render(messages=list(messages), **{**texts, **options})
        ends = self.stop_token_ids
        criteria = None if ends is None else StoppingCriteriaList([lambda tokens, logits: int(tokens[-1]) in ends])
        return ChatFormatterResponse(prompt, [self.eos_token], criteria, added_special=True)

    def to_chat_handler(self) -> Handler:
        """A handler that answers with it."""
        return formatter_handler(self)


def hf_tokenizer_config_to_chat_formatter(tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True) -> ChatFormatter:
    """A formatter with the `chat_template` of a `tokenizer_config.json`; an empty answer after the messages stands for the one to come.

    Raises:
        ValueError: there is no text for the template, BOS or EOS.
    """
    for name in ("chat_template", "bos_token", "eos_token"):
        if not isinstance(tokenizer_config.get(name), str):
            raise ValueError(f"tokenizer_config: expected a text for {name}, found {tokenizer_config.get(name)!r}")
    bos, eos = tokenizer_config["bos_token"], tokenizer_config["eos_token"]
    template = Template(tokenizer_config["chat_template"])

    def format_tokenizer_config(*, messages: Messages, **options: Any) -> ChatFormatterResponse:
        answer = [{"role": "assistant", "content": ""}] if add_generation_prompt else []
        prompt = template.render(messages=[*messages, *answer], bos_token=bos, eos_token=eos, **options)
        return ChatFormatterResponse(prompt, [eos, bos], added_special=True)

    return format_tokenizer_config


def hf_tokenizer_config_to_chat_completion_handler(tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True) -> Handler:
    """A handler with the template of a `tokenizer_config.json`."""
    return formatter_handler(hf_tokenizer_config_to_chat_formatter(tokenizer_config, add_generation_prompt))


def hf_autotokenizer_to_chat_formatter(pretrained_model_name_or_path: str) -> ChatFormatter:
    """A formatter with the template of a tokenizer of transformers.

    Raises:
        ImportError: transformers is not installed.
    """
    from .llama_tokenizer import LlamaHFTokenizer

    tokenizer = LlamaHFTokenizer.from_pretrained(pretrained_model_name_or_path).hf_tokenizer

    def format_autotokenizer(*, messages: Messages, **options: Any) -> ChatFormatterResponse:
        return ChatFormatterResponse(tokenizer.apply_chat_template(messages, tokenize=False, **options), tokenizer.eos_token, added_special=True)

    return format_autotokenizer


def hf_autotokenizer_to_chat_completion_handler(pretrained_model_name_or_path: str) -> Handler:
    """A handler with the template of a tokenizer of transformers."""
    return formatter_handler(hf_autotokenizer_to_chat_formatter(pretrained_model_name_or_path))


def guess_chat_format_from_gguf_metadata(metadata: Mapping[str, Any]) -> str | None:
    """The name of a file's template, where it is one of the four that have a name."""
    template = metadata.get("tokenizer.chat_template")
    return _KNOWN.get(hashlib.sha256(template.encode("utf-8", "surrogateescape")).hexdigest()[:16]) if isinstance(template, str) else None


def _formatter(name: str) -> ChatFormatter:
    named = CHAT_FORMATS[name]

    def formatter(*, messages: Messages, **_: Any) -> ChatFormatterResponse:
        return ChatFormatterResponse(named.prompt([{"content": None, **message} for message in messages]), named.stop)

    return formatter


# "vicuna" has no name but `format` in llama-cpp-python.
_FUNCTIONS = {"format" if name == "vicuna" else "format_" + name.replace("-2", "2").replace("-3", "3").replace("-", "_"): name for name in CHAT_FORMATS}


def __getattr__(name: str) -> Any:
    """The formatters of the named formats: `format_chatml(messages=...)` and so on."""
    if name in _FUNCTIONS:
        return _formatter(_FUNCTIONS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
