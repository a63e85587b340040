"""`jaxllama grammar`: check GBNF grammars and JSON schemas."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_METHODS = {"states": "finite automaton", "stack": "automaton with a stack", "sets": "sets of stacks (exact, but slower)"}


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("grammar", help="check GBNF grammars and JSON schemas", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    check = verbs.add_parser(
        "check",
        help="check a grammar, and whether texts match it",
        description="Check a grammar, and whether texts match it. The exit status is 1 if the grammar is invalid or a text does not match.",
        allow_abbrev=False,
    )
    check.add_argument("grammar", metavar="FILE", help="file with a GBNF grammar, or with --json-schema a JSON schema")
    check.add_argument("inputs", metavar="INPUT", nargs="*", help="files with texts to match; - for stdin")
    check.add_argument("-j", "--json-schema", action="store_true", help="FILE is a JSON schema")
    check.add_argument("--show", action="store_true", help="print the GBNF grammar; with --json-schema, what the schema becomes")
    check.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry `check` out; returns the exit status: 1 where a text is refused."""
    import json

    from jaxllama.grammar import Grammar, GrammarError, SchemaError
    from jaxllama.grammar.grammar import MOST_EXPLORED

    text = Path(args.grammar).read_text(encoding="utf-8")
    try:
        grammar = Grammar.from_json_schema(json.loads(text)) if args.json_schema else Grammar.from_gbnf(text)
    except (GrammarError, SchemaError, json.JSONDecodeError) as error:
        raise ValueError(f"{args.grammar}: {error}") from None
    tier, states, effects = grammar.survey
    how, _, reason = tier.partition(": ")
    print(f"{args.grammar}: valid, {len(grammar.rules)} rules")
    print(f"decoding: {_METHODS[how]}{': ' + reason if reason else ''}")
    print(f"automaton: {states}{' or more' if states >= MOST_EXPLORED else ''} states, {effects} kinds of transitions")
    if args.show:
        print(grammar.text)
    status = 0
    for name in args.inputs:
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
