"""`jaxllama grammar check`: check a grammar, and whether texts match it.

The exit status is 1 if the grammar is invalid or a text does not match.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from .log import Log
from .options import Group, Option, Verb

_METHODS = {"states": "finite automaton", "stack": "automaton with a stack", "sets": "sets of stacks (exact, but slower)"}


CHECK = Group(
    "check",
    Option(("-j", "--json-schema"), "json_schema", "FILE is a JSON schema"),
    Option(("--show",), "show", "print the GBNF grammar; with --json-schema, what the schema becomes"),
)


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry `check` out; returns the exit status: 1 where a text is refused."""
    import json

    from jaxllama.grammar import Grammar, GrammarError, SchemaError
    from jaxllama.grammar.grammar import MOST_EXPLORED

    action, name, *inputs = args.words
    if action != "check":
        raise ValueError(f"expected `jaxllama grammar check FILE [INPUT ...]`, found {action!r}")
    text = Path(name).read_text(encoding="utf-8")
    try:
        grammar = Grammar.from_json_schema(json.loads(text)) if args.json_schema else Grammar.from_gbnf(text)
    except (GrammarError, SchemaError, json.JSONDecodeError) as error:
        raise ValueError(f"{name}: {error}") from None
    tier, states, effects = grammar.survey
    how, _, reason = tier.partition(": ")
    print(f"{name}: valid, {len(grammar.rules)} rules")
    print(f"decoding: {_METHODS[how]}{': ' + reason if reason else ''}")
    print(f"automaton: {states}{' or more' if states >= MOST_EXPLORED else ''} states, {effects} kinds of transitions")
    if args.show:
        print(grammar.text)
    status = 0
    for name in inputs:
        given = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        at = grammar.refused_at(given)
        if at is None:
            print(f"{name}: accepted")
            continue
        status = 1
        line, column = given.count("\n", 0, at) + 1, at - given.rfind("\n", 0, at)
        found = f"refused at line {line}, column {column}: {given[at : at + 20]!r}" if at < len(given) else "incomplete: the text ends before the grammar does"
        print(f"{name}: {found}")
    return status


EPILOG = "FILE: a GBNF grammar, or with --json-schema a JSON schema; INPUT: files with texts to match, - for stdin"
VERB = Verb("grammar", "check GBNF grammars and JSON schemas", __doc__, run, (CHECK,), words="check FILE [INPUT ...]", least=2, most=None, epilog=EPILOG)
