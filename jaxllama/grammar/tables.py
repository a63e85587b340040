"""The automata of all grammars in use as arrays, filled as decoding comes by.

The device meets a state whose row is not there yet, stops before it samples, and asks for it: `Tables.prepare` makes what a place needs, `Tables.changes` says
what is new. All arrays have one size for good, so that no grammar compiles anything.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from .automaton import MOST_PUSHES, NO_LIMIT, Automaton, Effect, States, TooManyStates
from .nodes import TokenId
from .rows import WHOLE, RowMaker
from .trie import Trie
from .walk import Place, Unsafe, advanced

MOST_STATES = 8192
MOST_AHEAD = 24  # tokens of a place behind which it is worth looking ahead
FEW = 96  # allowed tokens that are listed rather than marked in a row of bits
ALWAYS = -2  # the offset of a listed token that is allowed without being followed
UNKNOWN = -(2**31)  # a step that nobody has made

# The columns of `info`, a state's numbers.
ACCEPTS, LEAST, LIMIT, ROW, NEEDS, MOST_NEED, FIRST, COUNT, SPECIAL, SPECIALS, OTHERS = range(11)

# For each array: its rows, and how many of them are written at a time.
SIZES = {
    "info": (MOST_STATES, 256),
    "steps": (MOST_STATES, 64),
    "effects": (16384, 256),
    "rows": (512, 4),
    "needs": (16, 1),
    "listed": (2**17, 1024),
    "special": (4096, 64),
}


class TablesFull(Exception):
    """There is no room for more: what is not in use has to go."""


class Tables:
    """What the host knows of the arrays.

    The arrays:
        info: int32[S, 11], see the columns above.
        steps: int32[S, 256], the effect of every byte; 0 none, negative: unsafe with a frame beneath; `UNKNOWN`: not made.
        effects: int32[E, 4 + MOST_PUSHES]: the state, whether the counter goes up, whether an item begins, how many pushes, the pushes.
        rows: uint32[R, W], a bit for every token.
        needs: uint8[N, V], how many items a token begins.
        listed: int32[L, 3]: a token, its offset (where it leaves the state; `WHOLE`, `ALWAYS`), its items.
        special: int32[P, 2]: a token that a state takes as such, and the effect.

    Attributes:
        trie: the vocabulary.
        size: tokens that the model has logits for.
        states: those of all automata.
    """

    def __init__(self, trie: Trie, size: int | None = None):
        self.trie, self.size = trie, size or trie.size
        self.words = -(-self.size // 32)
        self.states = States(MOST_STATES)
        self._makers: dict[int, RowMaker] = {}
        self._row_numbers: dict[bytes, int] = {}
        self._need_numbers: dict[bytes, int] = {}
        self._info: dict[int, list[int]] = {}  # of states with a row: the columns from ROW on
        self._listed: list[tuple[int, int, int]] = []
        self._special: list[tuple[int, int]] = []
        self._overrides: dict[int, tuple[dict[int, int], int]] = {}  # of states that take tokens: their effects, and that of all other tokens
        self._sent = dict.fromkeys(("states", "effects", "listed", "special"), 0)
        self._changed: set[int] = set()
        self._rows: list[np.ndarray] = []
        self._needs: list[np.ndarray] = []
        self._sent_rows = self._sent_needs = 0
        everything = self._bits(np.arange(self.size))
        self._info[0] = [self._row(everything), 0, 0, 0, 0, 0, 0, 0]

    def shapes(self) -> dict[str, tuple[tuple[int, ...], type, int]]:
        """For each array its shape, its type, and what is in it before anything is written."""
        widths = {"info": 11, "steps": 256, "effects": 4 + MOST_PUSHES, "rows": self.words, "needs": self.words * 32, "listed": 3, "special": 2}
        types = {"rows": np.uint32, "needs": np.uint8}
        return {name: ((SIZES[name][0], width), types.get(name, np.int32), UNKNOWN if name in ("info", "steps") else 0) for name, width in widths.items()}

    def _bits(self, tokens: np.ndarray | Sequence[int]) -> np.ndarray:
        bits = np.zeros(self.words * 32, np.uint8)
        bits[np.asarray(tokens, np.int64)] = 1
        return np.packbits(bits, bitorder="little").view(np.uint32)

    @property
    def ends(self) -> np.ndarray:
        """uint32[W], the tokens that end a generation."""
        return self._bits([t for t in self.trie.ends if t < self.size])

    def _row(self, bits: np.ndarray) -> int:
        return self._kept(self._row_numbers, self._rows, bits, SIZES["rows"][0])

    @staticmethod
    def _kept(numbers: dict[bytes, int], arrays: list[np.ndarray], array: np.ndarray, most: int) -> int:
        key = array.tobytes()
        if key not in numbers:
            if len(arrays) == most:
                raise TablesFull
            numbers[key] = len(arrays)
            arrays.append(array)
        return numbers[key]

    def known(self, state: int) -> bool:
        """Whether a state's row is there."""
        return state in self._info

    def entries(self, state: int) -> list[tuple[int, int, int]]:
        """The listed tokens of a state that has a row."""
        first, count = self._info[state][3:5]
        return self._listed[first : first + count]

    def bits(self, state: int) -> np.ndarray:
        """uint32[W], the tokens that a state with a row allows, those that are listed left out."""
        return self._rows[self._info[state][0]]

    def need(self, state: int) -> np.ndarray | None:
        """uint8[V], the items that a state's tokens begin; None where nothing is counted."""
        return self._needs[self._info[state][1]] if self._info[state][2] else None

    def taken(self, state: int, token: int) -> int:
        """The effect of a token that a state takes as such; 0: it does not."""
        effects, others = self._overrides.get(state, ({}, 0))
        return effects.get(token, others)

    def prepare(self, place: Place) -> None:
        """Make everything that finding the tokens allowed in a place needs.

        Raises:
            TablesFull: there is no room.
            Unsafe: the automaton cannot tell what is allowed here.
            TooManyStates: the grammar needs more states than there may be.
        """
        if place.state not in self._info:
            self._make(place.state)
        for token, offset, _ in self.entries(place.state):
            if offset == WHOLE:
                advanced(self.states, place, self.trie.piece(token))
            elif offset >= 0 and place.frames:
                frame, count = place.frames[-1]
                advanced(self.states, Place(frame >> 1, count + (frame & 1), place.frames[:-1]), self.trie.piece(token)[offset:])

    def prepare_ahead(self, place: Place, seconds: float) -> None:
        """Make also what comes after a place where only a few tokens are possible, as in the middle of a key, as far as it goes in a time."""
        until, waiting, seen = time.perf_counter() + seconds, deque([place]), {place.state}
        try:
            while waiting and time.perf_counter() < until:
                place = waiting.popleft()
                self.prepare(place)
                entries = self.entries(place.state)
                if len(entries) > MOST_AHEAD:
                    continue
                for token, offset, _ in entries:
                    following = advanced(self.states, place, self.trie.piece(token)) if offset == ALWAYS else None
                    if following is not None and following.state not in seen:
                        seen.add(following.state)
                        waiting.append(following)
        except (Unsafe, TooManyStates, TablesFull):
            return  # whoever comes to that place will be told

    def _make(self, state: int) -> None:
        owner = self.states.owners[state]
        assert owner is not None
        if id(owner) not in self._makers:
            self._makers[id(owner)] = RowMaker(owner, self.trie)
        row = self._makers[id(owner)].row(state)
        allowed, needs = row.allowed, row.needs
        first_special = len(self._special)
        if tokens := owner.tokens(state):
            allowed, needs = self._with_tokens(owner, state, tokens, allowed, set(row.open.tolist()))
        counted = self.states.limits[state] < NO_LIMIT and len(needs) > 0 and int(needs.max()) > 0
        entries = [(int(t), int(o), int(i)) for t, o, i in zip(row.open, row.offsets, row.items, strict=True)]
        if len(allowed) <= FEW:
            entries += [(int(t), ALWAYS, int(n)) for t, n in zip(allowed, needs, strict=True)]
            allowed, counted = allowed[:0], False
        if len(self._listed) + len(entries) > SIZES["listed"][0]:
            raise TablesFull
        number = self._row(self._bits(allowed))
        need = 0
        if counted:
            items = np.zeros(self.words * 32, np.uint8)
            items[allowed] = needs
            need = self._kept(self._need_numbers, self._needs, items, SIZES["needs"][0])
        specials = len(self._special) - first_special
        others = self._overrides.get(state, ({}, 0))[1]
        self._info[state] = [number, need, int(needs.max()) if counted else 0, len(self._listed), len(entries), first_special, specials, others]
        self._listed += entries
        self._changed.add(state)

    def _with_tokens(
        self, owner: Automaton, state: int, tokens: list[tuple[TokenId, int]], allowed: np.ndarray, beyond: set[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take the tokens as such that a state takes as such: what they do, together with what their text does, is noted for each of them."""
        texts = set(allowed.tolist())
        if {node.id for node, _ in tokens} & beyond or (beyond and any(node.negated for node, _ in tokens)):
            raise TooManyStates("a token that the grammar names can also be read as a text that leaves its rule")
        named = {node.id for node, _ in tokens}
        rest = [stack for node, stack in tokens if node.negated]
        if rest:
            named |= texts  # what their text does comes to it
        if len(named) > SIZES["special"][0]:
            raise TooManyStates("a grammar that excludes a token where many texts are allowed needs too much room")
        if len(self._special) + len(named) > SIZES["special"][0]:
            raise TablesFull
        effects: dict[int, int] = {}
        for token in sorted(named):
            stacks = [stack for node, stack in tokens if (node.id == token) != node.negated]
            piece = self.trie.piece(token) if token < self.trie.size else b""
            if not piece:
                continue
            if token in texts:
                after = advanced(self.states, Place(state), piece)
                if after is None or after.frames or after.count:
                    raise TooManyStates("a token that the grammar names can also be read as a text that enters another rule")
                stacks += owner.stacks_of(after.state)
            if stacks:
                following, pushes = owner.place(stacks)
                effects[token] = self.states.effect(Effect(following, False, pushes))
        others = 0
        if rest:
            following, pushes = owner.place(rest)
            others = self.states.effect(Effect(following, False, pushes))
            visible = np.flatnonzero(np.diff(self.trie.starts))
            texts |= set(visible.tolist()) - {node.id for node, _ in tokens}
        self._overrides[state] = effects, others
        self._special += effects.items()
        found = np.asarray(sorted(texts | set(effects)), np.int32)
        return found, np.zeros(len(found), np.int32)

    def changes(self) -> Iterator[dict[str, tuple[np.ndarray, np.ndarray]]]:
        """What has not been told yet: for each array places int32[K] (beyond the array: nothing) and what is there now, as often as it takes.

        Raises:
            TablesFull: there is no room.
        """
        states = self.states
        told, self._changed = self._changed | set(range(self._sent["states"], len(states.accepts))), set()
        self._sent["states"] = len(states.accepts)
        info = [(s, [states.accepts[s], states.least[s], states.limits[s], *self._info.get(s, [-1, 0, 0, 0, 0, 0, 0, 0])]) for s in sorted(told)]
        steps, states.fresh = [(s, states.steps[s]) for s in states.fresh], []
        effects = [(n, self._effect(states.effects[n])) for n in range(self._sent["effects"], len(states.effects))]
        if len(states.effects) > SIZES["effects"][0]:
            raise TablesFull
        listed = [(n, self._listed[n]) for n in range(self._sent["listed"], len(self._listed))]
        special = [(n, self._special[n]) for n in range(self._sent["special"], len(self._special))]
        self._sent |= {"effects": len(states.effects), "listed": len(self._listed), "special": len(self._special)}
        rows = [(n, self._rows[n]) for n in range(self._sent_rows, len(self._rows))]
        needs = [(n, self._needs[n]) for n in range(self._sent_needs, len(self._needs))]
        self._sent_rows, self._sent_needs = len(self._rows), len(self._needs)
        new = {"info": info, "steps": steps, "effects": effects, "rows": rows, "needs": needs, "listed": listed, "special": special}
        shapes = self.shapes()
        while any(new.values()):
            part = {}
            for name, entries in new.items():
                (size, width), dtype, _ = shapes[name]
                count = SIZES[name][1]
                places, values = np.full(count, size, np.int32), np.zeros((count, width), dtype)
                for n, (place, value) in enumerate(entries[:count]):
                    places[n], values[n] = place, value
                new[name] = entries[count:]
                part[name] = places, values
            yield part

    @staticmethod
    def _effect(effect: Effect) -> list[int]:
        padding = [0] * (MOST_PUSHES - len(effect.pushes))
        return [effect.state, effect.counts, effect.begins, len(effect.pushes), *effect.pushes, *padding]
