"""GBNF as it is written: what is read, and what is refused with the place where it is wrong."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from jaxllama.grammar import Grammar, GrammarError
from jaxllama.grammar.automaton import Automaton
from jaxllama.grammar.gbnf import class_char, literal
from jaxllama.grammar.walk import advanced, may_end, start_of


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ('# first\r\n\n root::="a"|[b]# last\r\n# more', "a b", "aa #"),
        ('root ::= "a" |', "a", "b"),
        ("root ::=", "", "a"),
        ('1 ::= "a"\nroot ::= 1\t1', "aa", "a"),
        ('root ::= "a"{ 2 , 3 } "b" {2} [c]{ 1 }', "aabbc aaabbc", "abbc aaaabbc aabc aabbcc"),
        ('root ::= "a"{2,} [] ("b")?', "aa aaab", "a aabb"),
        ('root ::= ("")? ("a" | "")? "b"', "b ab", "a bb"),
        ('root ::= ("a"{2}){1001} | "a"? "b"{1}{2}', "bb abb", "b aa"),
        ('root ::= x y\nx ::= "a" | ""\ny ::= ("b" x)+', "b aba abbab", "a ab-"),
        ('root ::= "(" root? ")" root? | "b" x\nx ::= "a"? "b" root?', "() (()()) bab bb(bab)", "( bb) ba"),
        (r'root ::= [\[\]\-\\\"\n\r\t]+ "\[\"\u0042"', '[]-\\"\n\r\t["B', 'a["B [["'),
        ("root ::= [+--]+ [a-] [^-a]", "+,--b --+ +ac", "+b- .-b +a- +aa"),
    ],
)
def test_what_is_read(text, good, bad):
    grammar = Grammar.from_gbnf(text)
    for accepted in good.split(" "):
        assert grammar.accepts(accepted), accepted
    for refused in bad.split(" "):
        assert not grammar.accepts(refused), refused


MAY_BE_EMPTY = {
    "([x]*)*": r"x*",
    'ws* "x"\nws ::= [ \\t]*': r"[ \t]*x",
    '("x"? "y"?)*': r"[xy]*",
    "([x]*)+": r"x*",
    '(line? "y")*\nline ::= "x"': r"(x?y)*",
    'x*\nx ::= "x"?': r"x*",
    '("x"?)* "y"': r"x*y",
    '(("x" | ""))*': r"x*",
    '("" | "x"){0,3}': r"x{0,3}",
    '("x"*){2,} "y"': r"x*y",
    'x root | "y"\nx ::= "x"*': r"x*y",
    'x root? | "y"\nx ::= "x"*': r"x*y?",
    '"x" root? | "y"': r"x+y?|y",
    '"y"\nx ::= z x "x"\nz ::= "x"*': r"y",  # nobody asks for x
    'x{2000} "y"\nx ::= "x"*': r"x*y",
    'x{0,2000}\nx ::= "x"? "y"?': r"[xy]*",
    '("" ""){9} ("" | ""){20} "x"': r"x",
    'x{9,20} "y"\nx ::= "x"?': r"x{0,20}y",
    '((("x"*)*)*)* "y"': r"x*y",
}


@pytest.mark.parametrize("body", MAY_BE_EMPTY)
def test_repetitions_of_what_may_be_empty(body):
    """llama.cpp builds all of these; matcher and automata read them alike."""
    grammar = Grammar.from_gbnf(f"root ::= {body}")
    automata = [Automaton(grammar.rules, framing=framing) for framing in (True, False)]
    for text in ["".join(chars) for n in range(5) for chars in itertools.product("xy ", repeat=n)]:
        wanted = re.fullmatch(MAY_BE_EMPTY[body], text) is not None
        assert grammar.accepts(text) == wanted, text
        for automaton in automata:
            place = advanced(automaton.states, start_of(automaton), text.encode())
            assert (place is not None and may_end(automaton.states, place)) == wanted, text


def test_another_root():
    text = 'root ::= "a" other?\nother ::= "b" root?'
    assert Grammar.from_gbnf(text, root="other").accepts("bab")
    assert not Grammar.from_gbnf(text, root="other").accepts("ab")
    assert Grammar.from_gbnf('x ::= "a"', root="x").accepts("a")
    with pytest.raises(GrammarError, match="there is no rule 'none', with which a grammar must start"):
        Grammar.from_gbnf(text, root="none")


def test_a_rule_is_what_it_was_last_said_to_be():
    assert Grammar.from_gbnf('root ::= "a"\nroot ::= "b"').accepts("b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('root ::= "a', "line 1, column 12: the grammar ends inside a literal"),
        ("root ::= [a", "ends inside a literal or a character class"),
        ('root ::= ("a"', r"line 1, column 14: expected \)"),
        ('root ::= "a" )', "expected the end of the line"),
        ('root = "a"', "line 1, column 6: expected ::="),
        ('a ::= "a"', "no rule 'root'"),
        ("", "no rule 'root'"),
        ('root ::= x\ny ::= "a"\n', "line 1, column 10: there is no rule 'x'"),
        ("root ::= * \n", "line 1, column 10: there is nothing to repeat before this"),
        ('root ::= ""?', "nothing to repeat before this"),
        (r'root ::= "\q"', r"unknown escape sequence \\q"),
        (r'root ::= "\x4"', "needs the 2 hexadecimal digits"),
        (r'root ::= "\UFFFFFFFF"', "needs the 8 hexadecimal digits"),
        ('root ::= "a"{3001}', "3001 repetitions are too many"),
        ('root ::= ("a"{0,100}){100}', "this expands to 10100 repetitions"),
        ('root ::= "a"{3,2}', "the minimum of 3 repetitions is above the maximum of 2"),
        ('root ::= "a"{x}', "expected a number"),
        ('root ::= root "a" | "b"', "the rule 'root' can begin with itself"),
        ('root ::= x\nx ::= "a"? y\ny ::= z\nz ::= x "b" | "c"', "can begin with itself"),
        ('root ::= ("" | "a")*', "the rule 'root' repeats something that may be empty without a limit"),
        ("root ::= <[3>", r"expected \]>"),
        ("root ::= [a\n", "line 2, column 1: the grammar ends inside a literal or a character class"),
        ("root ::= [", "line 1, column 11: the grammar ends inside"),
        ("_ ::= root", r"line 1, column 1: expected the name of a rule"),
        ('root ::= "a" = x\nx ::= "b"', "line 1, column 14: expected the end of the line, or more of the rule"),
        ("root", "line 1, column 5: expected ::="),
        ('root ::= []? "a"', "line 1, column 12: there is nothing to repeat before this"),
        ('root ::= "a" | ?', "line 1, column 16: there is nothing to repeat before this"),
        ('root ::= "a"{2001}', "line 1, column 13: 2001 repetitions are too many"),
        ('root ::= ("a" x y){1000}\nx ::= "a"\ny ::= "a"', "line 1, column 19: this expands to 3000 repetitions"),
        ('root ::= (x ("a" | "b")){1000}\nx ::= "a"', "line 1, column 25: this expands to 3000 repetitions"),
        ('root ::= ("a"* "b"+){1000}', "line 1, column 21: this expands to 3000 repetitions"),
        ('root ::= ("a"{1,3}){1000}', "line 1, column 20: this expands to 3000 repetitions"),
        ('root ::= "a"{50}{50}', "line 1, column 17: this expands to 2500 repetitions"),
        ('root ::= "a"{,3}', "line 1, column 14: expected a number"),
        (r'root ::= "\xg1"', r"line 1, column 11: \\x needs the 2 hexadecimal digits"),
        (r'root ::= "\x+1"', r"line 1, column 11: \\x needs the 2 hexadecimal digits"),
        (r'root ::= "\U00110000"', r"line 1, column 11: \\U needs the 8 hexadecimal digits"),
        ("root ::= <end", "line 1, column 11: expected > after the text of a token"),
        ("root ::= x y\nx ::= y | [a]\ny ::= x", "left recursion: the rule '[xy]' can begin with itself"),
        ('root ::= [a] x\nx ::= (z | "a") "b"\nz ::= "b"? x', "left recursion: the rule '[xz]' can begin with itself"),
        ('root ::= "b" x*\nx ::= "a" | ""', "the rule 'root' repeats something that may be empty without a limit"),
        ('root ::= x{2,}\nx ::= "a"{0}\n', "the rule 'root' repeats something that may be empty without a limit"),
        ('root ::= ("a" | ""){0,2001}', "the rule 'root' repeats something that may be empty without a limit"),
        ('root ::= "a"?*', "the rule 'root' repeats something that may be empty without a limit"),
        ('root ::= ("a"?+){0} "b"', "the rule 'root' repeats something that may be empty without a limit"),
        ('root ::= "a"?*\nroot ::= "b"', "the rule 'root' repeats something that may be empty without a limit"),
        ('root ::= "a"{0}*', "line 1, column 16: there is nothing to repeat before this"),
        ('root ::= "b"{0,18446744073709551616}', "line 1, column 16: the number is too large: at most 18446744073709551615"),
        ("root ::= <[4294967296]>", "line 1, column 12: the number is too large: at most 4294967295"),
        # llama.cpp reads these, and does not come back from following them
        ('root ::= x root "c" | "b"\nx ::= "a"*', "the rule 'root' can begin with itself"),
        ('root ::= x root x | "b"\nx ::= "a"*', "the rule 'root' can begin with itself"),
        ('root ::= (x root)* | "b"\nx ::= "a"*', "the rule 'root' can begin with itself"),
        ('root ::= "a"{0} root', "the rule 'root' can begin with itself"),
        ("root ::= " + "(" * 5000 + '"a"' + ")" * 5000, "nested too deeply"),
        ("root ::= " + "x" * 2**20, "characters: at most 1048576 are allowed"),
    ],
)
def test_wrong_grammars(text, message):
    start = time.perf_counter()
    with pytest.raises(GrammarError, match=message):
        Grammar.from_gbnf(text)
    assert time.perf_counter() - start < 5


def test_the_caret_points_at_the_mistake():
    with pytest.raises(GrammarError) as caught:
        Grammar.from_gbnf('root ::= "a"\nx ::= "b" ]\n')
    assert str(caught.value).split("\n")[1:] == ['  x ::= "b" ]', "            ^"]
    with pytest.raises(GrammarError) as caught:
        Grammar.from_gbnf('x ::= "a"\nroot ::=\t' + '"' + "b" * 100 + '" ]' + "c" * 100 + "\nz")
    shown, caret = str(caught.value).split("\n")[1:]
    assert shown == "  " + "b" * 58 + '" ]' + "c" * 59
    assert caret.index("^") == shown.index("]")


def test_how_characters_are_written():
    """As they are where they can be seen."""
    assert literal('aé^\u00a0\u200b\n"') == r'"aé^\xA0\U0000200B\n\""'
    seen = [class_char(ord(c)) for c in "aé^]-\\\u00a0\u200b\n🦙\ud800"]
    assert " ".join(seen) == r"a é \x5E \] \- \\ \xA0 \U0000200B \x0A \U0001F999 \U0000D800"
