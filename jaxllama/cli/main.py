"""The command `jaxllama`, with its verbs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from . import apply_template, bench, chat, grammar, imatrix, inspect, perplexity, quantize, run, tokenize


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. An error of the user's is one line on stderr, not a traceback."""
    parser = argparse.ArgumentParser(
        prog="jaxllama",
        description="Run, quantize and evaluate GGUF models with JAX.",
        epilog="`jaxllama VERB --help` lists the options of a verb.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    commands = parser.add_subparsers(metavar="VERB")
    for verb in (run, chat, tokenize, apply_template, grammar, quantize, imatrix, perplexity, bench, inspect):
        verb.add_parser(commands)
    args = parser.parse_args(arguments)
    if args.version:
        from jaxllama import __version__

        print(f"jaxllama {__version__}")
        return 0
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        return args.run(args)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter can flush at its end
        return 141
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(f"jaxllama: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
