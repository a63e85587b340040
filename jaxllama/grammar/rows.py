"""Which tokens a state allows: one walk over the vocabulary's tree, level by level.

What lies beneath a state is not known here. Tokens that stay within the state and what it enters are allowed or not, once and for all. Tokens that leave it are
*open*: for them the byte at which they leave is noted, and whoever knows the frames follows the rest. Only those are noted that some frame can take.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .automaton import Automaton
from .stacks import NIL, Mark
from .trie import LONGEST, Trie
from .walk import Place, applied, popped

WHOLE = -1  # an open token that has to be followed from its first byte
_DEAD = 0
_UNKNOWN = -1
_WITHIN, _BEYOND, _UNSAFE = 0, 1, 2


@dataclass(frozen=True)
class Row:
    """The tokens of one state.

    Attributes:
        allowed: int32, tokens that are allowed whatever lies beneath.
        needs: int32, how many more items the state's counter must have room for, for each of them.
        open: int32, tokens for which it depends.
        offsets: int32, at which of its bytes each of them leaves the state; `WHOLE`: unknown.
        items: int32, how often the counter has gone up until then.
    """

    allowed: np.ndarray
    needs: np.ndarray
    open: np.ndarray
    offsets: np.ndarray
    items: np.ndarray


def _spread(first: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranges written out: (which range, the number within all)."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) + np.repeat(first - (np.cumsum(counts) - counts), counts)


class RowMaker:
    """Finds the rows of one automaton's states; what it learned about bytes is kept from one to the next.

    A node of its walk is a place relative to the base, whose own counter is of no account; or what may be read beyond the base: a set of stacks.
    """

    def __init__(self, automaton: Automaton, trie: Trie):
        self._automaton, self._trie, self._states = automaton, trie, automaton.states
        self._numbers: dict[object, int] = {None: _DEAD}
        self._nodes: list[tuple[int, Place | frozenset[int] | None]] = [(_WITHIN, None)]
        self._next = np.zeros((64, 256), np.int32)  # where each node goes with each byte
        self._up = np.zeros((64, 256), np.int8)  # how often the base's counter goes up by that
        self._kinds = np.zeros(64, np.int8)
        self._begun = np.zeros(64, np.int8)  # whether an item of the base has begun and is not complete

    def _number(self, kind: int, node: Place | frozenset[int]) -> int:
        number = self._numbers.get((kind, node))
        if number is None:
            number = self._numbers[kind, node] = len(self._nodes)
            self._nodes.append((kind, node))
            if number == len(self._next):
                for name in ("_next", "_up", "_kinds", "_begun"):
                    old = getattr(self, name)
                    setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
            self._next[number, 0] = _UNKNOWN
            self._kinds[number] = kind
            self._begun[number] = isinstance(node, Place) and bool(node.frames) and node.frames[0][0] & 1
        return number

    def _known(self, number: int) -> np.ndarray:
        if self._next[number, 0] == _UNKNOWN:
            kind, node = self._nodes[number]
            if isinstance(node, Place):
                following, up = self._within(node)
            else:
                assert node is not None
                following, up = self._beyond(node, kind), np.zeros(256, np.int8)
            self._next[number], self._up[number] = following, up  # only now: `_next` may have grown
        return self._next[number]

    def _beyond(self, stacks: frozenset[int], kind: int) -> np.ndarray:
        """Where bytes lead from expanded stacks of which nobody knows what lies beneath."""
        numbers, made = {frozenset(): _DEAD}, np.zeros(256, np.int32)
        for byte, targets in enumerate(self._automaton.stacks_after(stacks)):
            key = frozenset(targets)
            if key not in numbers:
                numbers[key] = self._number(kind, self._automaton.follow.closed(key))
            made[byte] = numbers[key]
        return made

    def _within(self, place: Place) -> tuple[np.ndarray, np.ndarray]:
        states, follow = self._states, self._automaton.follow
        made, up = np.zeros(256, np.int32), np.zeros(256, np.int8)
        if not place.frames:
            if states.accepts[place.state]:
                ends = (self._automaton.stacks.on(Mark(key), NIL) for key in self._automaton.keys(place.state))
                made = self._beyond(follow.closed(ends), _BEYOND)
        elif (lower := popped(states, place)) is not None:
            number = self._number(_WITHIN, self._shown(lower))
            made, up = self._known(number).copy(), self._up[number].copy()
            if not lower.frames and place.frames[-1][0] & 1:  # an item of the base is complete
                up += made != _DEAD
        full = len(place.frames) > 0 and place.count >= states.limits[place.state]
        step = states.step(place.state)
        for code in np.unique(step):
            if code == 0 or (full and states.effects[abs(code)].begins):
                continue
            which = step == code
            if code < 0 and (made[which] != _DEAD).any():  # two ways to read it
                stacks = follow.closed(self._automaton.stacks_of(place.state))
                made[which], up[which] = self._beyond(stacks, _UNSAFE)[which], 0
                continue
            effect = states.effects[abs(code)]
            made[which] = self._number(_WITHIN, self._shown(applied(effect, place)))
            up[which] = not place.frames and effect.counts
        return made, up

    def _shown(self, place: Place) -> Place:
        """A place with its counter as far as it matters: not that of the base, nor one that no token can bring to its limit."""
        least, limit = self._states.least[place.state], self._states.limits[place.state]
        most = least if limit > LONGEST + least else limit
        return Place(place.state, min(place.count, most) if place.frames else 0, place.frames)

    def row(self, state: int) -> Row:
        """The tokens of a state."""
        places = np.asarray([self._number(_WITHIN, Place(state))])
        items, offsets = np.zeros(1, np.int32), np.zeros(1, np.int32)
        first, counts = np.zeros(1, np.int64), np.asarray([len(self._trie.levels[0].bytes)])
        found: list[tuple[np.ndarray, ...]] = []
        for depth, level in enumerate(self._trie.levels):
            parents, nodes = _spread(first, counts)
            here, byte = places[parents], level.bytes[nodes]
            present = np.unique(here)
            for number in present[self._next[present, 0] == _UNKNOWN]:
                self._known(int(number))
            now = self._next[here, byte]
            alive = np.flatnonzero(now)
            nodes, parents, now = nodes[alive], parents[alive], now[alive]
            items = items[parents] + self._up[here[alive], byte[alive]]
            kinds = self._kinds[now]
            offsets = np.where(self._kinds[places[parents]] == _WITHIN, depth, offsets[parents])
            places = now
            which, ending = _spread(level.ending_first[nodes], level.ending_counts[nodes])
            at = np.where(kinds == _UNSAFE, WHOLE, offsets)[which]
            found.append((level.tokens[ending], kinds[which] == _WITHIN, items[which] + self._begun[now[which]], at, items[which]))
            if not len(nodes):
                break
            first, counts = level.first[nodes], level.counts[nodes]
        tokens, within, needs, at, items = (np.concatenate([f[n] for f in found]) for n in range(5))
        return Row(tokens[within], needs[within], tokens[~within], at[~within], items[~within])
