"""`jaxllama grammar`: look at grammars."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("grammar", help="check grammars", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    check = verbs.add_parser("check", help="check a grammar, and texts against it", allow_abbrev=False)
    check.add_argument("grammar", metavar="FILE", help="GBNF, or with --json-schema a JSON schema")
    check.add_argument("inputs", metavar="INPUT", nargs="*", help="files with texts; - for the standard input")
    check.add_argument("-j", "--json-schema", action="store_true", help="the file is a JSON schema")
    check.add_argument("--show", action="store_true", help="show the grammar that a schema becomes")
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
    print(
        f"{args.grammar}: {len(grammar.rules)} rules\ntier: {tier}\ntables: {states}{'+' if states >= MOST_EXPLORED else ''} states, {effects} effects of bytes"
    )
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
        print(f"{name}: {'not finished' if at == len(given) else f'refused at line {line}, column {column}: {given[at : at + 20]!r}'}")
    return status
