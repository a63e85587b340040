"""Following bytes through an automaton on the host, one sequence at a time: what the device does, in plain Python."""

from __future__ import annotations

from dataclasses import dataclass

from .automaton import Automaton, Effect, States

Frame = tuple[int, int]  # a frame and the counter of its state


@dataclass(frozen=True)
class Place:
    """Where a text stands in an automaton.

    Attributes:
        state, count: the state, and its counter.
        frames: the stack, the lowest first.
    """

    state: int
    count: int = 0
    frames: tuple[Frame, ...] = ()


class Unsafe(Exception):
    """A byte could be read in two ways that the automaton does not tell apart; one that cuts nothing does."""


def start_of(automaton: Automaton) -> Place:
    """Where every text begins."""
    return Place(automaton.start, 0, tuple((frame, 0) for frame in automaton.start_frames))


def popped(states: States, place: Place) -> Place | None:
    """The place beneath, if the text may go on there."""
    if not place.frames or not states.accepts[place.state] or place.count < states.least[place.state]:
        return None
    frame, count = place.frames[-1]
    return Place(frame >> 1, count + (frame & 1), place.frames[:-1])


def advanced(states: States, place: Place, text: bytes) -> Place | None:
    """The place after some bytes; None where one is refused.

    Raises:
        Unsafe: the automaton cannot tell.
    """
    for byte in text:
        while (code := int(states.step(place.state)[byte])) == 0 or (states.effects[abs(code)].begins and place.count >= states.limits[place.state]):
            lower = popped(states, place)
            if lower is None:
                return None
            place = lower
        if code < 0 and place.frames:
            raise Unsafe
        place = applied(states.effects[abs(code)], place)
    return place


def applied(effect: Effect, place: Place) -> Place:
    """The place after what a byte does."""
    count = place.count + effect.counts
    pushed = tuple((frame, 0 if n else count) for n, frame in enumerate(effect.pushes))
    return Place(effect.state, 0 if pushed else count, place.frames + pushed)


def may_end(states: States, place: Place) -> bool:
    """Whether the text may end here."""
    levels = [(place.state, place.count), *((frame >> 1, count + (frame & 1)) for frame, count in place.frames)]
    return all(states.accepts[state] and count >= states.least[state] for state, count in levels)
