"""`jaxllama tokenize`: the tokens of a text, as llama-tokenize shows them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import flags
from .loading import model_path


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("tokenize", help="show the tokens of a text", description=__doc__, allow_abbrev=False)
    flags.add_options(parser, flags.MODEL)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("-p", "--prompt", metavar="PROMPT", help="the text")
    source.add_argument("-f", "--file", metavar="FNAME", help="file with the text")
    source.add_argument("--stdin", action="store_true", help="read the text from the standard input")
    parser.add_argument("--ids", action="store_true", help="print ids alone, as a list")
    parser.add_argument("--no-bos", action="store_true", help="put no special tokens around the text")
    parser.add_argument("--no-parse-special", action="store_true", help="take the texts of control tokens for text")
    parser.add_argument("--no-escape", action="store_true", help="leave \\n, \\t and so on in the prompt as they are")
    parser.add_argument("--show-count", action="store_true", help="print the number of tokens at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the verb out; returns the exit status."""
    from jaxllama.text import Tokenizer

    from .run import unescape

    if args.prompt is not None:
        text = args.prompt if args.no_escape else unescape(args.prompt)
    else:
        raw = sys.stdin.buffer.read() if args.stdin else Path(args.file).read_bytes()
        text = raw.decode("utf-8", "replace")
    tokenizer = Tokenizer.from_gguf(model_path(args))
    ids = tokenizer.encode(text, add_special=not args.no_bos, parse_special=not args.no_parse_special)
    if args.ids:
        print("[" + ", ".join(map(str, ids)) + "]")
    else:
        for token in ids:
            print(f"{token:6d} -> '{tokenizer.piece(token, special=True).decode('utf-8', 'replace')}'")
    if args.show_count:
        print(f"Total number of tokens: {len(ids)}")
    return 0
