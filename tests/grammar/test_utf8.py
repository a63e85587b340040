"""Classes of characters as bytes, against Python's UTF-8."""

from __future__ import annotations

import random

import pytest

from jaxllama.grammar.nodes import Chars
from jaxllama.grammar.utf8 import LAST, Bytes, char_bytes

EDGES = [0, 1, 0x41, 0x7F, 0x80, 0xBF, 0xC0, 0xE9, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, LAST]
CODES = sorted({min(max(code + d, 0), LAST) for code in EDGES for d in (-1, 0, 1)})
NONE = [b"", b"\x80", b"\xbf", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xed\xa0\x80", b"\xff", b"\xc3", b"aa"]


def accepts(node: Bytes, text: bytes) -> bool:
    at: Bytes | None = node
    for byte in text:
        if at is None:
            return False
        found = [to for low, high, to in at.edges if low <= byte <= high]
        if not found:
            return False
        (at,) = found
    return at is None


@pytest.mark.parametrize("negated", [False, True])
def test_classes_are_their_characters(negated):
    draw = random.Random(1)
    some = [tuple((draw.choice(CODES), draw.choice(CODES)) for _ in range(draw.randrange(4))) for _ in range(60)]
    for ranges in [(), ((0, LAST),), ((97, 99), (98, 98), (100, 120)), *(((a, b),) for a in EDGES for b in EDGES[::3]), *some]:
        chars = Chars(ranges, negated)
        node = char_bytes(chars)
        for code in CODES:
            text = chr(code).encode("utf-8", "surrogatepass")
            assert accepts(node, text) == (chars.matches(code) and not 0xD800 <= code < 0xE000), (ranges, hex(code))
        assert not any(accepts(node, text) for text in NONE), ranges


def test_edges_are_few():
    assert len(char_bytes(Chars((), True)).edges) == 9  # of one byte, two, three (four kinds), and four (three kinds)
    assert char_bytes(Chars(((0x4000, 0x4FFF), (0x5000, 0x5FFF)))).edges == char_bytes(Chars(((0x4000, 0x5FFF),))).edges
