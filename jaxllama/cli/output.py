"""The generated text: on stdout, in the file of `-o` and in the log; with colors where they are wanted."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from .log import Log
from .named import named

PLAIN, DIM, PROMPT, INPUT = "\x1b[0m", "\x1b[2m", "\x1b[33m", "\x1b[1m\x1b[32m"


class Output:
    """Writes the text."""

    def __init__(self, args: SimpleNamespace, log: Log):
        """
        Args:
            args: the options of the group OUTPUT.
        """
        self._log = log
        with named("-o"):
            self._file = open(args.output, "w", encoding="utf-8") if args.output else None  # noqa: SIM115  closed in __exit__
        self._colour = PLAIN
        self.coloured = not args.simple_io and (args.color == "on" or (args.color == "auto" and sys.stdout.isatty()))

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.colour(PLAIN)
        self._log.end_text()
        if self._file is not None:
            self._file.close()

    def colour(self, code: str) -> None:
        """Colour what is written from now on."""
        if self.coloured and code != self._colour:
            self._colour = code
            sys.stdout.write(code)
            sys.stdout.flush()

    def prompt(self, text: str) -> None:
        """Write the prompt, in its colour."""
        if text:
            self.colour(PROMPT)
            self.write(text, made=False)
            self.colour(PLAIN)

    def write(self, text: str, *, made: bool = True) -> None:
        """Write some text; `made`: the model's own, which `-o` keeps."""
        self._log.begin_text()
        sys.stdout.write(text)
        sys.stdout.flush()
        self._log.text(text)
        if text.endswith("\n"):
            self._log.end_text()
        if self._file is not None and made:
            self._file.write(text)
            self._file.flush()
