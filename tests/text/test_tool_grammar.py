"""What a grammar of tools lets a model write: calls in its form, which are read back as such, and nothing near them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from chats import NAMES, syntax_of
from chats import TOOLS as REAL_TOOLS

from jaxllama.grammar import Grammar, SchemaError, json_schema_to_gbnf
from jaxllama.text.chat.caps import tool_of
from jaxllama.text.chat.parse import parse
from jaxllama.text.chat.syntax import _FAMILIES as FAMILIES
from jaxllama.text.chat.syntax import GENERIC, AnswerSyntax, ToolSyntax
from jaxllama.text.chat.tool_grammar import tool_grammar

ADD, FIND = tool_of("add", "a", "b"), tool_of("find", "word")
ADD["function"]["parameters"] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "unit": {"enum": ["km", "m"]}, "note": {"type": "string"}},
    "required": ["a", "unit"],
}
TOOLS = [ADD, FIND]
_BY_TEXT = dict(FAMILIES)
GEMMA, HARMONY, FUNCTIONARY = _BY_TEXT["<|tool_call>call:"], _BY_TEXT["<|channel|>"], _BY_TEXT[">>>all"]
DEEPSEEK, KIMI = _BY_TEXT["<｜tool▁calls▁begin｜>"], _BY_TEXT["<|tool_calls_section_begin|>"]
QWEN, LLAMA, MISTRAL, GRANITE = (_BY_TEXT[t] for t in ("<tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "<|tool_call|>"))
COHERE = ToolSyntax("json", section_start="<A>", section_end="</A>", keys=("tool", "with", "id"), order=("id", "tool", "with"), listed=True)
WITH_ID = ToolSyntax("named", call_start="[CALL]", name_end="[ID]", id_end="[ARGS]")
TAGGED = ToolSyntax("tagged", call_start="<call=", call_end="</call>", name_end=">", argument_start="<p=", key_end=">", value_end="</p>")
ONE, TWO = '{"name": "add", "arguments": {"a": 1, "unit": "km"}}', '{"name":"find","arguments":{"word":"x"}}'
CALLED = [("add", {"a": 1, "unit": "km"}), ("find", {"word": "x"})]
ARGUMENTS = '{"a": 1, "unit": "km"}'
# A form, one call of `add`, and two calls.
FORMS = {
    "generic": (GENERIC, f'{{"tool_calls": [{ONE}]}}', f'{{"tool_calls":[{ONE},\n{TWO}]}}'),
    "qwen": (QWEN, f"<tool_call>\n{ONE}\n</tool_call>", f"<tool_call>{ONE}</tool_call>\n<tool_call>{TWO} </tool_call>"),
    "llama": (LLAMA, ONE.replace("arguments", "parameters"), None),
    "mistral": (MISTRAL, f"[TOOL_CALLS][{ONE}]", f"[TOOL_CALLS] [{ONE}, {TWO} ]"),
    "granite": (GRANITE, f"<|tool_call|>[{ONE}]<|/tool_call|>", f"<|tool_call|>[{ONE}, {TWO}]\n<|/tool_call|>"),
    "cohere": (
        COHERE,
        f'<A>[{{"id": "0", "tool": "add", "with": {ARGUMENTS}}}]</A>',
        f'<A>[\n{{"id": "0", "tool": "add", "with": {ARGUMENTS}}},\n{{"id": "a-1", "tool": "find", "with": {{"word": "x"}}}}\n]</A>',
    ),
    "deepseek": (
        DEEPSEEK,
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{ARGUMENTS}\n```<｜tool▁call▁end｜>\n"
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{"word": "x"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    ),
    "kimi": (
        KIMI,
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>"
        f"{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>",
        f"<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{ARGUMENTS}<|tool_call_end|>"
        '<|tool_call_begin|>functions.find:12<|tool_call_argument_begin|>{"word": "x"}<|tool_call_end|><|tool_calls_section_end|>',
    ),
    "with id": (WITH_ID, f"[CALL]add[ID]a1B[ARGS]{ARGUMENTS}", f'[CALL]add[ID]0[ARGS]{ARGUMENTS}[CALL]find[ID]1[ARGS]{{"word": "x"}}'),
    "tagged": (
        TAGGED,
        "<call=add><p=a>1</p>\n<p=unit>km</p></call>",
        "<call=add>\n<p=a>1</p>\n<p=unit>km</p>\n</call>\n<call=find><p=word>x</p></call>",
    ),
    "gemma": (
        GEMMA,
        '<|tool_call>call:add{a:1,unit:<|"|>km<|"|>}<tool_call|>',
        '<|tool_call>call:add{a:1,unit:<|"|>km<|"|>}<tool_call|><|tool_call>call:find{word:<|"|>x<|"|>}<tool_call|>',
    ),
    "harmony": (HARMONY, f"<|channel|>commentary to=functions.add <|constrain|>json<|message|>{ARGUMENTS}", None),
    "functionary": (FUNCTIONARY, f">>>add\n{ARGUMENTS}", f'>>>add\n{ARGUMENTS}\n>>>find\n{{"word": "x"}}'),
}  # fmt: skip


def accepts(form: ToolSyntax, text: str, *options: str, **more) -> bool:
    made = tool_grammar(form, TOOLS, *options, **more)
    assert made is not None
    return Grammar.from_gbnf(made.text).accepts(text)


@pytest.mark.parametrize("name", FORMS)
def test_calls_in_the_models_form(name):
    form, one, two = FORMS[name]
    for text, count in ((one, 1), (two, 2)):
        if text is not None:
            found = parse(text, AnswerSyntax(form), TOOLS)
            assert [(c.name, json.loads(c.arguments)) for c in found.calls] == CALLED[:count]
            assert not found.content
            assert all(accepts(form, text, choice) for choice in ("auto", "required"))
            assert accepts(form, text, "required", parallel=False) == (count == 1)
            assert accepts(form, text, "add") == (count == 1)
            assert not accepts(form, text, "find")
            assert not any(accepts(form, wrong, "required") for wrong in (text[:-1], text[1:], text + "x", "x" + text, text.replace("add", "sub")))
    assert not accepts(form, one.replace("km", "cm"), "required")
    assert not accepts(form, one.replace("1", "1.5"), "required")


@pytest.mark.parametrize("name", FORMS)
def test_a_grammar_that_waits_begins_with_its_trigger(name):
    """Free text goes over into the grammar where the trigger begins, so that the grammar has to begin with it."""
    form, one, _ = FORMS[name]
    made = tool_grammar(form, TOOLS)
    assert made is not None
    assert made.triggers
    assert one.startswith(made.triggers[0])
    assert all(Grammar.from_gbnf(made.text).place(trigger) for trigger in made.triggers)
    required = tool_grammar(form, TOOLS, "required")
    assert required is not None
    assert required.triggers == ()


@pytest.mark.parametrize(
    ("form", "call"),
    [(GEMMA, '<|tool_call>call:add{{a:1,unit:<|"|>m<|"|>{}}}<tool_call|>'), (TAGGED, "<call=add><p=a>1</p><p=unit>m</p>{}</call>")],
)
def test_text_without_json(form, call):
    """Optional arguments may be missing; texts go up to the mark that ends them, whatever is in them."""
    note = {GEMMA: ',note:<|"|>{}<|"|>', TAGGED: "<p=note>{}</p>"}[form]
    for text in ("", 'a "b" {c} <p>\n', None):
        answer = call.format("" if text is None else note.format(text))
        assert accepts(form, answer, "required")
        (found,) = parse(answer, AnswerSyntax(form), TOOLS).calls
        assert json.loads(found.arguments) == {"a": 1, "unit": "m"} | ({} if text is None else {"note": text})
    assert not accepts(form, re.sub(r"a:1,|<p=a>1</p>", "", call).format(""), "required")


def test_the_first_call_may_lack_the_mark_around_it():
    """As in llama.cpp: models leave it out, and are held to the grammar from the name of a tool on."""
    form = replace(TAGGED, call_start="<calls>\n<call=", call_end="</call>\n</calls>")
    whole = "<calls>\n<call=add><p=a>1</p><p=unit>m</p></call>\n</calls>"
    short = whole.removeprefix("<calls>\n")
    for text, fits in ((whole, True), (short, True), (short + whole, True), (whole + short, False), (short + short, False)):
        assert accepts(form, text, "auto") == accepts(form, text, "required") == fits, text
    made = tool_grammar(form, TOOLS)
    assert made is not None
    assert made.triggers == ("<calls>\n<call=", *(f"<call={t['function']['name']}>" for t in TOOLS))
    assert all(Grammar.from_gbnf(made.text).place(trigger) for trigger in made.triggers)


def test_functionary_says_something_first():
    call = ">>>add\n" + ARGUMENTS
    for text in (">>>all\nHi > there", f">>>all\nHi.{call}", f">>>all\nHi.\n{call}{call}", call):
        assert accepts(FUNCTIONARY, text, "auto")
        assert accepts(FUNCTIONARY, text, "required") == text.startswith(">>>add")
        assert accepts(FUNCTIONARY, text, "auto", parallel=False) == (text.count("add") < 2)
        found = parse(text, AnswerSyntax(FUNCTIONARY), TOOLS)
        assert [c.name for c in found.calls] == ["add"] * text.count("add")
        assert found.content == text.partition("all\n")[2].partition(">>>")[0].removesuffix("\n")
    assert not accepts(FUNCTIONARY, f">>>all\nHi.\n>>>sub\n{ARGUMENTS}", "auto")


@pytest.mark.parametrize(
    ("form", "call"),
    [(COHERE, f'<A>[{{"id": "@", "tool": "add", "with": {ARGUMENTS}}}]</A>'), (WITH_ID, f"[CALL]add[ID]@[ARGS]{ARGUMENTS}")],
)
def test_ids_are_such_as_the_template_takes(form, call):
    short = replace(form, short_ids=True)
    for id_, fits in [("a1B2c3D4e", True), ("a1B2c3D4", False), ("a1B2c3D4ef", False), ("a1B2c3D4_", False)]:
        assert accepts(short, call.replace("@", id_), "required") == fits
    assert accepts(form, call.replace("@", "a1"), "required")


def test_no_tools_no_grammar():
    assert tool_grammar(GENERIC, TOOLS, "none") is None
    assert tool_grammar(GENERIC, [], "required") is None


@pytest.mark.parametrize("form", [TAGGED, GEMMA, GENERIC])
def test_schemas_that_no_grammar_can_say(form):
    tool = tool_of("wait", "seconds")
    tool["function"]["parameters"]["properties"]["seconds"] = {"type": "integer", "multipleOf": 7}
    with pytest.raises(SchemaError, match=r"wait.*\.seconds\.multipleOf"):
        tool_grammar(form, [tool])
    assert tool_grammar(form, [tool], ignore=["multipleOf"])


def undefined(grammar: str) -> set[str]:
    """Names of rules that are used and not defined."""
    defined = set(re.findall(r"^([a-zA-Z0-9-]+) ::=", grammar, re.MULTILINE))
    used = set()
    for body in re.findall(r"::= (.*)$", grammar, re.MULTILINE):
        bare = re.sub(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{[0-9,]+\}', " ", body)
        used |= set(re.findall(r"[a-zA-Z][a-zA-Z0-9-]*", bare))
    return used - defined


@pytest.mark.parametrize("name", NAMES)
def test_the_grammar_of_a_choice(shared_data, name):
    syntax = syntax_of(shared_data, name).tools
    for choice in ("auto", "required", "add"):
        made = tool_grammar(syntax, REAL_TOOLS, choice)
        assert made is not None
        assert undefined(made.text) == set()
        assert (made.triggers == ()) == (choice != "auto")
        assert ("get" in made.text and "weather" in made.text) == (choice != "add")
    assert tool_grammar(syntax, TOOLS, "none") is None
    assert tool_grammar(syntax, [], "auto") is None


def test_grammars_of_schemas():
    text = json_schema_to_gbnf(
        {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b_c": {"enum": ["x", 'y"']}, "d": {"$ref": "#/$defs/n"}},
            "required": ["a"],
            "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "maxItems": 2}},
        }
    )
    assert undefined(text) == set()
    assert r'"\"y\\\"\""' in text
    for schema, error in [
        ({"type": "string", "unheard-of": "a"}, r"\$\.unheard-of: this keyword"),
        ({"type": "object", "properties": {"a": {"type": "wrong"}}}, r"\$\.properties\.a\.type: expected"),
        ({"$ref": "#/nowhere"}, r"the schema has no #/nowhere"),
        ({"type": "object", "properties": {}, "required": ["x"], "additionalProperties": False}, "no value is valid"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems <= maxItems"),
    ]:
        with pytest.raises(SchemaError, match=error):
            json_schema_to_gbnf(schema)
