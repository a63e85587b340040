"""A grammar with a vocabulary, for looking at: which tokens may come next, and where one leads, as functions of values. Decoding does it on the device."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from jaxllama.numeric import whole_of

from .automaton import Automaton
from .grammar import Grammar
from .rows import WHOLE
from .tables import ALWAYS, Tables
from .trie import Trie
from .walk import Place, Unsafe, advanced, applied, may_end, start_of


class TokenGrammar:
    """A grammar over the tokens of a vocabulary.

    Attributes:
        grammar: the grammar.
        tables: what has been made of it so far.
        automaton: its automaton; one that cuts no stacks from the moment on where that is needed.
    """

    def __init__(self, grammar: Grammar, trie: Trie):
        """
        Args:
            trie: the vocabulary; `Model.follow` gives its model's.
        """
        self.grammar = grammar
        self.tables = Tables(trie)
        try:
            self.automaton = Automaton(grammar.rules, self.tables.states)
            self._probe()
        except Unsafe:
            self.automaton = Automaton(grammar.rules, self.tables.states, framing=False)

    def _probe(self) -> None:
        """Places of automata that cut stacks and of those that do not are different: find out at the beginning which one is needed."""
        if self.grammar.tier.startswith("sets"):
            raise Unsafe

    @cached_property
    def start(self) -> Place:
        """The place before the first token."""
        return start_of(self.automaton)

    def mask(self, place: Place) -> np.ndarray:
        """bool[V], the tokens that may come next; those that end a generation where the text may end."""
        _check_place(place)
        tables = self.tables
        tables.prepare(place)
        states = tables.states
        found = np.unpackbits(tables.bits(place.state).view(np.uint8), bitorder="little")[: tables.size].astype(bool)
        limit = states.limits[place.state]
        if (needs := tables.need(place.state)) is not None:
            found &= needs[: tables.size].astype(np.int64) + place.count <= limit
        for token, offset, items in tables.entries(place.state):
            if place.count + items > limit:
                continue
            if offset == ALWAYS:
                found[token] = True
            elif offset == WHOLE:
                found[token] = advanced(states, place, tables.trie.piece(token)) is not None
            elif place.frames and place.count + items >= states.least[place.state]:
                frame, count = place.frames[-1]
                beneath = Place(frame >> 1, count + (frame & 1), place.frames[:-1])
                found[token] = advanced(states, beneath, tables.trie.piece(token)[offset:]) is not None
        if may_end(states, place):
            found[list(tables.trie.ends)] = True
        return found

    def advance(self, place: Place, token: int) -> Place:
        """Where a token leads.

        Raises:
            ValueError: the grammar does not allow it there, or there is no such token.
        """
        _check_place(place)
        tables = self.tables
        token = whole_of("a token", token, 0, tables.size - 1)
        tables.prepare(place)
        effect = tables.taken(place.state, token)
        piece = tables.trie.piece(token)
        found = applied(tables.states.effects[effect], place) if effect else advanced(tables.states, place, piece) if piece else None
        if found is None:
            raise ValueError(f"token {token} ({piece!r}) is not allowed here")
        return found

    def advance_all(self, tokens: Iterable[int]) -> Place:
        """Where tokens lead, from the start."""
        place = self.start
        for token in tokens:
            place = self.advance(place, token)
        return place


def _check_place(given: object) -> None:
    if not isinstance(given, Place):
        raise TypeError(f"expected a place in the grammar, as `start` and `advance` give it, found {given!r}")
