"""Grammars after a thought and from triggers on, against every short text."""

from __future__ import annotations

import itertools

import pytest

from jaxllama.grammar import Grammar
from jaxllama.grammar.compose import after_thought, from_triggers

INNER = Grammar.from_gbnf('root ::= ("a" x | "^"){1,2} root?\nx ::= "b"')
EMPTY = Grammar.from_gbnf('root ::= ""')


def texts(alphabet: str, longest: int) -> list[str]:
    return ["".join(chars) for n in range(longest + 1) for chars in itertools.product(alphabet, repeat=n)]


@pytest.mark.parametrize("end", ["a", "^", "aab", "abab", "]-", "^^", "\n\\"])
def test_a_thought_ends_where_its_end_stands_first(end):
    grammar = after_thought(EMPTY, "<", end, opened=True)
    for text in texts("".join(dict.fromkeys(end + "c")), 6):
        at = text.find(end)
        assert grammar.accepts(text) == (at >= 0 and text[at + len(end) :] in ("", " ", "\n", "\n\n", "\n ", "\n\n ")), text


def test_what_comes_after_a_thought():
    opened, may = after_thought(INNER, "<", ">", opened=True), after_thought(INNER, "<", ">", opened=False)
    assert after_thought(INNER, "", ">", opened=False).text == opened.text
    for inner in texts("ab^", 3):
        good = INNER.accepts(inner)
        assert good == (inner != "" and inner.replace("ab", "").strip("^") == ""), inner
        for thought in (">", "so>\n ", "^ab> "):
            assert opened.accepts(thought + inner) == good
            assert may.accepts(f"\n <{thought}{inner}") == good
            assert not may.accepts(f"\n\n\n<{thought}{inner}")
        assert may.accepts(inner) == good
        assert not opened.accepts(inner)


@pytest.mark.parametrize("triggers", [["a"], ["^"], ["ab", "^"], ["aa", "ab^"], ["b^^", "^b"]])
def test_a_grammar_begins_where_a_trigger_stands_first(triggers):
    inner = Grammar.from_choices([t + rest for t in triggers for rest in ("", "!", "a^")])
    grammar = from_triggers(inner, triggers)
    for text in texts("ab^!", 5):
        splits = (n for n in range(len(text) + 1) if not any(t in text[:n] for t in triggers))
        assert grammar.accepts(text) == any(n == len(text) or inner.accepts(text[n:]) for n in splits), text


@pytest.mark.parametrize("triggers", [[], ["a", ""]])
def test_a_trigger_is_a_text(triggers):
    with pytest.raises(ValueError, match="expected a list of strings that start the grammar, none of them empty"):
        from_triggers(INNER, triggers)


def test_the_grammar_within_is_shown():
    assert "# root ::= " in from_triggers(INNER, ["a"]).text
    assert Grammar.from_gbnf(from_triggers(INNER, ["a"]).text).accepts("bb")
