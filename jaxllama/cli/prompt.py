"""The texts of the command line: the prompt and the system prompt, their escapes, and what the user types."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

from .named import named

_EMBEDDED_PROMPT = "Once upon a time"
_SIMPLE = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"'": b"'", b'"': b'"', b"\\": b"\\"}


def unescape(text: str) -> str:
    """llama.cpp's escapes: \\n \\r \\t \\' \\" \\\\ and \\xHH, a byte; anything else stays as it is."""
    given = text.encode("utf-8", "surrogateescape")
    found = re.sub(rb"\\(?:x([0-9a-fA-F]{2})|([nrt'\"\\]))", lambda m: bytes([int(m[1], 16)]) if m[1] else _SIMPLE[m[2]], given)
    return found.decode("utf-8", "replace")


def read_file(option: str, name: str) -> str:
    """A text file that an option names, or for `-` stdin; as llama.cpp without a line break at its end."""
    with named(option):
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    return raw.decode("utf-8", "replace").removesuffix("\n")


def given_prompt(args: SimpleNamespace) -> str | None:
    """The text of the last of `-f`, `-bf` and `-p`; None where there is none of them."""
    if args.file is not None:
        return read_file("-f", args.file)
    if args.binary_file is not None:
        with named("-bf"):
            return Path(args.binary_file).read_bytes().decode("utf-8", "replace")
    return args.prompt


def read_prompt(args: SimpleNamespace) -> str:
    """The prompt, with its escapes processed; for the embedded model there is a default."""
    text = given_prompt(args)
    if text is None:
        text = _EMBEDDED_PROMPT if args.model is None and args.hf_repo is None else ""
    return unescape(text) if args.escape else text


def system_prompt(args: SimpleNamespace) -> str | None:
    """The system prompt of `-sys` or `-sysf`."""
    text = read_file("-sysf", args.system_file) if args.system_file is not None else args.system
    return unescape(text) if text and args.escape and args.system_file is None else text


def read_message(prompt: str, *, multiline: bool = False) -> str | None:
    """What the user types: a line; None at the end of the input.

    A backslash at a line's end goes on with the next line, or with `multiline` ends the message. Three quotation marks are put around several lines.
    """
    lines: list[str] = []
    quoted = False
    while True:
        try:
            line = input(prompt if not lines else "")
        except EOFError:
            return "\n".join(lines) if lines else None
        if not lines and line.strip().startswith('"""'):
            quoted, line = True, line.strip()[3:]
        if quoted:
            done = line.rstrip().endswith('"""')
            lines.append(line.rstrip().removesuffix('"""') if done else line)
            if done:
                return "\n".join(lines).strip("\n")
            continue
        marked = line.endswith("\\")
        lines.append(line.removesuffix("\\"))
        if marked == multiline:
            return "\n".join(lines)
