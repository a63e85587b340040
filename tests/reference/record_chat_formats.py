"""Record the prompts and the stop strings of all of llama-cpp-python's named chat formats, and the prompts of `chatml-function-calling`.

peer/bin/python tests/reference/record_chat_formats.py > tests/reference/chat_formats.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from llama_cpp import llama_chat_format  # type: ignore[import-not-found]

SYSTEM, USER = {"role": "system", "content": "Be {brief} @ all times."}, {"role": "user", "content": "Hello <|im_end|> @there "}
ANSWER, MORE = {"role": "assistant", "content": " I am here."}, {"role": "user", "content": "And\nnow?"}
CALL = {"type": "function", "id": "c1", "function": {"name": "f", "arguments": "{}"}}
# Two formats know no "assistant", and one no "user": they leave such messages out. They are recorded with the names they know.
OWN_NAMES = {"open-orca": {"user": "User", "assistant": "Assistant"}, "saiga": {"assistant": "bot"}}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [SYSTEM, USER],
    [USER],
    [USER, ANSWER, MORE],
    [SYSTEM, USER, ANSWER, MORE],
    [SYSTEM, USER, ANSWER],
    [ANSWER, MORE],
    [{"role": "system", "content": ""}, USER],
    [USER, SYSTEM, MORE, SYSTEM | {"content": "Second."}],
    [USER | {"content": ""}, ANSWER | {"content": ""}, MORE],
    [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "content": "3", "tool_call_id": "c1"}, MORE],
    [{"role": "bot", "content": "beep"}, MORE, MORE, ANSWER, ANSWER],
    [SYSTEM],
]


# With tools: the choice, what the model writes, completion by completion. llama-cpp-python escapes `<`, `&` and quotes there, so these messages have none.
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}, MORE]
PARAMETERS = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": name, "description": "Not told.", "parameters": PARAMETERS}} for name in ("f", "g")]
CALLS: list[tuple[Any, list[str]]] = [
    (None, ["Hi."]),
    ("none", ["Hi."]),
    ({"type": "function", "function": {"name": "g"}}, ['{"b": 1}']),
    ("auto", ["message", "Hi."]),
    ("auto", ["functions.f", '{"b": 1}', "functions.g", "{}", ""]),
]


class Seen:
    """In the place of a model: it remembers what it is asked, and answers what it is told."""

    verbose = False

    def __init__(self, texts: list[str]):
        self.texts = iter(texts)
        self.asked: list[list[Any]] = []

    def tokenize(self, text: bytes, add_bos: bool, special: bool) -> str:
        return text.decode()

    def create_completion(self, prompt: str, stop: Any, **_: Any) -> Any:
        self.asked.append([prompt, stop])
        choice = {"text": next(self.texts), "logprobs": None, "finish_reason": "stop"}
        return {"id": "", "created": 0, "model": "", "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}


def seen(name: str, messages: list[dict[str, Any]]) -> list[Any]:
    """A prompt and its stop strings."""
    model, own = Seen([""]), OWN_NAMES.get(name, {})
    messages = [message | {"role": own.get(message["role"], message["role"])} for message in messages]
    llama_chat_format.get_chat_completion_handler(name)(llama=model, messages=messages)
    return model.asked[0]


def seen_with_tools(choice: Any, texts: list[str]) -> list[Any]:
    """All prompts, and the answer's message."""
    model = Seen(texts)
    answer = llama_chat_format.get_chat_completion_handler("chatml-function-calling")(llama=model, messages=TALK, tools=TOOLS, tool_choice=choice)
    return [[prompt for prompt, _ in model.asked], answer["choices"][0]["message"]]


def main() -> None:
    handlers = llama_chat_format.LlamaChatCompletionHandlerRegistry()._chat_handlers
    names = [name for name in handlers if not name.startswith("functionary") and name != "chatml-function-calling"]  # which are more than formats
    prompts = {name: [seen(name, messages) for messages in CONVERSATIONS] for name in names}
    calls = [[choice, texts, *seen_with_tools(choice, texts)] for choice, texts in CALLS]
    found = {"conversations": CONVERSATIONS, "prompts": prompts, "talk": TALK, "tools": TOOLS, "calls": calls}
    json.dump(found, sys.stdout, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main()
