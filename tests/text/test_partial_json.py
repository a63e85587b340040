"""JSON that is still being written, held to Python's reader of whole JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxllama.text.chat.partial_json import Invalid, scan

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
VALUES = st.recursive(SCALARS, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=3), c, max_size=3), max_leaves=8)


@given(VALUES)
def test_json_in_pieces(value):
    text = json.dumps(value)
    whole = scan(text + " ")
    assert whole is not None
    assert whole.end == len(text)
    for cut in range(len(text)):
        part = scan(text[:cut])
        if part is not None and part.end is not None:  # a number may be whole before its last digit
            assert type(value) in (int, float)
            assert math.isfinite(json.loads(text[: part.end]))
    with pytest.raises(Invalid):
        scan("}" + text)


@settings(max_examples=300)
@given(st.text(alphabet='{}[]":,.-+01eEtrufalsn\\ \t\n\x00é', max_size=14))
@example('{ }[ ]{"a" : [ 1 , { } ] , "b":-0.1e+5}')
@example(' [ ] , { "a" : [1,"\\u00e9\\n"] }')
@example("[true, false, null, nul]")
@example('{"a": 1, "a": 2}')
@example('{"a" 1}')
@example("{1: 2}")
@example("{[]: 2}")
@example('"\\u00')
def test_any_text(text):
    """What is whole is whole for Python too; up to the place of an error there is a beginning, and past it there is none."""
    found, whole = attempt(scan, text), attempt(json.JSONDecoder().raw_decode, text.lstrip(" \t\n"))
    if isinstance(found, Invalid):
        assert not isinstance(attempt(scan, text[: found.at]), Invalid)
        again = attempt(scan, text[: found.at + 1])
        assert isinstance(again, Invalid)
        assert again.at == found.at
        assert isinstance(whole, ValueError) or type(whole[0]) in (int, float)  # a number that goes on wrongly
        return
    stripped = text.lstrip(" \t\n")
    assert (found is None) == (not stripped)
    if found is not None:
        assert found.start == len(text) - len(stripped)
        if isinstance(whole, ValueError):
            assert found.end is None
            assert found.text(text) == stripped
        elif found.end is None:
            assert type(whole[0]) in (int, float)  # it may go on
        else:
            assert found.end == found.start + whole[1]
            check(found, whole[0], text)


def attempt(function, text):
    """What a function makes of a text, or its error."""
    try:
        return function(text)
    except ValueError as error:
        return error


def check(span, value, text):
    """The parts of a value are where they are written; of members of one name the first counts."""
    if isinstance(value, dict):
        assert span.items is None
        assert list(span.members) == list(value)
        firsts = json.loads(span.text(text), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
        for key, part in span.members.items():
            check(part, firsts[key], text)
    elif isinstance(value, list):
        assert span.members is None
        assert len(span.items) == len(value)
        for part, item in zip(span.items, value, strict=True):
            check(part, item, text)
    else:
        assert span.members is span.items is None
        assert json.loads(span.text(text)) == value


@given(VALUES, st.data())
def test_what_was_there_before_an_error(value, data):
    """An error says what had been read until then: the same as if the text had ended there."""
    text = json.dumps([value])
    cut = data.draw(st.integers(0, len(text) - 1))
    broken = text[:cut] + "\x00"
    with pytest.raises(Invalid) as error:
        scan(broken)
    assert error.value.at == cut
    until = scan(text[:cut])
    if until is not None and until.end is None:
        assert_same_until(cut, error.value.span, until)


def assert_same_until(cut, span, until):
    """Two values are the same in what begins before a place."""
    assert span.start == until.start
    assert until.end in (None, span.end)  # a number may go on where a text ends
    members = {k: part for k, part in (span.members or {}).items() if part.start < cut}
    assert list(members) == list(until.members or ())
    for key, part in members.items():
        assert_same_until(cut, part, until.members[key])
    items = [part for part in span.items or () if part.start < cut]
    for part, other in zip(items, until.items or (), strict=True):
        assert_same_until(cut, part, other)


def test_an_error_far_inside():
    with pytest.raises(Invalid) as error:
        scan('{"a": {"b": [1, "x\x00')
    begun = scan('{"a": {"b": [1, "x')
    assert begun is not None
    assert_same_until(18, error.value.span, begun)
    assert len(begun.members["a"].members["b"].items) == 2  # type: ignore[index, union-attr]


def test_too_deep():
    assert scan("[" * 65) is not None
    with pytest.raises(Invalid) as error:
        scan("[" * 66)
    assert error.value.at == 65
