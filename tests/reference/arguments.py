"""What recorders are called with."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the text at the top of a recorder, as it stands."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def peer_of(given: str) -> str:
    """An interpreter with llama-cpp-python, as the type of an argument."""
    found = shutil.which(given)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no interpreter '{given}'; it is the python of the environment with llama-cpp-python")
    return found


def only_argument(doc: str | None, name: str, help: str, given: Sequence[str] | None = None) -> str:
    """The one argument of a recorder; without it its help and the error end the process.

    Args:
        given: the arguments; those of the process by default.
    """
    parser = parser_of(doc)
    parser.add_argument("given", metavar=name, help=help)
    return parser.parse_args(sys.argv[1:] if given is None else given).given
