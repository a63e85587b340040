"""A grammar as an automaton over bytes with a stack, made deterministic while it is walked.

A state is a set of stacks: all the ways in which the text so far may be read. What all of them have beneath them in common is cut off and put on the
automaton's own stack (a *frame*), so that a recursive grammar has few states: where a frame is cut off does not change what is accepted, only how many states
there are. A long counted repetition is a level of its own, with a counter: one state between its items, and those within an item. Where a text could be read
both within a frame and beneath it, a byte is marked as unsafe; whoever meets such a byte with a frame beneath goes on with an automaton that cuts nothing
(`framing=False`), which is exact for every grammar.

Frames are written `state * 2 + 1` where coming back to them counts, `state * 2` otherwise.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np

from .follow import ANY_TOKEN, LARGE, Follow, recursive_rules
from .nodes import Repeat, Rules, TokenId
from .reader import GrammarError
from .stacks import NIL, Mark, Stacks
from .utf8 import Bytes

FREE = 0  # the state that allows everything, for sequences without a grammar
MOST_PUSHES = 8  # frames that one byte may add
NO_LIMIT = 2**30
_UNCLEAR, _CLEAR, _SHARP = 0, 1, 2  # where the items of a repetition end: nobody knows; the next byte shows it; their last byte does
MOST_LOOKED_AT = 500  # sets of stacks within an item of a repetition, to see whether its end is clear


class TooManyStates(GrammarError):
    """A grammar needs more than the tables can hold for any grammar."""


class StatesFull(TooManyStates):
    """There are no numbers left for states; those that are not in use have to go."""


@dataclass(frozen=True)
class Effect:
    """What a byte does.

    Attributes:
        state: the next one.
        counts: the counter goes up.
        pushes: frames to put on the stack, the lowest first. The lowest keeps the counter, everything above begins to count anew.
    """

    state: int
    counts: bool = False
    pushes: tuple[int, ...] = ()

    @property
    def begins(self) -> bool:
        """Whether an item of a counted repetition begins, for which the counter must have room."""
        return self.counts or (len(self.pushes) > 0 and self.pushes[0] & 1 == 1)


@dataclass
class States:
    """The states of any number of automata, numbered together; what they do is made when it is first asked for.

    Attributes:
        most: states that there may be.
        accepts: whether the text may end in a state, or go on with the frame beneath.
        least, limits: what the counter must have reached before that, and what it must not have reached where another item begins.
        steps: for each state, once made, an effect's number for every byte: 0 none, negative: unsafe.
        effects: by number.
        owners: the automaton of each state.
        fresh: states whose steps were made since somebody emptied this list.
    """

    most: int = 8192
    accepts: list[bool] = field(default_factory=lambda: [True])
    least: list[int] = field(default_factory=lambda: [0])
    limits: list[int] = field(default_factory=lambda: [NO_LIMIT])
    steps: list[np.ndarray | None] = field(default_factory=lambda: [np.ones(256, np.int32)])
    effects: list[Effect] = field(default_factory=lambda: [Effect(FREE), Effect(FREE)])
    owners: list[Automaton | None] = field(default_factory=lambda: [None])
    fresh: list[int] = field(default_factory=lambda: [FREE])
    _numbers: dict[Effect, int] = field(default_factory=dict)

    def add(self, owner: Automaton, accepts: bool, least: int = 0, limit: int = NO_LIMIT) -> int:
        if len(self.accepts) >= self.most:
            raise StatesFull(f"the grammar needs more than {self.most} states")
        self.accepts.append(accepts)
        self.least.append(least)
        self.limits.append(limit)
        self.steps.append(None)
        self.owners.append(owner)
        return len(self.accepts) - 1

    def effect(self, effect: Effect) -> int:
        """The number of an effect."""
        if effect not in self._numbers:
            self._numbers[effect] = len(self.effects)
            self.effects.append(effect)
        return self._numbers[effect]

    def step(self, state: int) -> np.ndarray:
        """Effects int32[256] of a state."""
        found = self.steps[state]
        if found is None:
            owner = self.owners[state]
            assert owner is not None
            found = self.steps[state] = owner.made(state)
            self.fresh.append(state)
        return found


class Automaton:
    """The states of one grammar.

    Attributes:
        states: where they are kept.
        framing: whether stacks are cut.
        start: the first state.
    """

    def __init__(self, rules: Rules, states: States | None = None, *, framing: bool = True):
        self.states = states if states is not None else States()
        self.framing = framing
        framed: set[str] = set()
        if framing:
            plain = Follow(Stacks(rules))
            framed = {n for n in recursive_rules(rules) | plain.worth_framing() if ANY_TOKEN not in plain.after(n)}
        self.stacks = Stacks(rules, framed)
        self.follow = Follow(self.stacks)
        self._sets: dict[frozenset[int], int] = {}
        self._places: dict[frozenset[int], tuple[int, tuple[int, ...]]] = {}
        self._of: dict[int, frozenset[int]] = {}
        self._loops: dict[int, tuple[int, int]] = {}  # states between items: an item with its end beneath, and the end
        self._countable: dict[object, int] = {}
        self.start, pushes = self.place([self.stacks.call("root", self.stacks.on(Mark("root"), NIL))])
        self.start_frames = pushes

    def stacks_of(self, state: int) -> frozenset[int]:
        """The stacks of a state, without what lies beneath it."""
        return self._of[state]

    def place(self, stacks: Iterable[int]) -> tuple[int, tuple[int, ...]]:
        """The state for a set of stacks, and the frames to be put beneath it, the lowest first."""
        given = frozenset(map(self.stacks.unfolded, stacks))
        found = self._places.get(given)
        if found is None:
            found = self._places[given] = self._cut(given)
        return found

    def _cut(self, given: frozenset[int]) -> tuple[int, tuple[int, ...]]:
        if not self.framing:
            return self._state(given), ()
        for mark in range(min(self.stacks.marks[s] for s in given), 0, -1):
            pairs = {self.stacks.beneath(s, mark) for s in given}
            above, beneath = {a for a, _ in pairs}, {b for _, b in pairs}
            if len(above) * len(beneath) == len(pairs):  # any way above goes with any way beneath
                frame, lower = self.place(beneath)
                state, upper = self.place(above)
                return state, (*lower, frame * 2, *upper)
        if len(given) == 1:
            (stack,) = given
            head, rest = self.stacks.heads[stack], self.stacks.rests[stack]
            if isinstance(head, Repeat) and self._counted(head):
                frame, lower = self.place([rest])
                return self._loop(head), (*lower, frame * 2)
        return self._state(given), ()

    def _state(self, given: frozenset[int]) -> int:
        if given not in self._sets:
            ends = any(isinstance(self.stacks.heads[e], Mark) for s in given for e in self.stacks.expanded(s))
            within = self._loop_of(next(iter(given))) if given else None
            if within is None:
                number = self.states.add(self, ends)
            else:  # within an item: the counter goes on, and the item has an end of its own
                number = self.states.add(self, False, self.states.least[within], self.states.limits[within])
            self._sets[given], self._of[number] = number, given
        return self._sets[given]

    def _loop_of(self, stack: int) -> int | None:
        """The counted repetition that a stack is an item of."""
        while self.stacks.rests[stack] != NIL:
            stack = self.stacks.rests[stack]
        key = self.stacks.heads[stack].key
        return key[1] if isinstance(key, tuple) and key[0] == "in" else None

    def _counted(self, node: Repeat) -> int:
        """Whether a repetition becomes a level with a counter: it is long, and a byte tells whether another item begins or what comes after."""
        if max(node.least, node.most or 0) <= LARGE:
            return _UNCLEAR
        if node.item not in self._countable:
            self._countable[node.item] = self._told_apart(node.item)
        return self._countable[node.item]

    def _told_apart(self, item: object) -> int:
        end = self.stacks.on(Mark(("one", item)), NIL)
        begins, after = self.follow.first([self.stacks.on(item, end)]), self.follow.after(("all", item))
        if ANY_TOKEN in begins | after or begins & after:
            return _UNCLEAR
        waiting, seen, found = [frozenset(self.stacks.expanded(self.stacks.on(item, end)))], set(), _SHARP
        while waiting:
            given = waiting.pop()
            if given in seen:
                continue
            seen.add(given)
            following = self.stacks_after(given)
            if len(seen) > MOST_LOOKED_AT:
                return _UNCLEAR
            if end in given and len(seen) == 1:  # an item may be empty
                return _UNCLEAR
            if end in given and len(given) > 1:  # an item may end here, or go on
                if any(following[b] for b in begins | after):
                    return _UNCLEAR
                found = _CLEAR
            waiting += {frozenset(e for t in targets for e in self.stacks.expanded(t)) for targets in map(frozenset, following) if targets}
        return found

    def _loop(self, node: Repeat) -> int:
        given = frozenset([self.stacks.on(node, self.stacks.on(Mark(("all", node.item)), NIL))])
        if given not in self._sets:
            limit = NO_LIMIT if node.most is None else node.most
            self._sets[given] = number = self.states.add(self, True, node.least, limit)
            self._of[number] = given
            sharp = self._counted(node) == _SHARP
            end = self.stacks.on(Mark(("in", number) if sharp else ("one", node.item)), NIL)
            self._loops[number] = self.stacks.on(node.item, end), end
            if sharp:
                self.follow.sites["in", number] = self.follow.sites["one", node.item]
                self._sets[frozenset([end])] = number
        return self._sets[given]

    def keys(self, state: int) -> set[Hashable]:
        """The marks at which a state may end."""
        if state in self._loops:
            (stack,) = self._of[state]
            return {("all", self.stacks.heads[stack].item)}
        heads = (self.stacks.heads[e] for s in self._of[state] for e in self.stacks.expanded(s))
        return {h.key for h in heads if isinstance(h, Mark)}

    def tokens(self, state: int) -> list[tuple[TokenId, int]]:
        """The tokens that a state takes as such, and the stacks they lead to."""
        if not self.follow.has_tokens or state in self._loops:
            return []
        tops = [e for s in self._of[state] for e in self.stacks.expanded(s)]
        return [(head, self.stacks.rests[e]) for e in tops if isinstance(head := self.stacks.heads[e], TokenId)]

    def made(self, state: int) -> np.ndarray:
        """What the bytes do in a state: int32[256], see `States.steps`."""
        loop = self._loops.get(state)
        given = [e for s in self._of[state] for e in self.stacks.expanded(s)] if loop is None else self.stacks.expanded(loop[0])
        ends = {h.key for e in given if isinstance(h := self.stacks.heads[e], Mark)}
        unsafe = frozenset().union(*map(self.follow.after, ends)) if loop is None else frozenset()
        made, numbers = np.zeros(256, np.int32), {}
        for byte, targets in enumerate(self.stacks_after(given)):
            if targets:
                key = frozenset(targets)
                if key not in numbers:
                    numbers[key] = self._effect(state, loop, key)
                made[byte] = -numbers[key] if byte in unsafe else numbers[key]
        return made

    def stacks_after(self, expanded: Iterable[int]) -> list[list[int]]:
        """For each byte the stacks to which expanded ones lead."""
        found: list[list[int]] = [[] for _ in range(256)]
        heads, rests = self.stacks.heads, self.stacks.rests
        for stack in expanded:
            head = heads[stack]
            if isinstance(head, Bytes):
                for low, high, node in head.edges:
                    target = rests[stack] if node is None else self.stacks.on(node, rests[stack])
                    for byte in range(low, high + 1):
                        found[byte].append(target)
        return found

    def _effect(self, state: int, loop: tuple[int, int] | None, targets: frozenset[int]) -> int:
        if loop is not None and ("in", state) not in self.follow.sites:  # where an item ends shows only later: it is counted when the text comes back from it
            if all(self.stacks.unfolded(t) == loop[1] for t in targets):
                return self._limited(Effect(state, True))
            following, pushes = self.place(targets)
            return self._limited(Effect(following, False, (state * 2 + 1, *pushes)))
        following, pushes = self.place(targets)
        return self._limited(Effect(following, loop is not None, pushes))

    def _limited(self, effect: Effect) -> int:
        if len(effect.pushes) > MOST_PUSHES:
            raise TooManyStates(f"one byte enters more than {MOST_PUSHES} rules")
        return self.states.effect(effect)
