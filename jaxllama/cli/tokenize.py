"""`jaxllama tokenize`: print the tokens of a text, as llama-tokenize does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from .loading import open_model
from .log import Log
from .named import named
from .options import COMMON, LOG, MODEL, Group, Option, Verb
from .options.kinds import path, text
from .options.text import ESCAPE
from .prompt import unescape

TEXT = Group(
    "text (the last of -p and -f counts; --stdin before both)",
    Option(("-p", "--prompt"), "prompt", "text to tokenize", text("PROMPT"), sets="prompt"),
    Option(("-f", "--file"), "file", "read the text from a file, as it is; - for stdin", path(), sets="prompt"),
    Option(("--stdin",), "stdin", "read the text from stdin"),
    ESCAPE,
)
TOKENS = Group(
    "tokens",
    Option(("--ids",), "ids", "print only the token ids, as a list"),
    Option(("--no-bos",), "no_bos", "do not add BOS or EOS, even if the model normally does"),
    Option(("--no-parse-special",), "no_parse_special", "tokenize special tokens in the text (such as <s>) as plain text"),
    Option(("--show-count",), "show_count", "print the total number of tokens"),
)


def read_text(args: SimpleNamespace) -> str:
    """The text, with its escapes processed, wherever it comes from.

    Raises:
        ValueError: there is none.
    """
    if args.stdin or args.file == "-":
        found = sys.stdin.buffer.read().decode("utf-8", "replace")
    elif args.file is not None:
        with named("-f"):
            found = Path(args.file).read_bytes().decode("utf-8", "replace")
    elif args.prompt is not None:
        found = args.prompt
    else:
        raise ValueError("expected a text: -p TEXT, -f FILE or --stdin")
    return unescape(found) if args.escape else found


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    from jaxllama.text import Tokenizer

    given = read_text(args)
    file = open_model(args, log)
    tokenizer = Tokenizer.from_metadata(file.metadata, str(file.path))
    ids = tokenizer.encode(given, add_special=not args.no_bos, parse_special=not args.no_parse_special)
    if args.ids:
        print("[" + ", ".join(map(str, ids)) + "]")
    else:
        for token in ids:
            print(f"{token:6d} -> '{tokenizer.piece(token, special=True).decode('utf-8', 'replace')}'")
    if args.show_count:
        print(f"Total number of tokens: {len(ids)}")
    return 0


VERB = Verb("tokenize", "print the tokens of a text", __doc__, run, (TEXT, TOKENS, MODEL, LOG), COMMON)
