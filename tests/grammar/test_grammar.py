"""Grammars against what they describe: JSON's own parser, a validator of schemas, regular expressions, and the calls that templates write."""

# ruff: noqa: E501  schemas are long

from __future__ import annotations

import json
import random
import re
import time
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from grammars import ARITHMETIC, CHESS, JSON, LIST, PROGRAM
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxllama.cli.main import main
from jaxllama.grammar import Grammar, GrammarError, json_schema_to_gbnf
from jaxllama.grammar.automaton import Automaton
from jaxllama.grammar.nodes import Chars, Choice, Reference, Repeat, Series
from jaxllama.text.chat.caps import call_of, tool_of
from jaxllama.text.chat.syntax import ToolSyntax, tool_syntax
from jaxllama.text.chat.template import ChatTemplate
from jaxllama.text.chat.tool_grammar import tool_grammar


def is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return False
    return True


@cache
def json_grammar() -> Grammar:
    return Grammar.from_gbnf(JSON)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5), lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=3), c, max_size=3), max_leaves=6), st.sampled_from([None, 1]))  # fmt: skip
def test_all_json_is_accepted(value, indent):
    assert json_grammar().accepts(json.dumps(value, indent=indent))


@settings(max_examples=300)
@given(st.text(alphabet='{}[]",:\\01.-etrufalsn \n', max_size=14))
def test_nothing_else_is(text):
    assert json_grammar().accepts(text) == is_json(text)


@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        (ARITHMETIC, ["1+2=3\n", "(1+2)*3= 9\n1=1\n"], ["1+=2\n", "(1=2\n", "1=2"]),
        (LIST, ["- a\n- b\n", "- a\n- b\n- c\n- d\n"], ["- a\n", "- a\n- b\n- c\n- d\n- e\n", "-a\n- b\n"]),
        (CHESS, ["1. e4 e5\n2. Nf3 Nc6\n", "1. O-O-O exd5+\n"], ["1. e9 e5\n", "1.e4 e5\n"]),
        (PROGRAM, ["a = 1\nprint(a + (b * 2))\n", "if a < 3:\n  b = 1\n"], ["A = 1\n", "print(a\n", ""]),
        ('root ::= "\\x41\\u00e4\\U0001F999" [\\x42-\\x44] .', ["Aä🦙Bx", "Aä🦙D\n"], ["Aä🦙Ex", "Aä🦙B"]),
        ("root ::= [^a-c]{2} | [-x] [a\\-c] | [\\]]?", ["dé", "--", "xa", "x-", ""], ["ad", "xb"]),
        ('root ::= ("a" "b"?){1,2} "c"* # a comment\n', ["a", "abacc", "aa"], ["", "aaa", "abb"]),
        ('root ::= (\n  "a"\n  | "b"\n) x |\n  "c"\nx ::= "x"{2,}\n', ["axx", "bxxx", "c"], ["ax", "cxx"]),
        ('root ::= "a"{3}', ["aaa"], ["aa", "aaaa"]),
        ('root ::= "a"{0,3000} "b"', ["b", "a" * 3000 + "b"], ["a" * 3001 + "b"]),
        ('root ::= ""', [""], ["a"]),
        ('root ::= a\na ::= "(" a ")" | ""', ["", "((()))"], ["(()", ")"]),
    ],
)
def test_what_grammars_accept(grammar, good, bad):
    made = Grammar.from_gbnf(grammar)
    for text in good:
        assert made.accepts(text), text
    for text in bad:
        assert not made.accepts(text), text


@given(st.text(alphabet="abc", max_size=8))
def test_repetitions_are_those_of_regular_expressions(text):
    for pattern in ("(ab?){1,3}c*", "a{2,}b{0,2}c?", "(a|bc){2}(b?c){0,2}", "((ab)*c){1,2}", "[ab]{3}|c+"):
        gbnf = re.sub(r"[abc]", lambda m: f'"{m[0]}" ', pattern.replace("[ab]", "(a|b)"))
        gbnf = re.sub(r'" ([?*+{])', r'"\1', gbnf)
        assert Grammar.from_gbnf(f"root ::= {gbnf}").accepts(text) == bool(re.fullmatch(pattern, text)), pattern


def test_where_a_text_is_refused():
    assert json_grammar().refused_at('{"a": 1}') is None
    assert json_grammar().refused_at('{"a": x}') == 6
    assert json_grammar().refused_at('{"a": 1') == 7
    grammar = json_grammar()
    place = grammar.place("[1")
    assert not grammar.matcher.accepts(place)
    assert grammar.matcher.accepts(grammar.matcher.advance(place, "]"))
    assert not grammar.place("[x")


def test_tokens_by_number_and_by_name():
    made = Grammar.from_gbnf('root ::= <[7]> "a" !<end>', lambda text: [9] if text == "<end>" else [1, 2])
    m = made.matcher
    place = m.advance_token(m.start, 7, "whatever")
    assert place
    assert not m.advance_token(m.start, 8, "a")
    place = m.advance_token(place, 3, "a")
    assert not m.advance_token(place, 9, "")
    assert m.accepts(m.advance_token(place, 4, ""))
    with pytest.raises(GrammarError, match="must be one token of the vocabulary, but is encoded as 2"):
        Grammar.from_gbnf("root ::= <other>", lambda _: [1, 2])
    with pytest.raises(GrammarError, match="needs the vocabulary of a model"):
        Grammar.from_gbnf("root ::= <end>")


def test_ambiguous_grammars_end():
    made = Grammar.from_gbnf('root ::= "x"{0,100} "x"{0,100} "x"{0,100} "y"')
    start = time.perf_counter()
    assert made.accepts("x" * 50 + "y")
    hostile = Grammar.from_gbnf("root ::= " + "a " * 60 + '"y"\na ::= b | b b | ""\nb ::= c | c c | ""\nc ::= "x" | "x" "x" | ""')
    assert hostile.accepts("x" * 30 + "y")
    assert time.perf_counter() - start < 60


def test_too_many_readings_are_an_error(monkeypatch):
    monkeypatch.setattr("jaxllama.grammar.matcher.MOST_STACKS", 50)
    assert Grammar.from_gbnf('root ::= "a" | "b"').accepts("b")
    with pytest.raises(GrammarError, match="ambiguous: more than 50 ways to read the same text"):
        Grammar.from_gbnf("root ::= " + " | ".join(f'"{n}"' for n in range(50))).accepts("1")


@pytest.mark.parametrize(("limit", "message"), [("MOST_WAYS", "ambiguous: more than 50 ways to read the same text"), ("MOST_STACKS", "needs too much memory")])
def test_automata_of_too_many_stacks_are_an_error(monkeypatch, limit, message):
    monkeypatch.setattr(f"jaxllama.grammar.stacks.{limit}", 50)
    assert Automaton(Grammar.from_gbnf('root ::= "a" | "b"').rules).start
    with pytest.raises(GrammarError, match=message):
        Automaton(Grammar.from_gbnf("root ::= " + " | ".join(f'"{n}"' for n in range(50))).rules)


# Schemas

SCHEMAS = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "boolean"}}, "required": ["b"]},
    {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "null"}}},
    {"type": "array", "items": {"enum": ["red", "green", 3, None]}, "minItems": 1, "maxItems": 3},
    {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}]},
    {"type": ["integer", "null"]},
    {"type": "object", "properties": {"kind": {"const": "a b"}, "n": {"$ref": "#/$defs/tree"}}, "required": ["kind", "n"], "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "minLength": 2, "maxLength": 4}]},
    {"type": "object", "properties": {"any": {}}, "required": ["any"]},
]  # fmt: skip


def random_text(grammar: Grammar, draw: random.Random) -> str:
    """A text that a grammar accepts."""
    out: list[str] = []

    def write(node, depth: int) -> None:
        match node:
            case Chars(ranges, negated):
                pool = "abz09 _-ü" if negated else "".join(chr(draw.randint(low, high)) for low, high in ranges)
                out.append(draw.choice([c for c in pool if node.matches(ord(c))]))
            case Reference(name):
                write(grammar.rules[name], depth + 1)
            case Series(items):
                for item in items:
                    write(item, depth)
            case Choice(options):
                small = [o for o in options if isinstance(o, Series) and not o.items]
                write(draw.choice(small if small and depth > 12 else list(options)), depth)
            case Repeat(item, least, most):
                more = 0 if depth > 12 else draw.randint(0, 2)
                for _ in range(min(least + more, most if most is not None else least + more)):
                    write(item, depth)

    write(grammar.rules["root"], 0)
    return "".join(out)


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_what_a_schemas_grammar_writes_validates(schema):
    grammar, draw = Grammar.from_json_schema(schema), random.Random(1)
    for _ in range(40):
        try:
            text = random_text(grammar, draw)
        except RecursionError:
            continue
        assert grammar.accepts(text)
        jsonschema.validate(json.loads(text), schema)


@pytest.mark.parametrize(
    ("number", "value", "fits"),
    [
        (0, {"b": "x"}, True),
        (0, {"a": 3, "b": "x", "c": True}, True),
        (0, {"b": "x", "a": 3}, False),
        (0, {"a": 3}, False),
        (0, {"b": 3}, False),
        (0, {"b": "x", "z": 1}, False),
        (1, {}, True),
        (1, {"y": None}, True),
        (2, ["red", 3], True),
        (2, [], False),
        (2, ["blue"], False),
        (3, "abc", True),
        (3, "abcd", False),
        (4, None, True),
        (4, "1", False),
        (5, {"kind": "a b", "n": [[], [[]]]}, True),
        (5, {"kind": "a", "n": []}, False),
        (6, {"p": 1, "q": 2}, True),
        (6, {"p": "x"}, False),
        (7, [1, "ab"], True),
        (7, [1, "a"], False),
        (8, {"any": [{"x": 1}]}, True),
    ],
)
def test_what_a_schemas_grammar_accepts(number, value, fits):
    assert Grammar.from_json_schema(SCHEMAS[number]).accepts(json.dumps(value)) == fits


# The grammars of tool choices accept what templates write

TOOLS = [tool_of("get_weather", "city", "unit"), tool_of("add_it", "a")]
TOOLS[1]["function"]["parameters"]["properties"]["a"]["type"] = "number"


@pytest.mark.parametrize("name", ["Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder", "GLM-4.6", "meta-llama-Llama-3.1-8B-Instruct", "moonshotai-Kimi-K2", "mistralai-Mistral-Nemo-Instruct-2407", "CohereForAI-c4ai-command-r7b-12-2024-tool_use", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"])  # fmt: skip
@pytest.mark.parametrize("arguments", [{"city": "Paris", "unit": "C"}, {"city": 'x "y" {z} ü', "unit": ""}])
def test_tool_grammars_accept_what_templates_write(shared_data: Path, name, arguments):
    template = ChatTemplate((shared_data / "templates" / f"{name}.jinja").read_text(encoding="utf-8"), bos="<s>", eos="</s>")
    syntax = tool_syntax(template)
    user = {"role": "user", "content": "hi"}
    written = template.render(
        [user, {"role": "assistant", "content": None, "tool_calls": [call_of("get_weather", arguments)]}], tools=TOOLS, add_generation_prompt=False
    )
    begin = syntax.section_start or syntax.call_start or '{"name"'
    call = re.split(r"<\|(?:im_end|eot_id|observation|END_OF_TURN_TOKEN)\|>|<｜end|</s>", written[written.rindex(begin) :])[0].rstrip()
    made = tool_grammar(syntax, TOOLS, "get_weather")
    assert made is not None
    grammar = Grammar.from_gbnf(made.text)
    assert grammar.refused_at(call) is None, call[grammar.refused_at(call) :]
    assert not grammar.accepts(call.replace("get_weather", "get_whether"))


def test_choices_are_written_without_quotes_where_text_is():
    syntax = ToolSyntax("tagged", call_start="<f=", call_end="</f>", name_end=">", argument_start="<p=", key_end=">", value_end="</p>")
    tool = tool_of("go", "where")
    tool["function"]["parameters"]["properties"]["where"]["enum"] = ["up", "down"]
    made = tool_grammar(syntax, [tool], "required")
    assert made is not None
    grammar = Grammar.from_gbnf(made.text)
    assert grammar.accepts("<f=go><p=where>up</p></f>")
    assert not grammar.accepts('<f=go><p=where>"up"</p></f>')
    assert not grammar.accepts("<f=go><p=where>left</p></f>")


def test_the_verb(tmp_path, capsys):
    grammar, schema, good, bad = (tmp_path / n for n in ("g.gbnf", "s.json", "good", "bad"))
    grammar.write_text(LIST)
    schema.write_text(json.dumps(SCHEMAS[0]))
    good.write_text("- a\n- b\n")
    bad.write_text("- a\nb\n")
    assert main(["grammar", "check", str(grammar), str(good)]) == 0
    out = capsys.readouterr().out
    assert f"{good}: accepted" in out
    assert "decoding: finite automaton\n" in out
    assert main(["grammar", "check", str(grammar), str(bad)]) == 1
    assert "refused at line 2, column 1: 'b\\n'" in capsys.readouterr().out
    bad.write_text("- a")
    assert main(["grammar", "check", str(grammar), str(bad)]) == 1
    assert f"{bad}: incomplete" in capsys.readouterr().out
    assert main(["grammar", "check", "-j", str(schema), "--show"]) == 0
    assert capsys.readouterr().out.count("::=") == json_schema_to_gbnf(SCHEMAS[0]).count("::=")
    grammar.write_text("root ::= x")
    assert main(["grammar", "check", str(grammar)]) == 1
    assert "there is no rule 'x'" in capsys.readouterr().err
