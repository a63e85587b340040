"""Grammars in use: the host's side of constrained decoding. It fills the tables when the device asks, and keeps them from one generation to the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import jax.numpy as jnp
import numpy as np

from jaxllama.grammar import Grammar, GrammarError
from jaxllama.grammar.automaton import Automaton, StatesFull, TooManyStates
from jaxllama.grammar.tables import Tables, TablesFull
from jaxllama.grammar.trie import Trie
from jaxllama.grammar.walk import Place, Unsafe, advanced, applied, start_of

from .constraint import DEPTH, Constraint, DeviceTables, Ready, empty_tables, jit_refresh, jit_write, unconstrained
from .programs import Programs

AHEAD_SECONDS = 0.005  # for tables that the next tokens may need, each time that the device had to ask


@dataclass
class _Slot:
    """One sequence: its grammar, the text that was written before the first token, the tokens since, and whether its automaton cuts stacks."""

    grammar: Grammar | None
    begun: bytes = b""
    framing: bool = True
    tokens: list[int] = field(default_factory=list)


class Grammars:
    """All grammars that one model's generations use. Their tables are shared and change in place: whoever touches them has the turn (`Programs.turn`).

    Attributes:
        device: the tables on the device.
        seconds: time spent on making tables.
        misses: how often the device asked for more.
    """

    def __init__(self, trie: Callable[[], Trie], size: int, programs: Programs):
        """
        Args:
            trie: the vocabulary; called once, when the first grammar comes.
            size: tokens that the model has logits for.
        """
        self._size, self.programs = size, programs
        self._trie_of, self._trie = trie, None
        self.seconds, self.misses = 0.0, 0
        self._tables: Tables | None = None
        self._automata: dict[tuple[int, bool], tuple[Grammar, Automaton]] = {}

    @property
    def trie(self) -> Trie:
        """The vocabulary."""
        with self.programs.turn():
            if self._trie is None:
                self._trie = self._trie_of()
            return self._trie

    @property
    def tables(self) -> Tables:
        """The host's side of the tables."""
        if self._tables is None:
            self._tables = Tables(self.trie, self._size)
            self.device: DeviceTables = empty_tables(self._tables)
            self._automata.clear()
        return self._tables

    def automaton(self, grammar: Grammar, framing: bool = True) -> Automaton:
        """The automaton of a grammar in the tables."""
        tables, key = self.tables, (id(grammar), framing)
        if key not in self._automata:
            self._automata[key] = grammar, Automaton(grammar.rules, tables.states, framing=framing)
        return self._automata[key][1]

    def forget(self) -> None:
        """Empty the tables; what running generations need is made again when they notice."""
        with self.programs.turn():
            self._tables = None

    def _send(self) -> None:
        for part in self.tables.changes():
            self.device = self.programs(jit_write, self.device, part)

    def start(self, grammars: Sequence[Grammar | None], begun: Sequence[bytes] = ()) -> Running:
        """Slots ready for their first token.

        Args:
            begun: for each slot what of its grammar's text is written already; nothing by default.

        Raises:
            GrammarError: a grammar does not allow what is written.
        """
        with self.programs.turn():
            started = Running(self, grammars, begun or [b""] * len(grammars))
            started.settle()
        return started


class Running:
    """The slots of one generation.

    Attributes:
        constraint: where they stand, on the device.
        tiers: for each slot how its grammar is followed: "free", "tables", or "sets" with the reason.
    """

    def __init__(self, grammars: Grammars, slots: Sequence[Grammar | None], begun: Sequence[bytes]):
        self._grammars = grammars
        self._slots = [_Slot(grammar, text) for grammar, text in zip(slots, begun, strict=True)]
        self.tiers = ["free" if g is None else "tables" for g in slots]
        self._emptied: set[int] = set()  # slots for which the tables were emptied since they were last all ready
        self._made_for = grammars.tables
        self.constraint: Constraint = unconstrained(len(slots), grammars.device)
        self._begin_again()

    @property
    def device(self) -> DeviceTables:
        """The tables on the device, as they are now."""
        return self._grammars.device

    @property
    def outdated(self) -> bool:
        """Whether another generation has emptied the tables: the places mean nothing then until `settle` has found them again."""
        return self._grammars.tables is not self._made_for

    def take(self, slot: int, tokens: Sequence[int]) -> None:
        """Note the tokens that a slot has written."""
        self._slots[slot].tokens += tokens

    def settle(self, active: Sequence[bool] | None = None) -> None:
        """Make what the masks of active slots lack, until they are ready.

        Raises:
            GrammarError: a grammar is too large to be followed.
        """
        try:
            self._settle(active)
        except BaseException:  # Ctrl-C, for one: nobody knows then which of the changes have reached the device
            self._grammars.forget()
            raise

    def _settle(self, active: Sequence[bool] | None) -> None:
        begun, grammars = time.perf_counter(), self._grammars
        asked = False
        for attempt in range(64):
            if self.outdated:
                self._begin_again()
            try:
                grammars._send()
            except TablesFull:
                grammars.forget()
                continue
            if attempt or self._stale:
                self.constraint = grammars.programs(jit_refresh, grammars.device, self.constraint)
                self._stale = False
            ready = np.asarray(self.constraint.ready)
            waiting = [n for n, r in enumerate(ready) if r not in (Ready.YES, Ready.DEAD_END) and (active is None or active[n])]
            if not waiting:
                self._emptied.clear()
                grammars.seconds += (time.perf_counter() - begun) if asked else 0.0
                return
            asked = True
            grammars.misses += 1
            self._help(waiting, ready)
        raise GrammarError("a grammar cannot be followed: its tables do not settle")

    def _help(self, waiting: Sequence[int], ready: np.ndarray) -> None:
        places = self._places()
        for n in waiting:
            try:
                if ready[n] == Ready.UNSAFE:
                    raise Unsafe
                if ready[n] == Ready.TOO_DEEP:
                    raise TooManyStates(f"rules are nested more than {DEPTH} deep")
                self._grammars.tables.prepare(places[n])
                self._grammars.tables.prepare_ahead(places[n], AHEAD_SECONDS)
            except (TablesFull, StatesFull) as error:
                if n in self._emptied:  # it fills empty tables
                    self._without_frames(n, str(error) or "its tables are too large")
                    return
                self._emptied.add(n)
                self._grammars.forget()
                self._begin_again()
                return
            except (Unsafe, TooManyStates) as error:
                self._without_frames(n, str(error) or "a text can be read both within a rule and after it")
                return
        self._stale = True

    def _without_frames(self, number: int, reason: str) -> None:
        """Follow a slot's grammar as sets of whole stacks from now on: exact for every grammar, slower."""
        slot = self._slots[number]
        if not slot.framing:
            raise GrammarError(f"this grammar cannot be followed: {reason}")
        slot.framing = False
        self.tiers[number] = f"sets: {reason}"
        self._put({number: self._replayed(number)})

    def _begin_again(self) -> None:
        """Fill the tables with what these slots need."""
        while True:
            tables = self._grammars.tables
            places = {n: self._replayed(n) for n, slot in enumerate(self._slots) if slot.grammar is not None}
            if self._grammars.tables is tables:  # otherwise they were emptied on the way
                self._made_for = tables
                self._put(places)
                return

    def _replayed(self, number: int) -> Place:
        """Where a slot's text stands, found by reading it again."""
        slot, tables = self._slots[number], self._grammars.tables
        assert slot.grammar is not None
        try:
            automaton = self._grammars.automaton(slot.grammar, slot.framing)
            place = advanced(tables.states, start_of(automaton), slot.begun)
            if place is None:
                raise GrammarError(f"the grammar does not allow a text that begins with {slot.begun[:60]!r}")
            for token in slot.tokens:
                if automaton.follow.has_tokens:
                    tables.prepare(place)
                effect = tables.taken(place.state, token)
                found = applied(tables.states.effects[effect], place) if effect else advanced(tables.states, place, tables.trie.piece(token))
                if found is None:
                    raise GrammarError(f"token {token} is not what the grammar allows after {len(slot.tokens)} tokens")
                place = found
            if len(place.frames) > DEPTH:
                raise TooManyStates(f"rules are nested more than {DEPTH} deep")
            return place
        except (StatesFull, TablesFull) as error:
            if number not in self._emptied:
                self._emptied.add(number)
                self._grammars.forget()
                return self._replayed(number)
            raise GrammarError(f"this grammar cannot be followed: {str(error) or 'its tables are too large'}") from None
        except (Unsafe, TooManyStates) as error:
            if not slot.framing:
                raise GrammarError(f"this grammar cannot be followed: {error}") from None
            slot.framing = False
            self.tiers[number] = f"sets: {error}"
            return self._replayed(number)

    def _places(self) -> list[Place]:
        """The places of all slots, from the device."""
        c = self.constraint
        state, count, depth, frames, counts = (np.asarray(x).tolist() for x in (c.state, c.count, c.depth, c.frames, c.counts))
        return [Place(s, n, tuple(zip(f[:d], k[:d], strict=True))) for s, n, d, f, k in zip(state, count, depth, frames, counts, strict=True)]

    def _put(self, places: dict[int, Place]) -> None:
        arrays = {name: np.array(getattr(self.constraint, name)) for name in ("state", "count", "depth", "frames", "counts")}
        for n, place in places.items():
            arrays["state"][n], arrays["count"][n], arrays["depth"][n] = place.state, place.count, len(place.frames)
            for level, (frame, count) in enumerate(place.frames[:DEPTH]):
                arrays["frames"][n, level], arrays["counts"][n, level] = frame, count
        self.constraint = replace(self.constraint, **{name: jnp.asarray(x) for name, x in arrays.items()})
        self._stale = True
