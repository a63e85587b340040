"""What the tests of chats share: real templates, tools, and what a model of a family writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jaxllama.text.chat.caps import tool_of
from jaxllama.text.chat.stream import AnswerReader
from jaxllama.text.chat.syntax import AnswerSyntax, answer_syntax
from jaxllama.text.chat.template import ChatTemplate

NAMES = (
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use GLM-4.6 NousResearch-Hermes-3-Llama-3.1-8B-tool_use Qwen-Qwen2.5-7B-Instruct Qwen-Qwen3-0.6B Qwen3-Coder "
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B google-gemma-2-2b-it ibm-granite-granite-3.3-2B-Instruct meetkai-functionary-medium-v3.2 "
    "meta-llama-Llama-3.1-8B-Instruct microsoft-Phi-3.5-mini-instruct mistralai-Mistral-Nemo-Instruct-2407 moonshotai-Kimi-K2 openai-gpt-oss-120b"
).split()
TOOLS = [tool_of("get_weather", "city", "unit"), tool_of("add", "a")]
TOOLS[1]["function"]["parameters"]["properties"]["a"]["type"] = "number"
USER = {"role": "user", "content": "Hi"}


@cache
def template(data: Path, name: str) -> ChatTemplate:
    source = (data / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(source, bos="<s>", eos="</s>", now=lambda: datetime(2026, 1, 2))


@cache
def syntax_of(data: Path, name: str) -> AnswerSyntax:
    return answer_syntax(template(data, name), ">>>" if "functionary" in name else "")


def added_up(reader: AnswerReader, pieces: Sequence[str]) -> tuple[str, str, list[tuple[str, str]]]:
    """Content, reasoning and calls of all deltas together."""
    content = reasoning = ""
    calls: list[list[str]] = []
    deltas = [d for piece in pieces for d in reader.push(piece)] + reader.finish()
    for delta in deltas:
        content += delta.get("content", "")
        reasoning += delta.get("reasoning_content", "")
        for call in delta.get("tool_calls", ()):
            if call["index"] == len(calls):
                calls.append([call["function"]["name"], ""])
            calls[call["index"]][1] += call["function"]["arguments"]
    return content, reasoning, [(name, arguments) for name, arguments in calls]


def written(syntax: AnswerSyntax, content: str, reasoning: str, calls: Sequence[tuple[str, dict[str, Any], str]]) -> str:
    """An answer as a model with a syntax writes it.

    Args:
        calls: names, arguments and ids; an id is written where the form has a place for it.
    """
    t = syntax.tools
    start, end = syntax.reasoning
    thought = f"{'' if syntax.opened else start}\n{reasoning}\n{end}\n\n" if reasoning or syntax.opened else ""
    if t.kind == "harmony":
        parts = [f"<|channel|>analysis<|message|>{reasoning}<|end|>"] if reasoning else []
        parts += [f"<|channel|>{'commentary' if calls else 'final'}<|message|>{content}<|end|>"] if content else []
        parts += [f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{_json(made)}<|call|>" for name, made, _ in calls]
        return "<|start|>assistant".join(parts)
    if t.kind == "functionary":
        parts = [f"all\n{content}"] if content else []
        return ">>>".join([*parts, *(f"{name}\n{_json(made)}" for name, made, _ in calls)])
    if not calls:
        return thought + content
    if t.kind == "json":
        objects = [_json({key: dict(zip(t.keys, call[:2] + call[2:], strict=True))[key] for key in t.order}) for call in calls]
        if t.listed or t.wrapper:
            objects = [f"[{', '.join(objects)}]"]
        if t.wrapper:
            objects = [f'{{"{t.wrapper}": {objects[0]}}}']
    else:
        objects = [_marked(t, number, *call) for number, call in enumerate(calls)]
    made = ("; " if t.bare else "\n").join(f"{t.call_start}{one}{t.call_end}" for one in objects)
    if t.bare:  # words come after calls, or the answer is no call
        return f"{thought}{made}\n{content}".rstrip()
    return f"{thought}{content}{t.section_start}{made}{t.section_end}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _marked(t: Any, number: int, name: str, arguments: dict[str, Any], id_: str) -> str:
    """A call without the marks around it."""
    if t.kind == "named":
        numbered = f":{number}" if t.name_suffix else ""
        return f"{t.name_prefix}{name}{numbered}{t.name_end}{id_ + t.id_end if t.id_end else ''}{_json(arguments)}" + ("\n" if "`" in t.call_end else "")
    if t.kind == "tagged":
        texts = {key: value if isinstance(value, str) else _json(value) for key, value in arguments.items()}
        pairs = (f"{t.argument_start}{key}{t.key_end}{text}{t.value_end}\n" for key, text in texts.items())
        return f"{name}{t.name_end}\n{''.join(pairs)}"
    assert t.kind == "gemma"
    return name + "{" + ",".join(f"{key}:{_gemma(value)}" for key, value in arguments.items()) + "}"


def _gemma(value: Any) -> str:
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, list):
        return f"[{','.join(map(_gemma, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_gemma(inner)}" for key, inner in value.items()) + "}"
    return _json(value)
