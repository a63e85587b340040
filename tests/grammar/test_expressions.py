"""Regular expressions as grammars, against Python's own."""

from __future__ import annotations

import json
import random
import re

import pytest

from jaxllama.grammar import Grammar, RegexError

EXPRESSIONS = [
    r"a*b+c?", r"(ab|c)*d", r"[a-c]{2,3}x{2}", r"\d+\.\d{2}", r"[^a-z]\w", r"(?:a|b)(c|d)?", r"a{0,2}|b", r"\x61\u0062\U00000063?", r"[\]\-a]+",
    r"(a?b?)*c", r"a.c", r"()a", r"[\s]a", "", r"\.", r"^a", r"b$", r"^ab?$", r"\Aab?\Z", r"a|^b|c$", r"^$|a", r"^|b", r"(?P<name>ab)+", r"a??b", r"a*+b",
    r"a{2}?b", r"a{,2}b", r"a{2,}", r"a{b", r"a{1,x}?", r"{a}", r"a{}", r"[^\d]", r"[\D1]", r"[a-]+", r"[]a]", r"[^]a]", r"[\x61-c]", r"[\b\t]|\t",
    r"\W\S", r"\D", r"[\w-]b", r"(a*)*", r"(a*|b)+", r"((a|)b?)*", r"(a?b?){2,}", r"(|a)+", r"(a{0,2}){1,}c", r"(()|a?){3,}", r"(a?|())*b", r"é|😀",
    r"[^\x00-\x7f]", r'["\\]\n', r"[\x00-\x1f]", r"[^a]", r"[!-~]", r"[\^]a", r"\^|\[|\]|\-", r"[é-ü]|[\n\r\f\v\a\0]",
]  # fmt: skip


@pytest.mark.parametrize("pattern", EXPRESSIONS)
def test_expressions_are_pythons(pattern):
    """As a whole, and where they may stand anywhere, with $ at the very end."""
    draw = random.Random(pattern)
    whole = Grammar.from_regex(pattern)
    anywhere = Grammar.from_json_schema({"type": "string", "pattern": pattern})
    python = re.compile(pattern.replace("$", "\\Z"), re.ASCII)
    alphabet = sorted({c for c in pattern if c not in "()*?|"}) + list('abcdx.-]0123 _A\n\t"\\é😀ö')
    for text in ["", *alphabet, *("".join(draw.choices(alphabet[:-6] if n % 2 else alphabet, k=draw.randrange(2, 6))) for n in range(60))]:
        assert whole.accepts(text) == (python.fullmatch(text) is not None), text
        assert anywhere.accepts(json.dumps(text, ensure_ascii=False)) == (python.search(text) is not None), text


def test_what_python_writes_differently():
    assert Grammar.from_regex(r"\u{1F600}|\u{61}(?<name>b)").accepts("😀")
    assert Grammar.from_regex(r"\u{61}(?<name>b)\z").accepts("ab")
    assert not Grammar.from_regex(r"\u{1F600}").accepts("u1F600")


def test_what_json_escapes_is_escaped():
    """Every character below 256, as JSON writes it, and only so."""
    for pattern in (r"[\x00-\xff]", r"\x7f|\x08|\f"):
        grammar = Grammar.from_json_schema({"type": "string", "pattern": f"^{pattern}$"})
        for code in range(256):
            written = json.dumps(chr(code), ensure_ascii=False) if code != 127 else '"\\u007f"'
            assert grammar.accepts(written) == (re.fullmatch(pattern, chr(code)) is not None), written
            assert not grammar.accepts(f'"{chr(code)}"') or written == f'"{chr(code)}"', written


@pytest.mark.parametrize(
    ("pattern", "message", "at"),
    [
        ("(", "the group is not closed", 1),
        ("b(a|b", "the group is not closed", 2),
        ("a)", "there is no open group that this closes", 2),
        ("[a", "the class does not end", 1),
        ("b[a-", "the class does not end", 2),
        ("[]", "the class does not end", 1),
        ("*a", "there is nothing to repeat before this", 1),
        ("a|+", "there is nothing to repeat before this", 3),
        ("a{3,1}", "the minimum of repetitions is above the maximum", 2),
        ("(?=a)", "lookaround, flags", 1),
        ("a(?<=a)", "lookaround, flags", 2),
        ("a(?<!a)", "lookaround, flags", 2),
        ("(?P<a>b)(?P=a)", "lookaround, flags", 9),
        ("a(?P<b", "the group's name is not closed", 2),
        (r"a\1", r"\\1 is not supported", 2),
        (r"\b", r"\\b is not supported", 1),
        ("a\\", "ends inside an escape sequence", 2),
        ("[z-a]", "the ends of a range must be two characters in order", 1),
        (r"[a-\d]", "the ends of a range must be two characters in order", 1),
        (r"a\xg0", "needs the hexadecimal digits of a character", 2),
        (r"\u123", "needs the hexadecimal digits of a character", 1),
        (r"\u{}", "needs the hexadecimal digits of a character", 1),
        (r"\u{110000}", "needs the hexadecimal digits of a character", 1),
        (r"\u{61", "needs the hexadecimal digits of a character", 1),
        ("a^b", r"\^ is only supported at the beginning", 2),
        (r"b\A", r"\^ is only supported at the beginning", 2),
        ("(^a)", r"\^ is only supported at the beginning", 2),
        ("a$b", r"\$ is only supported at the end", 2),
        (r"a\Zb", r"\$ is only supported at the end", 2),
        ("(a$)", r"\$ is only supported at the end", 3),
    ],
)
def test_bad_expressions_say_where(pattern, message, at):
    with pytest.raises(RegexError, match=rf"{message}.*, at character {at} of the expression"):
        Grammar.from_regex(pattern)


def test_hostile_expressions():
    with pytest.raises(RegexError, match="nested too deeply"):
        Grammar.from_regex("(" * 5000 + ")" * 5000)
    with pytest.raises(RegexError, match="has 65537 characters: at most 65536"):
        Grammar.from_regex("a" * 65537)
