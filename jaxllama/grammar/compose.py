"""Grammars that do not hold from the beginning: after a thought, or from a trigger on."""

from __future__ import annotations

from collections.abc import Sequence

from .gbnf import SPACE, literal
from .gbnf import Rules as Writer
from .grammar import Grammar
from .nodes import renamed
from .reader import read_gbnf

_INNER = "jaxllama-inner"  # stands for the grammar's own root


def after_thought(grammar: Grammar, start: str, end: str, *, opened: bool) -> Grammar:
    """The grammar, after what a model may think between two marks; within a thought everything is allowed but the end of the text.

    Args:
        opened: the prompt has opened the thought already; otherwise the answer may begin without one.
    """
    writer = Writer()
    thought = writer.until("thought", end)
    gap = writer.add("space", SPACE)
    head = f"{thought} {gap}" if opened or not start else f"({gap} {literal(start)} {thought} {gap})?"
    return _around(grammar, writer, f"{head} {_INNER}")


def from_triggers(grammar: Grammar, triggers: Sequence[str]) -> Grammar:
    """Free text that may end anywhere; from the first place on where a trigger stands, the grammar, which begins with that."""
    if not triggers or not all(triggers):
        raise ValueError("grammar_triggers: expected a list of strings that start the grammar, none of them empty")
    writer = Writer()
    free = writer.without("free", triggers)
    return _around(grammar, writer, f"{free} {_INNER}? ")


def _around(grammar: Grammar, writer: Writer, root: str) -> Grammar:
    """Another root around a grammar's own."""
    writer.define(_INNER, '"x"')
    text = writer.text(root)
    outer = read_gbnf(text)
    inner = {_inner(name): renamed(node, _inner) for name, node in grammar.rules.items()}
    return Grammar(text + "\n".join(f"# {line}" for line in grammar.text.splitlines()) + "\n", {**outer, **inner})


def _inner(name: str) -> str:
    return _INNER if name == "root" else f"inner-{name}"
