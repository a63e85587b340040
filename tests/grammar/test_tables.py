"""What the host knows of its tables, what it tells the device of them, and where their room ends."""

from __future__ import annotations

import random
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from jaxllama.grammar import Grammar, tables
from jaxllama.grammar.automaton import Automaton, TooManyStates
from jaxllama.grammar.tables import ACCEPTS, COUNT, FIRST, LIMIT, MOST_NEED, NEEDS, OTHERS, ROW, SIZES, SPECIAL, SPECIALS, UNKNOWN, Tables, TablesFull
from jaxllama.grammar.tokens import TokenGrammar
from jaxllama.grammar.trie import build_trie
from jaxllama.grammar.walk import Place, advanced, start_of

LETTERS = [bytes([c]) for c in range(32, 127)]
PAIRS = [a + b for a in LETTERS[65:71] for b in LETTERS[65:71]] + [b".)", b"))"]  # with them more tokens are letters than are listed
TRIE = build_trie([*LETTERS, *PAIRS, b""], [len(LETTERS) + len(PAIRS)])
GRAMMARS = {
    "frames": 'root ::= "((" x ")."\nx ::= "(" x? ")" | [a-z ]* "."',
    "counted": "root ::= [ -~]{300,400}",
    "any other token": 'root ::= (!<[66]> | "x")*',
    "tokens": 'root ::= (<[66]> | "a" | "c" "b")+',
}


class Device:
    """Arrays that are written as the device writes its own."""

    def __init__(self, host: Tables):
        self.host = host
        self.arrays = {name: np.full(shape, fill, dtype) for name, (shape, dtype, fill) in host.shapes().items()}

    def read(self) -> int:
        """Take what is new, and say how many messages it came in."""
        messages = list(self.host.changes())
        for part in messages:
            for name, (places, values) in part.items():
                assert len(places) == len(values) == SIZES[name][1]
                there = places < len(self.arrays[name])
                self.arrays[name][places[there]] = values[there]
        return len(messages)


def same(device: Device) -> int:
    """Compare the device's arrays with what the host says of each state; how many rows there are."""
    host, states, found = device.host, device.host.states, 0
    array = device.arrays
    for state, info in enumerate(array["info"][: len(states.accepts)].tolist()):
        assert info[ACCEPTS : LIMIT + 1] == [states.accepts[state], states.least[state], states.limits[state]]
        steps = states.steps[state]
        assert (array["steps"][state] == (UNKNOWN if steps is None else steps)).all()
        assert (info[ROW] >= 0) == host.known(state)
        if info[ROW] < 0:
            continue
        found += 1
        assert (array["rows"][info[ROW]] == host.bits(state)).all()
        assert [tuple(x) for x in array["listed"][info[FIRST] :][: info[COUNT]].tolist()] == host.entries(state)
        marked = np.unpackbits(host.bits(state).view(np.uint8), bitorder="little")
        assert not any(marked[t] for t, *_ in host.entries(state))  # once is enough
        need = host.need(state)
        assert info[MOST_NEED] == (0 if need is None else need.max())
        if need is not None:
            assert (array["needs"][info[NEEDS]] == need).all()
        special = dict(array["special"][info[SPECIAL] :][: info[SPECIALS]].tolist())
        assert [special.get(t, info[OTHERS]) for t in range(host.size)] == [host.taken(state, t) for t in range(host.size)]
    for number, effect in enumerate(states.effects):
        pushes = len(effect.pushes)
        assert array["effects"][number][: 4 + pushes].tolist() == [effect.state, effect.counts, effect.begins, pushes, *effect.pushes]
    assert (array["info"][len(states.accepts) :] == UNKNOWN).all()
    return found


def test_the_device_is_told_what_the_host_knows(monkeypatch):
    """Several grammars in one set of tables, as texts go on, also where one message has no room for all."""
    monkeypatch.setitem(SIZES, "listed", (SIZES["listed"][0], 16))
    host, draw, longest = Tables(TRIE), random.Random(3), 0
    device = Device(host)
    assert device.read() > 0
    rows = same(device)
    assert rows == 1  # what texts without a grammar need
    for text in GRAMMARS.values():
        bound = TokenGrammar(Grammar.from_gbnf(text), TRIE)
        bound.tables, bound.automaton = host, Automaton(bound.grammar.rules, host.states)
        place = bound.start
        for _ in range(12):
            host.prepare(place)
            made = len(host.states.fresh)
            choices = np.flatnonzero(bound.mask(place)[:-1])
            assert len(host.states.fresh) == made  # whoever follows the tokens finds everything there
            longest = max(longest, device.read())
            if not len(choices):
                break
            place = bound.advance(place, int(draw.choice(choices)))
        device.read()
        before, rows = rows, same(device)
        assert rows > before
    assert longest > 1
    assert device.read() == 0  # nothing is told twice


def bound_to(text: str, size: int | None = None) -> tuple[Tables, Place]:
    """Empty tables and the start of a grammar in them."""
    host = Tables(TRIE, size)
    return host, start_of(Automaton(Grammar.from_gbnf(text).rules, host.states))


def known_after(host: Tables, place: Place, text: bytes) -> list[bool]:
    """Whether the place before each byte of a text has its row."""
    return [host.known(found.state) for n in range(len(text)) if (found := advanced(host.states, place, text[:n])) is not None]


def test_tokens_that_end():
    end = len(LETTERS) + len(PAIRS)
    assert np.unpackbits(Tables(TRIE).ends.view(np.uint8), bitorder="little").tolist() == [0] * end + [1] + [0] * (-(end + 1) % 32)
    assert not Tables(TRIE, end).ends.any()  # one that the model has no logits for


def test_looking_ahead(monkeypatch):
    """As long as few tokens are possible, and there is time."""
    host, start = bound_to('root ::= "ghijkl" [a-z]+ "."')
    host.prepare_ahead(start, -1)
    assert not host.known(start.state)
    host.prepare_ahead(start, 60)
    assert known_after(host, start, b"ghijklmn") == [True] * 7 + [False]  # behind "ghijkl" is too much
    loop, start = bound_to('root ::= ("a" | "bc")*')
    ticks = count()
    monkeypatch.setattr(tables, "time", SimpleNamespace(perf_counter=ticks.__next__))
    loop.prepare_ahead(start, 1000)
    assert next(ticks) < 10  # each place once
    monkeypatch.setitem(SIZES, "listed", (3, 1))
    small, start = bound_to('root ::= "ghijkl"')
    small.prepare_ahead(start, 1000)  # as far as there is room
    assert known_after(small, start, b"gh")[0]
    assert not all(known_after(small, start, b"ghijkl"))
    assert not all(known_after(small, start, b"ghijkl"))


@pytest.mark.parametrize(
    ("array", "room", "text", "other", "error"),
    [
        ("listed", 26, "root ::= [a-z]", "root ::= [a-c]", TablesFull),
        ("rows", 2, "root ::= [ -~]{1,2}", "root ::= [ -}]{1,2}", TablesFull),
        ("needs", 1, "root ::= [ -~]{300,400}", "root ::= [ -}]{300,400}", TablesFull),
        ("special", 2, "root ::= <[66]> | <[67]>", "root ::= <[68]>", TooManyStates),
    ],
)
def test_full_tables(monkeypatch, array, room, text, other, error):
    """They hold exactly what they have room for. Only what would not fit into empty ones either is too much for good."""
    monkeypatch.setitem(SIZES, array, (room - 1, 1))
    host, start = bound_to(text)
    with pytest.raises(error):
        host.prepare(start)
    assert not host.known(start.state)
    monkeypatch.setitem(SIZES, array, (room, 1))
    host, start = bound_to(text)
    host.prepare(start)
    assert host.known(start.state)
    start = start_of(Automaton(Grammar.from_gbnf(other).rules, host.states))
    with pytest.raises(TablesFull):
        host.prepare(start)
    assert not host.known(start.state)


def test_more_effects_than_there_is_room_for(monkeypatch):
    host, start = bound_to("root ::= [a-z]")
    host.prepare(start)
    list(host.changes())
    monkeypatch.setitem(SIZES, "effects", (len(host.states.effects) - 1, 1))
    with pytest.raises(TablesFull):
        list(host.changes())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('root ::= x "b"\nx ::= <[96]> | "a" | "(" x ")"', "leaves its rule"),
        ('root ::= x "b"\nx ::= !<[66]> | "a" | "(" x ")"', "leaves its rule"),
        ('root ::= <[95]> "d" | x\nx ::= "a" x "b" | "c"', "enters another rule"),
        ('root ::= !<[95]> "d" | x\nx ::= "a" x "b" | "c"', "enters another rule"),
    ],
)
def test_named_tokens_whose_texts_cross_a_rule(text, message):
    """What such a token does cannot be written down: that is told."""
    host, start = bound_to(text)
    with pytest.raises(TooManyStates, match=f"^a token that the grammar names can also be read as a text that {message}$"):
        host.prepare(start)
    assert not host.known(start.state)
