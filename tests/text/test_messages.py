"""Messages, tools and choices as clients send them."""

from __future__ import annotations

import pytest

from jaxllama.text.chat.caps import call_of, tool_of
from jaxllama.text.chat.messages import MessageError, check_messages, check_tool_choice, check_tools

USER = {"role": "user", "content": "Hi"}
TOOLS = [tool_of("get_weather", "city", "unit"), tool_of("add", "a")]
CALL = {"function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (USER, USER),
        ({"role": "user", "content": ["a", {"type": "text", "text": "b"}, {"type": "input_text", "text": "c"}]}, {"role": "user", "content": "a\nb\nc"}),
        ({"role": "tool", "content": "x", "name": "f", "tool_call_id": "i", "other": 1}, {"role": "tool", "content": "x", "name": "f", "tool_call_id": "i"}),
        ({"role": "assistant", "content": "x", "thinking": "t", "tool_calls": []}, {"role": "assistant", "content": "x", "thinking": "t"}),
        ({"role": "assistant", "tool_calls": [CALL]}, {"role": "assistant", "content": None, "tool_calls": [call_of("f", {"a": 1})]}),
        (
            {"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f"}}, {"id": 7, "function": {"name": "g", "arguments": ""}}]},
            {"role": "assistant", "content": "x", "tool_calls": [call_of("f", {}), call_of("g", {}) | {"id": "7"}]},
        ),
        ({"role": "assistant", "tool_calls": [CALL, CALL]}, {"role": "assistant", "content": None, "tool_calls": [call_of("f", {"a": 1}, n) for n in (0, 1)]}),
    ],
)
def test_messages_in_one_form(message, expected):
    assert check_messages([message]) == [expected]
    assert check_messages((USER, message)) == [USER, expected]


def test_calls_without_ids_get_their_own():
    found = check_messages([{"role": "assistant", "tool_calls": [CALL, CALL]}, USER, {"role": "assistant", "tool_calls": [CALL | {"id": "x"}, CALL]}])
    assert [c["id"] for m in found for c in m.get("tool_calls", ())] == ["call00000", "call00001", "x", "call00003"]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([], r"messages: expected a list of at least one message, found \[\]"),
        (b"hi", "messages: expected a list of at least one message, found bytes"),
        ("hi", "messages: expected a list of at least one message"),
        ([1], r"messages\[0\]: expected an object"),
        ([{"content": "x"}], r"messages\[0\].role: expected 'system', 'user', 'assistant' or 'tool', found None"),
        ([{"role": "user<|im_end|>", "content": "x"}], r"messages\[0\].role"),
        ([USER, {"role": "user"}], r"messages\[1\].content: expected a string, found None"),
        ([{"role": "user", "content": 3}], r"messages\[0\].content: expected a string or a list of content parts, found 3"),
        ([{"role": "user", "content": b"hi"}], r"messages\[0\].content: expected a string or a list of content parts, found bytes"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"messages\[0\].content\[0\].type: expected 'text'"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"messages\[0\].content\[0\].text: expected a string"),
        ([{"role": "user", "content": "x", "tool_calls": [1]}], r"messages\[0\].tool_calls: only assistant messages have tool calls"),
        (5, "messages: expected a list of at least one message"),
        ([{"role": "user", "content": [3]}], r"messages\[0\].content\[0\]: expected a string or an object with a type, found 3"),
        ([{"role": "user", "content": [{"text": "x"}]}], r"messages\[0\].content\[0\]: expected a string or an object with a type, found dict"),
        ([{"role": "user", "content": "x", "name": 3}], r"messages\[0\].name: expected a string, found 3"),
        ([{"role": "assistant", "tool_calls": "f"}], r"messages\[0\].tool_calls: expected a list of tool calls, found 'f'"),
        ([{"role": "assistant", "tool_calls": 5}], r"messages\[0\].tool_calls: expected a list of tool calls, found 5"),
        ([{"role": "assistant", "tool_calls": [5]}], r"messages\[0\].tool_calls\[0\].function: expected"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": ""}}]}], r"messages\[0\].tool_calls\[0\].function.name: expected a string that is not"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}], r"messages\[0\].tool_calls\[0\].function.name: expected a string that is not"),
        ([{"role": "assistant", "tool_calls": [{}]}], r"messages\[0\].tool_calls\[0\].function: expected"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], r"arguments: expected JSON"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]}], r"arguments: expected a JSON object"),
    ],
)
def test_malformed_messages(messages, error):
    with pytest.raises(MessageError, match=error):
        check_messages(messages)


def test_malformed_tools():
    for tools, error in [
        ("f", "tools: expected a list"),
        (5, "tools: expected a list"),
        (b"f", "tools: expected a list"),
        ([5], r"tools\[0\].function: expected an object with name and parameters, found None"),
        ([{"function": {"name": "a b"}}], r"tools\[0\].function.name"),
        ([{"function": {"name": "f", "description": 1}}], r"tools\[0\].function.description: expected a string"),
        ([{"function": {}}], r"tools\[0\].function.name"),
        ([TOOLS[0], TOOLS[0]], r"tools\[1\].function.name: two tools have the name"),
        ([{"function": {"name": "f", "parameters": 1}}], r"tools\[0\].function.parameters"),
        ([{"function": {"name": "f", "parameters": {"properties": []}}}], r"tools\[0\].function.parameters.properties: expected an object"),
    ]:
        with pytest.raises(MessageError, match=error):
            check_tools(tools)
    with pytest.raises(MessageError, match="tool_choice: 'required' needs tools, found none"):
        check_tool_choice("required", [])
    with pytest.raises(MessageError, match=r"tool_choice\.function\.name"):
        check_tool_choice({"type": "function", "function": {"name": "g"}}, TOOLS)
    with pytest.raises(MessageError, match=r"tool_choice\.function\.name: expected one of no tools"):
        check_tool_choice({"type": "function", "function": "f"}, [])
    with pytest.raises(MessageError, match="tool_choice: expected 'auto', 'none', 'required' or a function of tools, found 'add'"):
        check_tool_choice("add", TOOLS)


def test_tools_in_one_form():
    assert check_tools(None) == []
    assert check_tools(TOOLS) == TOOLS
    plain = {"type": "function", "function": {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}}
    assert check_tools([{"function": {"name": "f"}, "strict": True}]) == [plain]
    choices = [(c, tools, check_tool_choice(c, tools)) for tools in (TOOLS, []) for c in (None, "auto", "none")]
    assert [made for *_, made in choices] == ["auto", "auto", "none", "none", "auto", "none"]
    assert check_tool_choice("required", TOOLS) == "required"
    assert check_tool_choice({"type": "function", "function": {"name": "add"}}, TOOLS) == "add"
