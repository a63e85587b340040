"""What templates can take, and messages in the form that they take; the form of calls as it is derived from what a template writes."""

# ruff: noqa: E501  templates are long

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from jaxllama.text.chat.adapt import TOOLS_PROMPT
from jaxllama.text.chat.caps import call_of, tool_of
from jaxllama.text.chat.messages import MessageError
from jaxllama.text.chat.sandbox import TemplateError
from jaxllama.text.chat.syntax import GENERIC, ToolSyntax, answer_syntax, tool_syntax
from jaxllama.text.chat.template import ChatTemplate

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Yes?"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [call_of("f", {"a": "b"})]}
RESULT = {"role": "tool", "name": "f", "tool_call_id": "call00000", "content": "42"}
PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
ALTERNATING = (
    "{% for m in messages %}{% if m.role != ('user' if loop.index0 % 2 == 0 else 'assistant') %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}"
)
PARTS = "{% for m in messages %}[{{ m.role }}]{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
TOOLS = "{{ tools | tojson if tools else '' }}" + PLAIN
OBJECTS = TOOLS.replace("{% endfor %}", "{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ c.function.arguments.a }}{{ c.function.arguments | tojson }}>{% endfor %}{% endfor %}")  # fmt: skip
STRINGS = OBJECTS.replace("{{ c.function.arguments.a }}{{ c.function.arguments | tojson }}", "{{ c.function.arguments + '!' }}")
WORDS_OR_CALLS = OBJECTS.replace("{{ m.content }}", "{{ '' if m.tool_calls else m.content }}")
THOUGHT_OR_WORDS = OBJECTS.replace("{{ m.content }}", "{{ raise_exception('both') if m.thinking and m.content else m.thinking or m.content }}")
NINE = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ raise_exception('length') if c.id | length != 9 }}{% endfor %}{% endfor %}"
NAMED_RESULTS = OBJECTS.replace("{{ m.content }}", "{{ m.content }}{% if m.role == 'tool' %} {{ m.name }} {{ m.tool_call_id }}{% endif %}")
TOOL = tool_of("f", "a")
LISTED = TOOLS_PROMPT.format(tools='{"name": "f", "description": "a probe", "parameters": {"type": "object", "properties": {"a": {"type": "string", "description": "a"}}, "required": ["a"]}}')  # fmt: skip


@pytest.mark.parametrize(
    ("source", "messages", "tools", "expected"),
    [
        (PLAIN, [SYSTEM, USER, ASSISTANT], None, "[system]Be brief.[user]Hi[assistant]Yes?"),
        (PLAIN, [SYSTEM | {"role": "developer"}, USER], None, "[system]Be brief.[user]Hi"),
        (PLAIN, [USER], [TOOL], f"[system]{LISTED}[user]Hi"),
        (PLAIN, [SYSTEM, USER], [TOOL], f"[system]Be brief.\n\n{LISTED}[user]Hi"),
        (PLAIN, [USER, CALLING], None, '[user]Hi[assistant]{"tool_calls": [{"name": "f", "arguments": {"a": "b"}}]}'),
        (PLAIN, [USER, CALLING | {"content": "x"}], None, '[user]Hi[assistant]{"tool_calls": [{"name": "f", "arguments": {"a": "b"}}]}\nx'),
        ("{# <|tool_call|> #}" + PLAIN, [USER, CALLING], None, '[user]Hi[assistant]<|tool_call|>[{"name": "f", "arguments": {"a": "b"}}]'),
        (PLAIN, [USER, RESULT], None, "[user]Hi[tool]42"),
        (ALTERNATING, [SYSTEM, USER, ASSISTANT, SYSTEM, SYSTEM, USER], None, "[user]Be brief.\nHi[assistant]Yes?[user]Be brief.\nBe brief.\nHi"),
        (ALTERNATING, [USER, ASSISTANT, SYSTEM], None, "[user]Hi[assistant]Yes?[user]Be brief."),
        (ALTERNATING, [USER, ASSISTANT, RESULT], None, '[user]Hi[assistant]Yes?[user]{"tool_response": {"name": "f", "content": "42"}}'),
        (PARTS, [USER, ASSISTANT], None, "[user]Hi[assistant]Yes?"),
        (TOOLS, [USER], [TOOL], '[{"type": "function", "function": {"name": "f", "description": "a probe", "parameters": {"type": "object", "properties": {"a": {"type": "string", "description": "a"}}, "required": ["a"]}}}][user]Hi'),
        (OBJECTS, [USER, CALLING], None, '[user]Hi[assistant]<f b{"a": "b"}>'),
        (STRINGS, [USER, CALLING], None, '[user]Hi[assistant]<f {"a": "b"}!>'),
    ],
)  # fmt: skip
def test_messages_as_the_template_takes_them(source, messages, tools, expected):
    given = [dict(m) for m in messages]
    assert ChatTemplate(source).render(messages, tools=tools, add_generation_prompt=False) == expected
    assert messages == given


def test_what_a_template_can_take():
    names = ("string_content", "system", "tools", "tool_calls", "object_arguments", "tool_role", "parallel_calls", "thinking")
    beside = ("content_and_calls", "content_before_calls", "thought_and_content", "any_id")
    for source, can in [
        (PLAIN, {"string_content", "system", "object_arguments", "tool_role"}),
        (ALTERNATING, {"string_content", "object_arguments"}),
        (PARTS, {"system", "object_arguments", "tool_role"}),
        ("{% for m in messages if m.content is string %}{{ raise_exception('parts') }}{% endfor %}" + PARTS, {"system", "object_arguments", "tool_role"}),
        (TOOLS, {"string_content", "system", "object_arguments", "tool_role", "tools"}),
        (OBJECTS, set(names) - {"thinking"}),
        (STRINGS, set(names) - {"thinking", "object_arguments"}),
        (PLAIN + "{% if enable_thinking and add_generation_prompt %}<think>{% endif %}", {"string_content", "system", "object_arguments", "tool_role", "thinking"}),
        ("{{ raise_exception('no') }}", {"string_content", "object_arguments"}),
    ]:  # fmt: skip
        caps = ChatTemplate(source).caps
        assert {name for name in names if getattr(caps, name)} == can, source
    for source, can in [
        (OBJECTS, {*beside}),
        (WORDS_OR_CALLS, {"content_before_calls", "thought_and_content", "any_id"}),
        ("{% for m in messages if m.role == 'assistant' and not m.tool_calls and loop.index0 %}{{ raise_exception('turns') }}{% endfor %}" + WORDS_OR_CALLS, {"thought_and_content", "any_id"}),
        (THOUGHT_OR_WORDS, {*beside} - {"thought_and_content"}),
        (NINE + OBJECTS, {*beside} - {"any_id"}),
        (PLAIN, {"content_and_calls", "content_before_calls", "thought_and_content", "any_id"}),
    ]:  # fmt: skip
        caps = ChatTemplate(source).caps
        assert {name for name in beside if getattr(caps, name)} == can, source


def called(*names: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call_of(name, {"a": name}, n) for n, name in enumerate(names)], **more}


def result(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


ONE_CALL = OBJECTS.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]")


@pytest.mark.parametrize(
    ("source", "messages", "expected"),
    [
        # One call a message, each before its result: by id, in any order; what belongs to none comes last.
        (ONE_CALL, [called("f", "g"), result("G", tool_call_id="call00001"), result("F", tool_call_id="call00000"), USER],
         '[assistant]<f f{"a": "f"}>[tool]F[assistant]<g g{"a": "g"}>[tool]G[user]Hi'),
        (ONE_CALL, [called("f", "g", content="x"), result("F", tool_call_id="call00000"), result("?", tool_call_id="other")],
         '[assistant]x<f f{"a": "f"}>[tool]F[assistant]<g g{"a": "g"}>[tool]?'),
        (ONE_CALL, [called("f", "g")], '[assistant]<f f{"a": "f"}>[assistant]<g g{"a": "g"}>'),
        (OBJECTS, [called("f", "g"), result("F")], '[assistant]<f f{"a": "f"}><g g{"a": "g"}>[tool]F'),
        # Results without an id are those of the calls in order, or of the call they name.
        (NAMED_RESULTS, [called("f", "g"), result("F"), result("G")], '[assistant]<f f{"a": "f"}><g g{"a": "g"}>[tool]F f call00000[tool]G g call00001'),
        (NAMED_RESULTS, [called("f", "g"), result("G", name="g"), result("F")], '[assistant]<f f{"a": "f"}><g g{"a": "g"}>[tool]G g call00001[tool]F f call00000'),
        (NAMED_RESULTS, [called("f"), result("?", tool_call_id="other", name="x"), USER, result("F")], '[assistant]<f f{"a": "f"}>[tool]? x other[user]Hi[tool]F  '),
        # Words beside calls, where the template prints only one of them.
        (WORDS_OR_CALLS, [called("f", content="x"), result("F")], '[assistant]x[assistant]<f f{"a": "f"}>[tool]F'),
        (THOUGHT_OR_WORDS, [called("f", content="x", reasoning_content="Hm")], '[assistant]Hm\n\nx<f f{"a": "f"}>'),
        (THOUGHT_OR_WORDS, [called("f", content="x")], '[assistant]x<f f{"a": "f"}>'),
        # Ids of another length.
        (NINE + NAMED_RESULTS, [called("f"), result("F", tool_call_id="call00000")], '[assistant]<f f{"a": "f"}>[tool]F f call00000'),
        (NINE + NAMED_RESULTS, [{**called(), "tool_calls": [call_of("f", {}) | {"id": "functions.f:0"}]}, result("F")], f'[assistant]<f {{}}>[tool]F f {hashlib.sha256(b"functions.f:0").hexdigest()[:9]}'),
        # Results for a template without a role for them, and what the user says to them.
        (ALTERNATING, [USER, called("f", "g"), result("F"), result("G"), USER, ASSISTANT, USER],
         '[user]Hi[assistant]{"tool_calls": [{"name": "f", "arguments": {"a": "f"}}, {"name": "g", "arguments": {"a": "g"}}]}'
         '[user]{"tool_response": {"name": "f", "content": "F"}}\n{"tool_response": {"name": "g", "content": "G"}}\nHi[assistant]Yes?[user]Hi'),
    ],
)  # fmt: skip
def test_calls_and_results_as_the_template_takes_them(source, messages, expected):
    assert ChatTemplate(source).render(messages, tools=None, add_generation_prompt=False) == expected


def test_what_a_template_leaves_out_is_told():
    turns = "{% for m in messages if m.role == 'assistant' and not m.tool_calls and loop.index0 %}{{ raise_exception('turns') }}{% endfor %}"
    with pytest.warns(UserWarning, match="leaves out the content of messages that have tool calls"):
        assert ChatTemplate(turns + WORDS_OR_CALLS).render([called("f", content="x")], add_generation_prompt=False) == '[assistant]<f f{"a": "f"}>'


def test_options_and_texts():
    made = ChatTemplate("{{ bos_token }}{{ eos_token }}{{ x }}" + PLAIN + "{% if add_generation_prompt %}[assistant]{% endif %}", bos="<s>", eos="</s>")
    assert made.render([USER], x=1) == "<s></s>1[user]Hi[assistant]"
    assert made.render([USER], add_generation_prompt=False) == "<s></s>[user]Hi"
    assert made.render([USER, ASSISTANT | {"content": "Well, \n"}], continue_final_message=True) == "<s></s>[user]Hi[assistant]Well, \n"
    thinking = ChatTemplate("{% for m in messages %}[{{ m.role }}]{{ m.reasoning_content or '' }}|{{ m.content }}{% endfor %}")
    message = {"role": "assistant", "content": "x", "reasoning_content": "Hm "}
    assert thinking.render([USER, message], continue_final_message="reasoning_content") == "[user]|Hi[assistant]Hm "
    assert thinking.render([USER, message], continue_final_message=True) == "[user]|Hi[assistant]Hm |x"
    with pytest.raises(TemplateError, match="does not print the last message"):
        ChatTemplate("{{ 'x' }}").render([USER, ASSISTANT], continue_final_message=True)
    with pytest.raises(MessageError, match=r"messages\[0\].role: only an assistant"):
        made.render([USER], continue_final_message=True)


def calling(form: str, around: str = "{}", message: str = "[{{ m.role }}]{{ m.content or '' }}") -> str:
    """A template that writes calls in a form, and all of a message's calls in what is around them."""
    calls = "{% for c in m.tool_calls or [] %}" + form + "{% endfor %}"
    calls = "{% if m.tool_calls %}" + around.format(calls) + "{% endif %}"
    return "{{ tools | tojson if tools else '' }}{% for m in messages %}" + message + calls + "</s>{% endfor %}"


_OBJECT = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
_PAIRS = "{% for k, v in c.function.arguments.items() %}<k>{{ k }}</k><v>{{ v }}</v>{% endfor %}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (calling("<call>{{ c.function | tojson }}</call>"), ToolSyntax("json", call_start="<call>", call_end="</call>")),
        (calling("<call>\n{{ c.function | tojson }}\n</call>\n"), ToolSyntax("json", call_start="<call>", call_end="</call>")),
        (calling("{{ c.function | tojson }}{{ '' if loop.last else ', ' }}", "<calls>[{}]</calls>"), ToolSyntax("json", section_start="<calls>", section_end="</calls>", listed=True)),
        (calling("<one>{{ c.function | tojson }}</one>", "<all>{}</all>"), ToolSyntax("json", section_start="<all>", section_end="</all>", call_start="<one>", call_end="</one>")),
        (calling("{{ c.function | tojson }}"), ToolSyntax("json", bare=True)),
        (calling("{{ c | tojson }}", "<all>{}"), ToolSyntax("json", section_start="<all>", order=("id", "name", "arguments"))),
        (calling('{"id": "{{ c.id }}", "tool": "{{ c.function.name }}", "with": {{ c.function.arguments | tojson }}}', "<all>[{}]"), ToolSyntax("json", section_start="<all>", keys=("tool", "with", "id"), order=("id", "tool", "with"), listed=True)),
        (calling(_OBJECT, '{{"calls": [{}]}}'), ToolSyntax("json", wrapper="calls", bare=True)),
        (calling("<f={{ c.function.name }}>{{ c.function.arguments | tojson }}</f>"), ToolSyntax("named", call_start="<f=", name_end=">", call_end="</f>")),
        (calling("<f>functions.{{ c.function.name }}:{{ loop.index0 }}<a>{{ c.function.arguments | tojson }}</f>", "<all>{}</all>"),
         ToolSyntax("named", section_start="<all>", section_end="</all>", call_start="<f>", name_prefix="functions.", name_suffix=r":\d+", name_end="<a>", call_end="</f>")),
        (calling("[CALL]{{ c.function.name }}[ID]{{ c.id }}[ARGS]{{ c.function.arguments | tojson }}"), ToolSyntax("named", call_start="[CALL]", name_end="[ID]", id_end="[ARGS]")),
        (calling("<c>{{ c.function.name }}\n" + _PAIRS + "</c>"), ToolSyntax("tagged", call_start="<c>", call_end="</c>", argument_start="<k>", key_end="</k><v>", value_end="</v>")),
        (calling('<c name="{{ c.function.name }}">' + _PAIRS + "</c>", "<all>{}</all>"),
         ToolSyntax("tagged", section_start="<all>", section_end="</all>", call_start='<c name="', name_end='">', call_end="</c>", argument_start="<k>", key_end="</k><v>", value_end="</v>")),
        (calling("<call>{{ m.tool_calls[0].function | tojson }}</call>").replace("{% for c in m.tool_calls or [] %}", "").replace("</call>{% endfor %}", "</call>"), ToolSyntax("json", call_start="<call>", call_end="</call>")),
        (calling('<call>{"{{ c.function.name }}": {{ c.function.arguments | tojson }}}</call>'), GENERIC),
        (calling("{{ c.function.name }}({{ c.function.arguments.arg_a }})"), GENERIC),
        (calling("{{ c.function.name }} arg_a val_a, arg_b val_b"), GENERIC),
        (PLAIN, GENERIC),
        (PLAIN + "{# [TOOL_CALLS] #}", ToolSyntax("json", section_start="[TOOL_CALLS]", listed=True)),
        (calling("<t></t><call>{{ c.function | tojson }}</call>", message="[{{ m.role }}]{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content or '' }}"), ToolSyntax("json", call_start="<t></t><call>", call_end="</call>")),
    ],
)  # fmt: skip
def test_the_form_of_calls(source, expected):
    assert tool_syntax(ChatTemplate(source)) == expected


def test_the_form_of_answers():
    thinks = ChatTemplate(PLAIN + "{# <think></think> #}")
    for prompt, reasoning, opened in [
        ("", ("<think>", "</think>"), False),
        ("[user]Hi<think>\n", ("<think>", "</think>"), True),
        ("[user]Hi<think>\n\n</think>\n\n", ("", ""), False),
    ]:
        found = answer_syntax(thinks, prompt)
        assert (found.reasoning, found.opened, found.prefix) == (reasoning, opened, "")
    plain = answer_syntax(ChatTemplate(PLAIN), "[user]<think>")
    assert (plain.reasoning, plain.opened, plain.generic) == (("", ""), False, True)
    assert not answer_syntax(ChatTemplate(TOOLS)).generic
    parts = ChatTemplate(PLAIN + "{# >>>all #}")
    assert [answer_syntax(parts, prompt).prefix for prompt in ("x>>>", "x>>>all", "")] == [">>>", "", ""]
    assert answer_syntax(ChatTemplate(PLAIN), "x>>>").prefix == ""
