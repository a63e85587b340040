"""What the command says beside its text: on stderr, and in the file of `--log-file`."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn

ERROR, WARNING, INFO, DETAIL = 1, 2, 3, 5
_NAMES = {ERROR: "error", WARNING: "warn", INFO: "info", DETAIL: "debug"}
_COLOURS = {ERROR: "31", WARNING: "33"}


class Log(logging.Handler):
    """Messages by level; while it is entered, warnings of the package and of Python come here too.

    Attributes:
        terminal: whether stderr is one, and may be written on with progress and status lines.
    """

    def __init__(self, args: Any = None):
        """
        Args:
            args: the options of the group LOG; without them everything but details is shown.
        """
        super().__init__()
        self._start, self._args = time.perf_counter(), args
        given = lambda name, default: getattr(args, name, default)  # noqa: E731
        self._most = ERROR if given("log_disable", False) else DETAIL if given("verbose", False) else given("verbosity", INFO)
        self._file: IO[str] | None = open(args.log_file, "a", encoding="utf-8") if given("log_file", None) else None  # noqa: SIM115  closed in __exit__
        self.terminal = sys.stderr.isatty() and self._most >= INFO and not given("log_jsonl", False)
        self._coloured = {"on": True, "off": False}.get(given("log_colors", "auto"), sys.stderr.isatty())
        self._status, self._writing = False, False

    def __enter__(self) -> Log:
        logging.getLogger("jaxllama").addHandler(self)
        self._before, warnings.showwarning = warnings.showwarning, lambda message, *_, **__: self.warning(str(message))
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        warnings.showwarning = self._before
        logging.getLogger("jaxllama").removeHandler(self)
        if self._file:
            self._file.close()

    def emit(self, record: logging.LogRecord) -> None:
        tell = self.error if record.levelno >= logging.ERROR else self.warning if record.levelno >= logging.WARNING else self.detail
        tell(record.getMessage())

    def error(self, text: str) -> None:
        self.say(text, ERROR)

    def warning(self, text: str) -> None:
        self.say(f"warning: {text}", WARNING)

    def info(self, text: str, *, dim: bool = False) -> None:
        self.say(text, INFO, "2" if dim else "")

    def detail(self, text: str) -> None:
        """Shown with -v."""
        self.say(text, DETAIL)

    def say(self, text: str, level: int, colour: str = "") -> None:
        """A message of a level."""
        if level > self._most:
            return
        self.clear()
        marked = self._marked(text, level)
        colour = (colour or _COLOURS.get(level, "")) if self._coloured else ""
        sys.stderr.write((f"\x1b[{colour}m{marked}\x1b[0m" if colour else marked) + "\n")
        sys.stderr.flush()
        if self._file:
            self._file.write(marked + "\n")

    def _marked(self, text: str, level: int) -> str:
        if getattr(self._args, "log_jsonl", False):
            return json.dumps({"type": "log", "time": time.time_ns() // 1000, "level": _NAMES[level], "msg": text}, ensure_ascii=False)
        since = time.perf_counter() - self._start
        stamp = f"{since // 60:.0f}.{since % 60:06.3f} " if getattr(self._args, "log_timestamps", False) else ""
        letter = f"{_NAMES[level][0].upper()} " if getattr(self._args, "log_prefix", False) else ""
        return "\n".join(stamp + letter + line for line in text.split("\n"))

    def status(self, text: str) -> None:
        """A line on a terminal that the next message or text erases; nothing in the middle of a text."""
        if self.terminal and not self._writing:
            sys.stderr.write(f"\r\x1b[2K\x1b[2m{text}\x1b[0m")
            sys.stderr.flush()
            self._status = True

    def clear(self) -> None:
        """Erase the status line."""
        if self._status:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._status = False

    def text(self, text: str) -> None:
        """Note what was written to stdout."""
        if self._file:
            self._file.write(text)

    def begin_text(self) -> None:
        """A text is being written: no status line may come between, until `end_text`."""
        self.clear()
        self._writing = True

    def end_text(self) -> None:
        self._writing = False

    @contextmanager
    def progress(self, *columns: ProgressColumn, shown: bool = True) -> Iterator[Progress]:
        """A progress bar on a terminal."""
        self.clear()
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=not (self.terminal and shown)) as bar:
            yield bar
