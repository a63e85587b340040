"""An answer, read, put back as a message with the results of its calls, renders, and the same calls are found in the prompt, each before its result."""

from __future__ import annotations

import json
import warnings
from dataclasses import astuple
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from chats import NAMES, USER, template, written
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxllama.text.chat.builtin import BUILTIN
from jaxllama.text.chat.caps import tool_of
from jaxllama.text.chat.parse import parse
from jaxllama.text.chat.stream import AnswerReader
from jaxllama.text.chat.syntax import AnswerSyntax, answer_syntax
from jaxllama.text.chat.template import ChatTemplate

# A tool with an argument of each kind, and one with none.
TYPES = {"word": "string", "count": "integer", "share": "number", "exact": "boolean", "options": "object", "list": "array"}
TOOLS = [tool_of("find", *TYPES), tool_of("now")]
for _key, _type in TYPES.items():
    TOOLS[0]["function"]["parameters"]["properties"][_key]["type"] = _type
_MARKS = ("</think>", "```", ">>>all", "}}", "]", "<|", '"', "\\", "\n", "ü 日本 🌤", "{% raw %}")


def texts(syntax: AnswerSyntax) -> st.SearchStrategy[str]:
    """Texts with what could be taken for a mark of the form."""
    marks = {m for m in astuple(syntax.tools) if isinstance(m, str) and m}
    marks |= {m.strip() for m in marks} | {"<|call|>", "<|end|>", "<tool_call|>", '{"a": 1}', *_MARKS}
    return st.lists(st.sampled_from([*sorted(marks), "a", "b c", "12", "true"]), min_size=1, max_size=4).map(lambda parts: "x" + "y".join(parts))


def arguments(syntax: AnswerSyntax) -> st.SearchStrategy[dict[str, Any]]:
    text = texts(syntax)
    leaf = st.one_of(text, st.integers(), st.booleans(), st.none())
    nested = st.recursive(
        leaf, lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["a", "b-c", "ü"]), inner, max_size=2)), max_leaves=4
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "word": text | st.sampled_from(["12", "null", "", '{"a": 1}']),
            "count": st.integers(),
            "share": st.floats(allow_nan=False, allow_infinity=False),
            "exact": st.booleans(),
            "options": st.dictionaries(st.sampled_from(["a", "b-c", "ü"]), nested, max_size=2),
            "list": st.lists(nested, max_size=2),
        },
    )


@st.composite
def answers(draw: st.DrawFn, syntax: AnswerSyntax) -> tuple[str, str, list[tuple[str, dict[str, Any], str]]]:
    """Content, thought and calls."""
    count = draw(st.integers(1, 3))
    calls = [("find", draw(arguments(syntax)), f"call{n:05}") if draw(st.booleans()) else ("now", {}, f"abc{n:06}") for n in range(count)]
    content = draw(st.sampled_from(["", "CON-TENT.", "CON-TENT: ü {x} < y"]))
    return content, draw(st.sampled_from(["", "Let me think: 1 < 2."])) if syntax.reasoning[1] or syntax.tools.kind == "harmony" else "", calls


def same(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def found_again(made: ChatTemplate, prompt: str, syntax: AnswerSyntax, results: list[str]) -> list[list[tuple[str, Any]]]:
    """The calls before each result, read as answers are."""
    asked = [made.render([USER], tools=TOOLS, add_generation_prompt=on, enable_thinking=True) for on in (False, True)]
    at = same(asked[0], prompt)
    opening = asked[1][same(*asked) :].removesuffix("<think>\n")
    found = []
    for result in results:
        end = prompt.index(result, at)
        part, at = prompt[at:end], end + len(result)
        if syntax.tools.bare:
            answers = [part[part.find('{"') :]]
        else:
            answers = part.split(opening)[1:] if opening else [part]
        found.append([(c.name, json.loads(c.arguments)) for answer in answers for c in parse(answer, syntax, TOOLS).calls])
    return found


def returns(made: ChatTemplate, data: st.DataObject) -> None:
    syntax = answer_syntax(made, made.render([USER], tools=TOOLS, enable_thinking=True))
    content, reasoning, calls = data.draw(answers(syntax))
    text = written(syntax, content, reasoning, calls)
    cut = data.draw(st.integers(0, len(text)))
    reader = AnswerReader(syntax, TOOLS)
    for piece in (text[:cut], text[cut:]):
        reader.push(piece)
    reader.finish()
    message = reader.message()
    given_calls = [(name, made_) for name, made_, _ in calls]
    assert [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]] == given_calls, text
    assert (message["content"] or "", message.get("reasoning_content", "")) == (content, reasoning), text

    results = [f"RE-SULT{n}" for n in range(len(calls))]
    ids = [c["id"] for c in message["tool_calls"]]
    answered = [{"role": "tool", "tool_call_id": i, "content": f"{result} </tool_response>"} for i, result in zip(ids, results, strict=True)]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        prompt = made.render([USER, message, *answered], tools=TOOLS, enable_thinking=True)
    again = found_again(made, prompt, AnswerSyntax(syntax.tools, syntax.reasoning, prefix=syntax.prefix, generic=syntax.generic), results)
    assert [call for part in again for call in part] == given_calls, prompt
    for n in range(len(calls)):
        assert sum(map(len, again[: n + 1])) > n, f"call {n} comes after its result in {prompt}"
    assert content in prompt or [str(w.message) for w in told] == ["the chat template leaves out the content of messages that have tool calls"]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5)
@given(data=st.data())
def test_what_a_model_answered_goes_back(shared_data: Path, name: str, data: st.DataObject):
    returns(template(shared_data, name), data)


@settings(max_examples=15)
@given(data=st.data())
def test_what_a_model_with_a_built_in_template_answered_goes_back(data: st.DataObject):
    returns(ChatTemplate(data.draw(st.sampled_from(sorted(BUILTIN)))), data)
