"""Answers of models, read whole and as they stream."""

# ruff: noqa: E501  answers of models are long

from __future__ import annotations

import json
import re

import pytest
from chats import TOOLS, added_up, syntax_of, template
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxllama.text.chat.caps import tool_of
from jaxllama.text.chat.parse import parse
from jaxllama.text.chat.stream import AnswerReader
from jaxllama.text.chat.syntax import GENERIC, AnswerSyntax, ToolSyntax, answer_syntax
from jaxllama.text.chat.template import ChatTemplate

# Answers in the forms of the families, what they mean, and a template or a built-in one that knows the form.
ANSWERS = [
    ("Qwen-Qwen2.5-7B-Instruct", 'Let me see.\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>', "Let me see.", "", [("add", {"a": 1})]),
    ("Qwen-Qwen3-0.6B", "<think>\nHm.\n</think>\n\nHello < there", "Hello < there", "Hm.", []),
    ("Qwen-Qwen3-0.6B", '<think>a</think><tool_call>{"name": "add", "arguments": {}}</tool_call>\n<tool_call>\n{"name": "add", "arguments": {"a": [1, {"b": 2}]}}\n</tool_call>', "", "a", [("add", {}), ("add", {"a": [1, {"b": 2}]})]),
    ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", '<tool_call>\n{"arguments": {"city": "x"}, "name": "get_weather"}\n</tool_call>', "", "", [("get_weather", {"city": "x"})]),
    ("Qwen3-Coder", "Ok <tool_call>\n<function=get_weather>\n<parameter=city>\nNew\nYork\n</parameter>\n</function>\n</tool_call>", "Ok", "", [("get_weather", {"city": "New\nYork"})]),
    ("Qwen3-Coder", "<tool_call>\n<function=add>\n<parameter=a>\n12\n</parameter>\n</function>\n</tool_call>", "", "", [("add", {"a": 12})]),
    ("GLM-4.6", "<think>x</think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n</tool_call>", "", "x", [("get_weather", {"city": "12"})]),
    ("mistralai-Mistral-Nemo-Instruct-2407", '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}, "id": "abcdefghi"}, {"name": "add", "arguments": {"a": 2}}]', "", "", [("add", {"a": 1}), ("add", {"a": 2})]),
    ("meta-llama-Llama-3.1-8B-Instruct", '{"name": "add", "parameters": {"a": 1}}', "", "", [("add", {"a": 1})]),
    ("meta-llama-Llama-3.1-8B-Instruct", '<|python_tag|>{"type": "function", "name": "add", "parameters": {"a": 1}}; {"name": "add", "parameters": {"a": 2}}', "", "", [("add", {"a": 1}), ("add", {"a": 2})]),
    ("meta-llama-Llama-3.1-8B-Instruct", '{"answer": 42}', '{"answer": 42}', "", []),
    ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", '<think>t</think>So:<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>', "So:", "t", [("add", {"a": 1}), ("add", {"a": 2})]),
    ("openai-gpt-oss-120b", '<|channel|>analysis<|message|>think<|end|><|start|>assistant<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>', "", "think", [("add", {"a": 1})]),
    ("openai-gpt-oss-120b", "<|channel|>analysis<|message|>a b<|end|><|start|>assistant<|channel|>final<|message|>Done <b>", "Done <b>", "a b", []),
    ("CohereForAI-c4ai-command-r7b-12-2024-tool_use", '<|START_THINKING|>plan<|END_THINKING|><|START_ACTION|>[\n {"tool_call_id": "0", "tool_name": "add", "parameters": {"a": 1}}\n]<|END_ACTION|>', "", "plan", [("add", {"a": 1})]),
    ("moonshotai-Kimi-K2", 'Ok<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|><|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>{"city": "x"}<|tool_call_end|><|tool_calls_section_end|>', "Ok", "", [("add", {"a": 1}), ("get_weather", {"city": "x"})]),
    ("meetkai-functionary-medium-v3.2", 'all\nHello\n>>>get_weather\n{"city": "x"}', "Hello", "", [("get_weather", {"city": "x"})]),
    ("meetkai-functionary-medium-v3.2", 'all\nWhat\'s up?>>>add\n{"a": 1}>>>add\n{"a": 2}\n', "What's up?", "", [("add", {"a": 1}), ("add", {"a": 2})]),
    ("meetkai-functionary-medium-v3.2", 'get_weather\n{"city": "{}>>>x"}', "", "", [("get_weather", {"city": "{}>>>x"})]),
    ("meetkai-functionary-medium-v3.2", "all\n>>> print(1)\n1\n\n>>>> Well>>>", ">>> print(1)\n1\n\n>>>> Well>>>", "", []),
    ("meetkai-functionary-medium-v3.2", "Hello", "Hello", "", []),
    ("ibm-granite-granite-3.3-2B-Instruct", '<|tool_call|>[{"name": "add", "arguments": {"a": 1}}]', "", "", [("add", {"a": 1})]),
    ("microsoft-Phi-3.5-mini-instruct", '{"tool_calls": [{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 2}}]}', "", "", [("add", {"a": 1}), ("add", {"a": 2})]),
    ("microsoft-Phi-3.5-mini-instruct", "Just { words }.", "Just { words }.", "", []),
    ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", '{"tool_calls": [{"name": "add", "arguments": {"a": 1}}]}', "", "", [("add", {"a": 1})]),
    ("Qwen-Qwen2.5-7B-Instruct", "Look: <tool_call>\n5\n</tool_call> and so on", "Look: <tool_call>\n5\n</tool_call> and so on", "", []),
    ("Qwen-Qwen2.5-7B-Instruct", "Look: <tool_call>no JSON", "Look: <tool_call>no JSON", "", []),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"}</tool_call> <tool_call>{"name": "add"}</tool_call>', "", "", [("add", {"a": 1}), ("add", {})]),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>{"function": {"name": "add", "parameters": {"a": 1}}}</tool_call> Done.', "Done.", "", [("add", {"a": 1})]),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>[1, {"name": "add", "arguments": {}}]</tool_call>', '<tool_call>[1, {"name": "add", "arguments": {}}]</tool_call>', "", []),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>[{"name": "add", "arguments": {}}, 1]', "", "", [("add", {})]),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>{"name": 5, "arguments": {}}</tool_call>', '<tool_call>{"name": 5, "arguments": {}}</tool_call>', "", []),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>{"name": "add", "arguments": {}}</tool_call>\n\nHow about <this', "How about <this", "", [("add", {})]),
    ("mistralai-Mistral-Nemo-Instruct-2407", '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}] and words', "and words", "", [("add", {"a": 1})]),
    ("meta-llama-Llama-3.1-8B-Instruct", '[{"name": "add", "parameters": {"a": 1}}, {"name": "add", "parameters": {"a": 2}}]', "", "", [("add", {"a": 1}), ("add", {"a": 2})]),
    ("meta-llama-Llama-3.1-8B-Instruct", '{"name": "add", "parameters": {"a": 1}};{"other": 3}', '{"other": 3}', "", [("add", {"a": 1})]),
    ("google-gemma-2-2b-it", '{"tool_calls": [{"name": "add", "arguments": {"a": 1}}]}', "", "", [("add", {"a": 1})]),
    ("google-gemma-2-2b-it", '{"tool_calls": {}}', '{"tool_calls": {}}', "", []),
    ("openai-gpt-oss-120b", "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|><|start|>assistant<|channel|>commentary<|message|>c<|end|><|start|>assistant<|channel|>final<|message|>d<|return|>", "cd", "a\nb", []),
    ("openai-gpt-oss-120b", "no channel", "no channel", "", []),
    ("moonshotai-Kimi-K2", "Ok<|tool_calls_section_begin|><|tool_calls_section_end|>", "Ok", "", []),
    ("Qwen-Qwen3-0.6B", "<think>Hm. <b", "", "Hm. <b", []),
    ("meta-llama-Llama-3.1-8B-Instruct", '{"name": "add", "parameters": {"a": 1} and', "and", "", [("add", {"a": 1})]),
    ("mistralai-Mistral-Nemo-Instruct-2407", '[TOOL_CALLS][{"name": "add", "arguments": {}}] [{"name": "add", "arguments": {}}]', '[{"name": "add", "arguments": {}}]', "", [("add", {})]),
    ("meta-llama-Llama-3.1-8B-Instruct", '{"x": 1, "name": "add", "parameters": {}}', '{"x": 1, "name": "add", "parameters": {}}', "", []),
    ("google-gemma-2-2b-it", "Words with <tool_call> in them", "Words with <tool_call> in them", "", []),
    ("Qwen3-Coder", "Ok <tool_call>\n<function=get_w</function>\n</tool_call>", "Ok", "", [("get_w", {})]),
    ("Qwen3-Coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\na</parameter>b\n</parameter>\n<parameter=unit>x</parameter> </function>\n</tool_call>", "", "", [("get_weather", {"city": "a</parameter>b", "unit": "x"})]),
    ("Qwen3-Coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\na</parameter>", "", "", [("get_weather", {"city": "a"})]),
    ("Qwen3-Coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</function>\n</tool_call> Done", "Done", "", [("get_weather", {"city": "Paris"})]),
    ("Qwen3-Coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</function>\n</tool_call>\n<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>", "", "", [("get_weather", {"city": "Paris"}), ("add", {"a": 1})]),
    ("GLM-4.6", "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</tool_call>", "", "", [("get_weather", {"city": "Paris"})]),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>{"name": "add", "function": {"name": "other", "arguments": {"a": 1}}}</tool_call>', "", "", [("add", {"a": 1})]),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>{"function": {"name": "add"}, "name": "other", "arguments": {"a": 2}}</tool_call>', "", "", [("add", {"a": 2})]),
    ("microsoft-Phi-3.5-mini-instruct", '{"name": "add", "arguments": {}, "tool_calls": [{"name": "other", "arguments": {"a": 1}}]}', "", "", [("add", {})]),
    ("microsoft-Phi-3.5-mini-instruct", '{"tool_calls": [{"name": "add", "arguments": {}}], "name": "other"}', "", "", [("add", {})]),
    ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", '</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": "x```<｜tool▁call▁end｜>"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>', "</think>", "", [("add", {"a": "x```<｜tool▁call▁end｜>"})]),
    ("Qwen-Qwen2.5-7B-Instruct", 'Ok\n<tool_call>{"name": "add", "arguments": {}}</tool_call>\nHow about <this', "Ok\n\nHow about <this", "", [("add", {})]),
    ("Qwen-Qwen2.5-7B-Instruct", 'Ok\n<tool_call>{"name": "add", "arguments": {}}</tool_call>\nThen\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', "Ok\n\nThen", "", [("add", {}), ("add", {"a": 1})]),
    ("Qwen-Qwen2.5-7B-Instruct", '<tool_call>5</tool_call>, no: <tool_call>{"name": "add", "arguments": {}}</tool_call>', "<tool_call>5</tool_call>, no:", "", [("add", {})]),
    ("Qwen3-Coder", "Ok\n<function=get_weather>\n<parameter=city>\nx\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=add>\n</function></tool_call>", "Ok", "", [("get_weather", {"city": "x"}), ("add", {})]),
    ("Qwen3-Coder", "#include <function=other> and <functional>", "#include <function=other> and <functional>", "", []),
    ("Qwen3-Coder", "<tool_call><function=get_weather><parameter=city>\na\n</parameter>\nb\n</parameter><parameter=unit>\n</function>\n</parameter></function> Done", "Done", "", [("get_weather", {"city": "a\n</parameter>\nb", "unit": "</function>"})]),
    ("GLM-4.6", "<tool_call>get_weather<arg_key>city</arg_key><arg_value>a</arg_value>b</arg_value></tool_call>", "", "", [("get_weather", {"city": "a</arg_value>b"})]),
    ("moonshotai-Kimi-K2", 'Ok <|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{"a": "<|tool_call_end|>"}<|tool_call_end|>', "Ok", "", [("add", {"a": "<|tool_call_end|>"})]),
    ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", '<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{"a": 1}\n```<｜tool▁call▁end｜>', "", "", [("add", {"a": 1})]),
    ("openai-gpt-oss-120b", '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": "<|call|>"}<|call|>', "", "", [("add", {"a": "<|call|>"})]),
    ("openai-gpt-oss-120b", "<|channel|>analysis<|message|>An <|end|> ends it.<|end|>\n<|start|>assistant<|channel|>final<|message|>Write <|end|>.", "Write <|end|>.", "An <|end|> ends it.", []),
    ("meetkai-functionary-medium-v3.2", 'all\nHello\n>>>find\n{"a": 1}', "Hello", "", [("find", {"a": 1})]),
    ("meetkai-functionary-medium-v3.2", 'all\nHello>>>find\n{"a": ">>>all"}\n>>>all\nDone', "HelloDone", "", [("find", {"a": ">>>all"})]),
    ("meetkai-functionary-medium-v3.2", "all\n>>>x\n1\n>>>all of it", ">>>x\n1\n>>>all of it", "", []),
    ("meetkai-functionary-medium-v3.2", 'Hello,\nyou>>>add\n{"a": 1} and', "Hello,\nyouand", "", [("add", {"a": 1})]),
    ("Qwen-Qwen2.5-7B-Instruct", 'Ok\n<tool_call>{"name": "add", "arguments": {"a": 1} and', "Ok\n and", "", [("add", {"a": 1})]),
]  # fmt: skip
OTHER_FORMS = [
    ("{# <|tool_call|> phi-4 #}{{ messages[0].content }}", '<|tool_call|>[{"name": "add", "arguments": {"a": 1}}]<|/tool_call|>', [("add", {"a": 1})]),
    ("{# <|tool_call>call: #}{{ messages[0].content }}", '<|tool_call>call:add{a:1,city:<|"|>x "y" {z: 1}<|"|>}<tool_call|>', [("add", {"a": 1, "city": 'x "y" {z: 1}'})]),
    ("{# <|tool_call>call: #}{{ messages[0].content }}", '<|tool_call>call:add{city:<|"|>x<tool_call|>{a:1}<|"|>,<|"|>b<|"|>:{c-d:[<|"|>y<|"|>,true,None],None:False}}<tool_call|>', [("add", {"city": "x<tool_call|>{a:1}", "b": {"c-d": ["y", True, None], "None": False}})]),
    ("{# <|tool_call>call: #}{{ messages[0].content }}", '<|tool_call>call:add{a:[1,}<tool_call|>', [("add", '{"a": [1,}')]),
    ("{# <|tool_call>call: #}{{ messages[0].content }}", '<|tool_call>call:add<tool_call|><|tool_call>call:add{a:1}<tool_call|>', [("add", {}), ("add", {"a": 1})]),
    (
        "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.tool_calls %}<minimax:tool_call>\n{% for c in m.tool_calls %}<invoke name=\"{{ c.function.name }}\">\n"
        "{% for k, v in c.function.arguments.items() %}<parameter name=\"{{ k }}\">{{ v }}</parameter>\n{% endfor %}</invoke>\n{% endfor %}</minimax:tool_call>{% endif %}\n"
        "{% endfor %}",
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">x</parameter>\n</invoke>\n<invoke name="add">\n<parameter name="a">3</parameter>\n</invoke>\n</minimax:tool_call>',
        [("get_weather", {"city": "x"}), ("add", {"a": 3})],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "content", "reasoning", "calls"), ANSWERS)
def test_answers(shared_data, name, answer, content, reasoning, calls):
    found = parse(answer, syntax_of(shared_data, name), TOOLS)
    assert (found.content, found.reasoning) == (content, reasoning)
    assert [(c.name, json.loads(c.arguments)) for c in found.calls] == calls


@pytest.mark.parametrize(
    ("cut", "arguments"),
    [
        ("<parameter=ci", '{"ci'),
        ('<parameter=city>\nNew "Yo', r'{"city": "New \"Yo'),
        ("<parameter=city>\nx\n</parameter>\n<parameter=unit>\n", '{"city": "x", "unit": "'),
        ("<parameter=city>\nx\n</parameter>\n", '{"city": "x"}'),
    ],
)
def test_a_call_that_is_cut_off_keeps_what_was_written(shared_data, cut, arguments):
    (call,) = parse("<tool_call>\n<function=get_weather>\n" + cut, syntax_of(shared_data, "Qwen3-Coder"), TOOLS).calls
    assert (call.name, call.arguments) == ("get_weather", arguments)


_CALLS = "{{% for t in tools or [] %}}{{{{ t | tojson }}}}{{% endfor %}}{{% for m in messages %}}[{{{{ m.role }}}}]{{{{ m.content }}}}{{% for c in m.tool_calls or [] %}}{}{{% endfor %}}\n{{% endfor %}}"
OTHER_FORMS += [
    (
        _CALLS.format("[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}"),
        '[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]get_weather[ARGS]{"city": "x"}',
        [("add", {"a": 1}), ("get_weather", {"city": "x"})],
    ),
    (
        _CALLS.format("[TOOL_CALLS]{{ c.function.name }}[CALL_ID]{{ c.id }}[ARGS]{{ c.function.arguments | tojson }}"),
        '[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{"a": 1}',
        [("add", {"a": 1})],
    ),
    (
        _CALLS.format("<function={{ c.function.name }}>{{ c.function.arguments | tojson }}</function>"),
        '<function=add>{"a": 1}</function><function=add>{"a": 2}</function>',
        [("add", {"a": 1}), ("add", {"a": 2})],
    ),
    (
        _CALLS.format("<｜tool▁call▁begin｜>{{ c.function.name }}<｜tool▁sep｜>{{ c.function.arguments | tojson }}<｜tool▁call▁end｜>"),
        '<｜tool▁call▁begin｜>add<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜>',
        [("add", {"a": 1})],
    ),
    (_CALLS.format("<invented>{{ c.function | tojson }}</invented>"), '<invented>{"name": "add", "arguments": {"a": 1}}</invented>', [("add", {"a": 1})]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "answer", "calls"), OTHER_FORMS)
def test_other_forms(source, answer, calls):
    found = parse(answer, answer_syntax(ChatTemplate(source)), TOOLS)
    assert [(c.name, c.arguments if isinstance(calls[0][1], str) else json.loads(c.arguments)) for c in found.calls] == calls
    assert found.content == ""


@settings(max_examples=60)
@given(data=st.data())
def test_any_split_gives_the_same(shared_data, data):
    name, answer, *_ = data.draw(st.sampled_from(ANSWERS))
    answer += data.draw(st.sampled_from(["", "\n", " and more <"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=12)))
    syntax = syntax_of(shared_data, name)
    for format_ in ("auto", "none", "deepseek-legacy"):
        whole = parse(answer, syntax, TOOLS, reasoning_format=format_)
        pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
        found = added_up(AnswerReader(syntax, TOOLS, reasoning_format=format_), pieces)
        assert found == (whole.content, whole.reasoning, [(c.name, c.arguments) for c in whole.calls])


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name, answer, *_ in ANSWERS])
def test_letter_by_letter(shared_data, name, answer):
    syntax = syntax_of(shared_data, name)
    for format_ in ("auto", "none", "deepseek-legacy"):
        whole = parse(answer, syntax, TOOLS, reasoning_format=format_)
        found = added_up(AnswerReader(syntax, TOOLS, reasoning_format=format_), list(answer))
        assert found == (whole.content, whole.reasoning, [(c.name, c.arguments) for c in whole.calls])


@settings(max_examples=300)
@given(data=st.data())
def test_spliced_answers_stream_as_they_read(shared_data, data):
    """Answers cut in the middle and gone on with otherwise: whatever it means, a stream says the same."""
    name, one, *_ = data.draw(st.sampled_from([*ANSWERS, *OTHER_FORMS]))
    others = [a for n, a, *_ in [*ANSWERS, *OTHER_FORMS] if n == name]
    other = data.draw(st.sampled_from([*others, "", "x", " }", "</tool_call>", '"}', "\n", '"function": {"name": "f"}}', '"name": "f", ']))
    text = one[: data.draw(st.integers(0, len(one)))] + other[data.draw(st.integers(0, len(other))) :]
    syntax = syntax_of(shared_data, name) if "{" not in name else answer_syntax(ChatTemplate(name))
    whole = parse(text, syntax, TOOLS)
    assert added_up(AnswerReader(syntax, TOOLS), list(text)) == (whole.content, whole.reasoning, [(c.name, c.arguments) for c in whole.calls])


@settings(max_examples=150)
@given(st.text(alphabet='<>tool_ca/{}[]":,1 \n', max_size=60), st.integers(0, 60))
def test_whatever_a_model_writes(shared_data, text, cut):
    """Nothing raises, and a stream says what the whole says."""
    for name in ("Qwen-Qwen2.5-7B-Instruct", "meta-llama-Llama-3.1-8B-Instruct", "GLM-4.6"):
        syntax = AnswerSyntax(syntax_of(shared_data, name).tools, ("<think>", "</think>"))
        whole = parse(text, syntax, TOOLS)
        found = added_up(AnswerReader(syntax, TOOLS), [text[:cut], text[cut:]])
        assert found == (whole.content, whole.reasoning, [(c.name, c.arguments) for c in whole.calls])


@pytest.mark.parametrize(("rest", "content"), [("", "Ok"), (" and words", "Ok  and words"), ("\n<all>", "Ok")])
def test_objects_after_one_mark(rest, content):
    syntax = AnswerSyntax(ToolSyntax("json", section_start="<all>"))
    answer = 'Ok <all>{"name": "add", "arguments": {"a": 1}}\n{"name": "add", "arguments": {"a": 2}}' + rest
    calls = [("add", '{"a": 1}'), ("add", '{"a": 2}')]
    found = parse(answer, syntax, TOOLS)
    assert (found.content, [(c.name, c.arguments) for c in found.calls]) == (content, calls)
    assert added_up(AnswerReader(syntax, TOOLS), list(answer)) == (content, "", calls)


def test_an_answer_that_is_cut_off(shared_data):
    for name, answer in [
        ("meta-llama-Llama-3.1-8B-Instruct", '{"name": "add", "parameters": {"a": 1'),
        ("Qwen-Qwen3-0.6B", '<tool_call>{"name": "add", "arguments": {"a": 1'),
    ]:
        found = parse(answer, syntax_of(shared_data, name), TOOLS)
        assert [(c.name, c.arguments) for c in found.calls] == [("add", '{"a": 1')]
        assert not found.content


def test_ids_that_models_write(shared_data):
    """They go with the calls; others get new ones, each its own."""
    for name, answer, id_ in [
        ("mistralai-Mistral-Nemo-Instruct-2407", '[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}, "id": "abcdefghi"}]', "abcdefghi"),
        (
            "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
            '<|START_ACTION|>[{"tool_call_id": 7, "tool_name": "add", "parameters": {"a": 1}}]<|END_ACTION|>',
            "7",
        ),
        ("moonshotai-Kimi-K2", '<|tool_call_begin|>functions.add:3<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>', "functions.add:3"),
        (None, '[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]{"a": 1}', "abcdefghi"),
    ]:
        syntax = syntax_of(shared_data, name) if name else answer_syntax(ChatTemplate(next(s for s, *_ in OTHER_FORMS if "[CALL_ID]" in s)))
        for pieces in ([answer], list(answer)):
            reader = AnswerReader(syntax, TOOLS)
            deltas = [d for piece in pieces for d in reader.push(piece)] + reader.finish()
            ids = [call["id"] for delta in deltas for call in delta.get("tool_calls", ()) if "id" in call]
            function = {"name": "add", "arguments": '{"a": 1}'}
            assert reader.message() == {"role": "assistant", "content": None, "tool_calls": [{"id": id_, "type": "function", "function": function}]}
            assert ids == [id_]
    reader = AnswerReader(syntax_of(shared_data, "Qwen-Qwen3-0.6B"), TOOLS, new_id=iter("ab").__next__)
    reader.push('<think>t</think>c<tool_call>{"name": "add"}</tool_call><tool_call>{"name": "add"}</tool_call>')
    reader.finish()
    message = reader.message()
    assert (message["content"], message["reasoning_content"], [c["id"] for c in message["tool_calls"]]) == ("c", "t", ["a", "b"])
    reader = AnswerReader(syntax_of(shared_data, "Qwen-Qwen3-0.6B"), calls=False)
    reader.push('<tool_call>{"name": "add"}</tool_call>')
    reader.finish()
    assert reader.message() == {"role": "assistant", "content": '<tool_call>{"name": "add"}</tool_call>'}
    assert AnswerReader(AnswerSyntax(GENERIC)).message() == {"role": "assistant", "content": ""}


def test_new_ids_are_such_as_the_template_takes(shared_data):
    """Nine letters and digits where it raises for others."""
    for name, form in [("mistralai-Mistral-Nemo-Instruct-2407", r"[a-z0-9]{9}"), ("Qwen-Qwen3-0.6B", r"call_[a-z0-9]{24}")]:
        syntax = syntax_of(shared_data, name)
        reader = AnswerReader(syntax, TOOLS)
        reader.push(f'{syntax.tools.trigger}[{{"name": "add", "arguments": {{}}}}, {{"name": "add", "arguments": {{}}}}]')
        reader.finish()
        ids = [c["id"] for c in reader.message()["tool_calls"]]
        assert len({*ids}) == 2
        assert all(re.fullmatch(form, i) for i in ids)


def test_values_written_as_text_have_the_types_of_the_schema(shared_data):
    """A text stays a text where the schema takes one, whatever it looks like; what Jinja writes for true and null is read where it can be nothing else."""
    tool = tool_of("f")
    for schema, text, value in [
        ({"type": "string"}, "12", "12"),
        ({"type": ["string", "null"]}, "12", "12"),
        ({"type": ["string", "null"]}, "null", None),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "12", 12),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "true", "true"),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"const": 1}, "1", 1),
        ({"type": "number"}, "12", 12),
        ({"type": "boolean"}, "True", True),
        ({"type": ["boolean", "string"]}, "True", True),
        ({"type": "string"}, "None", "None"),
        ({"type": "null"}, "None", None),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "object"}, "no object", "no object"),
        ({}, "None", "None"),
        ({}, "[1]", [1]),
        ({}, "[" * 100_000, "[" * 100_000),
        (True, "1", 1),
        ({"anyOf": [{}, {"type": "string"}]}, "1", 1),
    ]:
        tool["function"]["parameters"]["properties"] = {"a": schema}
        answer = f"<tool_call>\n<function=f>\n<parameter=a>\n{text}\n</parameter>\n</function>\n</tool_call>"
        (call,) = parse(answer, syntax_of(shared_data, "Qwen3-Coder"), [tool]).calls
        assert json.loads(call.arguments) == {"a": value}, schema


def test_arguments_that_are_no_json_are_shown(shared_data):
    """And the call after them is read."""
    for name, before, end in [
        ("moonshotai-Kimi-K2", "<|tool_calls_section_begin|>|<|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        (
            "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
            "<｜tool▁calls▁begin｜>|<｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n",
            "```<｜tool▁call▁end｜>",
        ),
    ]:
        syntax = syntax_of(shared_data, name)
        section, _, start = before.partition("|<")
        for shown in ("{a: 1}", '{"a": "x', '{"a": "x\n', '{"a": 1'):
            for second, calls in [("", []), (f'<{start}{{"a": 2}}{end}', [("add", '{"a": 2}')])]:
                answer = f"{section}<{start}{shown}{end}{second}"
                found = parse(answer, syntax, TOOLS)
                assert [(c.name, c.arguments) for c in found.calls] == [("add", shown), *calls]
                assert added_up(AnswerReader(syntax, TOOLS), list(answer)) == ("", "", [("add", shown), *calls])


def test_functionary_in_other_ways(shared_data):
    """Arguments that are no JSON are shown; an answer that begins a part itself, and one that does not."""
    opened, closed = syntax_of(shared_data, "meetkai-functionary-medium-v3.2"), AnswerSyntax(ToolSyntax("functionary"))
    for syntax, answer, content, calls in [
        (opened, "add\n {a: 1} ", "", [("add", "{a: 1} ")]),
        (opened, "add\n{a: 1}>>>add\n{}", "", [("add", "{a: 1}"), ("add", "{}")]),
        (closed, ">>>all\nHi", "Hi", []),
        (closed, "Hi >> there >", "Hi >> there >", []),
    ]:
        found = parse(answer, syntax, TOOLS)
        assert (found.content, [(c.name, c.arguments) for c in found.calls]) == (content, calls)
        assert added_up(AnswerReader(syntax, TOOLS), list(answer)) == (content, "", calls)


def test_tagged_calls_that_go_on_otherwise(shared_data):
    syntax = syntax_of(shared_data, "Qwen3-Coder")
    for rest, arguments, content in [
        ("more", "{}", "more"),
        ("<parameter=unit>\nC\n</parameter>\nmore", '{"unit": "C"}', "more"),
        ("<parameter=unit>\nC", '{"unit": "C', ""),
    ]:
        answer = f"<tool_call>\n<function=get_weather>\n{rest}"
        found = parse(answer, syntax, TOOLS)
        assert [(c.name, c.arguments) for c in found.calls] == [("get_weather", arguments)]
        assert added_up(AnswerReader(syntax, TOOLS), list(answer)) == (content, "", [("get_weather", arguments)])


def test_reasoning_formats(shared_data):
    syntax = answer_syntax(template(shared_data, "Qwen-Qwen3-0.6B"))
    text = "<think>a</think>b"
    assert parse(text, syntax, reasoning_format="none").content == text
    legacy = parse(text, syntax, reasoning_format="deepseek-legacy")
    assert (legacy.content, legacy.reasoning) == (text, "a")
    opened = AnswerSyntax(syntax.tools, syntax.reasoning, opened=True)
    assert parse("a</think>b", opened).reasoning == "a"
    harmony = "<|channel|>analysis<|message|>a<|end|>"
    assert parse(f"{harmony}<|channel|>final<|message|>b", syntax_of(shared_data, "openai-gpt-oss-120b"), reasoning_format="none").content == f"{harmony}b"
    with pytest.raises(ValueError, match="reasoning_format"):
        AnswerReader(syntax, reasoning_format="loud")
