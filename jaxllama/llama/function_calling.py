"""The chat format `chatml-function-calling`: any model chooses between a message and calls of functions, one completion for each choice.

Its prompts are llama-cpp-python's, without what goes wrong there: it writes `<` in messages as `&lt;`, leaves out the results of tools, allows no words after
`message:`, and never gets to a second call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxllama.grammar.gbnf import literal
from jaxllama.request import texts_of
from jaxllama.text.chat.marks import Marks
from jaxllama.text.chat.messages import check_messages, check_tools

from .chats import call_chunks_of, calls_of, chat_of, chunks_of, tool_named, tools_of
from .completing import Completing
from .handlers import DEFAULTS

_END = "<|im_end|>"
_TOLD = (
    "\n\nYou have access to the following functions:\n",
    "\n\nYou can respond to users messages with either a single message or one or more function calls."
    "\n\nTo respond with a message begin the message with 'message:', use the following format:\n\nmessage:\n<message>"
    "\n\nTo respond with one or more function calls begin the message with 'functions.<function_name>:', use the following format:"
    "\n" + 2 * '\nfunctions.<function_name>:\n{ "arg1": "value1", "arg2": "value2" }',
)


def function_calling(
    *,
    llama: Completing,
    messages: Sequence[Mapping[str, Any]],
    functions: Sequence[Mapping[str, Any]] | None = None,
    function_call: Any = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    tool_choice: Any = None,
    stream: bool = False,
    stop: str | Sequence[str] | None = None,
    response_format: Any = None,
    logprobs: bool | None = None,
    top_logprobs: int | None = None,
    grammar: Any = None,
    **options: Any,
) -> Any:
    """Answer messages. Without a `tool_choice`, tools are not told.

    Raises:
        ValueError: the choice names no tool, or calls that the model chooses itself are to be streamed.
    """
    known, choice = tools_of(functions, function_call, tools, tool_choice)
    free = not known or choice in (None, "none")
    shown = [] if free else check_tools(known)
    marks = Marks(llama.vocabulary.special_texts())
    prompt = _prompt(marks.mark(check_messages(messages)), marks.mark([tool["function"] for tool in shown]))
    asked = {**DEFAULTS, **options, "stop": [*texts_of("stop", stop), _END]}

    def complete(text: str, **more: Any) -> Any:
        return llama.create_completion(llama.encode_prompt(text), **{**asked, **more})

    def fits(text: str) -> bool:
        return len(llama.encode_prompt(text)) < llama.n_ctx()

    def message(text: str) -> Any:
        found = complete(text, stream=stream, logprobs=(top_logprobs or 0) if logprobs else None, grammar=grammar, response_format=response_format)
        return chunks_of(found) if stream else chat_of(found)

    if free:
        return message(prompt)
    if isinstance(choice, Mapping):
        tool = tool_named(choice, shown)
        found = complete(f"{prompt}functions.{tool['name']}:\n", json_schema=tool["parameters"], stream=stream)
        return call_chunks_of(tool["name"], found) if stream else calls_of([(tool["name"], found)])
    names = [f"functions.{tool['function']['name']}:" for tool in shown]
    first = ["message:"] if choice == "auto" else []
    found = complete(prompt, temperature=0.0, stop=[":"], grammar=_one_of([*names, *first]), max_tokens=None)
    chosen = _chosen(found)
    if not chosen:
        return chunks_of(iter([found])) if stream else chat_of(found)
    if chosen == "message":
        return message(prompt + "message:\n")
    if stream:
        raise ValueError(
            "Automatic streaming tool choice is not supported: chatml-function-calling streams messages, and calls of a tool that tool_choice names"
        )
    made: list[tuple[str, dict[str, Any]]] = []
    while chosen.startswith("functions.") and (fits(f"{prompt}{chosen}:\n") or not made):  # a weak model calls without end
        name = chosen.removeprefix("functions.")
        prompt += f"{chosen}:\n"
        parameters = next(tool["function"]["parameters"] for tool in shown if tool["function"]["name"] == name)
        made.append((name, complete(prompt, json_schema=parameters, max_tokens=None)))
        prompt += made[-1][1]["choices"][0]["text"] + "\n"
        chosen = _chosen(complete(prompt, stop=[":", _END], grammar=_one_of(names, also="?"), max_tokens=None)) if fits(prompt) else ""
    return calls_of(made)


def _chosen(found: Mapping[str, Any]) -> str:
    """What was written up to the colon; nothing where the context is full before it."""
    (choice,) = found["choices"]
    return choice["text"] if choice["finish_reason"] == "stop" else ""


def _one_of(texts: Iterable[str], also: str = "") -> str:
    return f"root ::= ({' | '.join(map(literal, texts))}{f' | {literal(_END)}' if also else ''}){also}"


def _prompt(messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]) -> str:
    """Messages as text; the functions are told in the system message."""
    listed = "".join(f"\nfunctions.{one['name']}:\n{json.dumps(one['parameters'], sort_keys=True, ensure_ascii=False)}\n" for one in functions)
    text = ""
    for message in messages:
        text += f"<|im_start|>{message['role']}\n"
        content, calls = message["content"] or "", message.get("tool_calls") or []
        if message["role"] == "system" and functions:
            content += _TOLD[0] + listed + _TOLD[1]
        if message["role"] == "assistant" and content:
            content = ("message:\n" if functions else "") + content
        if content or not calls:
            text += f"{content}{_END}\n"
        if calls:
            made = (f"functions.{call['name']}:\n{json.dumps(call['arguments'], ensure_ascii=False)}" for call in (one["function"] for one in calls))
            text += "".join(made) + f"{_END}\n"
    return text + "<|im_start|>assistant\n"
