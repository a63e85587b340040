"""`jaxllama tokenize`: print the tokens of a text, as llama-tokenize does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from . import flags
from .loading import open_model
from .options import add_options


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("tokenize", help="print the tokens of a text", description=__doc__, allow_abbrev=False)
    add_options(parser, flags.MODEL)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("-p", "--prompt", metavar="PROMPT", help="text to tokenize")
    source.add_argument("-f", "--file", metavar="FNAME", help="read the text from a file")
    source.add_argument("--stdin", action="store_true", help="read the text from stdin")
    parser.add_argument("--ids", action="store_true", help="print only the token ids, as a list")
    parser.add_argument("--no-bos", action="store_true", help="do not add BOS or EOS, even if the model normally does")
    parser.add_argument("--no-parse-special", action="store_true", help="tokenize special tokens in the text (such as <s>) as plain text")
    parser.add_argument("--no-escape", action="store_true", help="do not process escape sequences in --prompt")
    parser.add_argument("--show-count", action="store_true", help="print the total number of tokens")
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
    file = open_model(args, Console(stderr=True))
    tokenizer = Tokenizer.from_metadata(file.metadata, str(file.path))
    ids = tokenizer.encode(text, add_special=not args.no_bos, parse_special=not args.no_parse_special)
    if args.ids:
        print("[" + ", ".join(map(str, ids)) + "]")
    else:
        for token in ids:
            print(f"{token:6d} -> '{tokenizer.piece(token, special=True).decode('utf-8', 'replace')}'")
    if args.show_count:
        print(f"Total number of tokens: {len(ids)}")
    return 0
