"""`Grammar`: what a text may be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

from .automaton import Automaton, TooManyStates
from .json_schema import json_schema_to_gbnf
from .matcher import Matcher, Place, first_error
from .nodes import Rules, renamed
from .reader import read_gbnf
from .regex import gbnf_of_choices, gbnf_of_regex
from .types import schema_of

MOST_EXPLORED = 2000  # states that are looked at to tell how a grammar is followed
MOST_AT_ONCE = 50  # ways to read a text; a grammar with more of them has no end of states


def _text(what: str, given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"expected {what} as a text (str), found {given!r}")
    return given


class Grammar:
    """A grammar, read and checked.

    Attributes:
        text: GBNF.
        rules: its rules by name; a text must follow the one that is called `root` here.
    """

    def __init__(self, text: str, rules: Rules):
        self.text, self.rules = text, rules

    @classmethod
    def from_gbnf(cls, text: str, tokenize: Callable[[str], Sequence[int]] | None = None, *, root: str = "root") -> Grammar:
        """Read GBNF.

        Args:
            tokenize: ids of a text with special tokens in it, for grammars that name tokens by their text.
            root: the rule that a text must follow.

        Raises:
            GrammarError: the grammar is wrong, or has no such rule; the text says where.
        """
        rules = read_gbnf(_text("GBNF", text), tokenize, root)
        if root != "root":  # the two change their names
            swap = {root: "root", "root": root}
            rules = {swap.get(name, name): renamed(node, lambda n: swap.get(n, n)) for name, node in rules.items()}
        return cls(text, rules)

    @classmethod
    def from_json_schema(cls, schema: Any, *, any_order: bool = False, ignore: Collection[str] = ()) -> Grammar:
        """The JSON that a schema describes.

        Args:
            schema: a dictionary; or a pydantic model, a dataclass or another type.
            any_order, ignore: see `json_schema_to_gbnf`.

        Raises:
            SchemaError: the schema says what a grammar cannot.
        """
        return cls.from_gbnf(json_schema_to_gbnf(schema_of(schema), any_order=any_order, ignore=ignore))

    @classmethod
    def from_regex(cls, pattern: str) -> Grammar:
        """The texts that a regular expression matches from their beginning to their end.

        Raises:
            RegexError: the expression is malformed, or is not what a grammar can say.
        """
        return cls.from_gbnf(gbnf_of_regex(_text("a regular expression", pattern)))

    @classmethod
    def from_choices(cls, choices: Sequence[str]) -> Grammar:
        """One of some texts; a single text is one choice."""
        choices = [choices] if isinstance(choices, str) else choices
        if not isinstance(choices, Iterable):
            raise TypeError(f"expected several texts, found {choices!r}")
        return cls.from_gbnf(gbnf_of_choices([_text("a choice", choice) for choice in choices]))

    @cached_property
    def matcher(self) -> Matcher:
        """Follows texts through the grammar, exactly and slowly."""
        return Matcher(self.rules)

    @property
    def tier(self) -> str:
        """How the grammar is followed: "states" (finitely many), "stack" (states and a stack of frames) or "sets" with the reason: its states are sets of whole
        stacks, made one by one as they are met, which is exact for every grammar and slower. Found out by looking at its first states."""
        return self.survey[0]

    @cached_property
    def survey(self) -> tuple[str, int, int]:
        """The tier, and how many states and effects of bytes there are, as far as was looked."""
        automaton, frames, seen = None, False, set()
        try:
            automaton = Automaton(self.rules)
            states, frames = automaton.states, bool(automaton.start_frames)
            waiting, unsafe = [automaton.start, *(f >> 1 for f in automaton.start_frames)], ""
            while waiting and len(seen) < MOST_EXPLORED:
                state = waiting.pop()
                if state in seen:
                    continue
                seen.add(state)
                if len(automaton.stacks_of(state)) > MOST_AT_ONCE * len(self.rules):
                    return "sets: the longer a text, the more ways there are to read it", len(seen), len(states.effects)
                step = states.step(state)
                unsafe = unsafe or (repr(chr(int(step.argmin()))) if (step < 0).any() else "")
                for code in set(step.tolist()) - {0}:
                    effect = states.effects[abs(code)]
                    frames |= bool(effect.pushes)
                    waiting += [effect.state, *(f >> 1 for f in effect.pushes)]
            if unsafe and frames:
                return f"sets: what follows a rule may also go on with it, for example at {unsafe}", len(seen), len(states.effects)
            return "stack" if frames else "states", len(seen), len(states.effects)
        except TooManyStates as error:
            return f"sets: {error}", len(seen), 0 if automaton is None else len(automaton.states.effects)

    def accepts(self, text: str) -> bool:
        """Whether the grammar allows a text, from its beginning to its end."""
        return self.refused_at(text) is None

    def refused_at(self, text: str) -> int | None:
        """How many characters are allowed before one is refused (all of them where the text is only unfinished); None where the text is accepted."""
        return first_error(self.matcher, _text("what is followed", text))

    def place(self, text: str) -> Place:
        """Where a text leads; empty where it is refused."""
        return self.matcher.advance(self.matcher.start, _text("what is followed", text))
