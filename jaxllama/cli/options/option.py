"""What an option of the command line is: its names, its variable, the values that it takes, and what it does here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class UsageError(ValueError):
    """The command line, or a variable, says what cannot be; the text is one line."""


class Explained(ValueError):
    """A value cannot be; the text says why."""


class NotYet(ValueError):
    """A value asks for a capability that is still to come; the text is the capability, with its verb: "speculative decoding is"."""


@dataclass(frozen=True)
class Kind:
    """The values that an option takes.

    Attributes:
        read: makes one of its text; a ValueError or NotYet where it is none.
        expected: what they are, for errors.
        metavar: what `--help` shows in a value's place.
        files: whether they are paths, for a shell's completion.
    """

    read: Callable[[str], Any]
    expected: str
    metavar: str = "N"
    files: bool = False


def _truth(text: str) -> bool:
    if text.lower() in ("1", "on", "true", "yes", "enabled"):
        return True
    if text.lower() in ("0", "off", "false", "no", "disabled"):
        return False
    raise ValueError(text)


def whole(least: int = -(2**31), most: int = 2**31 - 1) -> Kind:
    """Whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d+", text) or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    limit = f" of at least {least}" if least > -(2**31) else ""
    return Kind(read, f"a whole number{limit}" if most >= 2**31 - 1 else f"a whole number from {least} to {most}")


def real(least: float = -math.inf, *, above: float = -math.inf) -> Kind:
    """Finite numbers of float32, of at least `least`, above `above`."""

    def read(text: str) -> float:
        value = float(text)
        if not (abs(value) < 3.4028236e38 and value >= least and value > above):
            raise ValueError(text)
        return value

    limit = f" above {above:g}" if above > -math.inf else f" of at least {least:g}" if least > -math.inf else ""
    return Kind(read, f"a finite number{limit}")


def one_of(*names: str, later: Mapping[str, str] = {}, metavar: str | None = None) -> Kind:
    """Some words; `later` maps words of llama.cpp's to the capability that they wait for."""

    def read(text: str) -> str:
        if text in later:
            raise NotYet(later[text])
        if text not in names:
            raise ValueError(text)
        return text

    return Kind(read, f"one of {', '.join(names)}", metavar or "|".join(names))


def text(metavar: str) -> Kind:
    """Any text."""
    return Kind(str, "a text", metavar)


def path(metavar: str = "FNAME") -> Kind:
    """A file's path."""
    return Kind(str, "a path", metavar, files=True)


SWITCH = Kind(_truth, "on or off", "")


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        names: as llama.cpp spells them, the longest last.
        to: its name in Python.
        help: what it does.
        kind: of its value; SWITCH for an option without one.
        default: where neither the command line nor a variable says it; of an option that may be repeated always an empty list.
        env: the variable, without `LLAMA_ARG_`; with `=` before it in full; empty for none.
        off: names that turn a switch off, and `off_help` what they do.
        many: it may be given several times; its value is a list.
        operands: how many values it takes.
        idle: why it changes nothing here; "" if it does.
        later: the capability that it waits for, with its verb; turning a switch off is what is the case today.
    """

    names: tuple[str, ...]
    to: str
    help: str = ""
    kind: Kind = SWITCH
    default: Any = None
    env: str = ""
    off: tuple[str, ...] = ()
    off_help: str = ""
    many: bool = False
    operands: int = 1
    idle: str = ""
    later: str = ""

    @property
    def is_switch(self) -> bool:
        return self.kind is SWITCH

    @property
    def start(self) -> Any:
        """The default, as a value; None for a switch that can be turned off and has been neither turned on nor off."""
        return [] if self.many else False if self.is_switch and self.default is None and not self.off else self.default

    @property
    def variable(self) -> str:
        """The environment variable; empty for none."""
        return self.env.removeprefix("=") if self.env.startswith("=") else f"LLAMA_ARG_{self.env}" if self.env else ""

    @property
    def variable_off(self) -> str:
        """The variable that turns it off wherever it is set."""
        return self.variable.replace("LLAMA_ARG_", "LLAMA_ARG_NO_") if self.off and self.variable else ""


class Group(tuple[Option, ...]):
    """Options that `--help` shows under one title."""

    title: str

    def __new__(cls, title: str, *options: Option) -> Group:
        group = super().__new__(cls, options)
        group.title = title
        return group


def options_of(lines: str, *, idle: str = "", later: str = "") -> list[Option]:
    """Options of which nothing but the spelling matters, one a line: `-x/--long !--no-long METAVAR $VARIABLE`, the parts after the names as needed."""
    found = []
    for line in filter(None, map(str.strip, lines.splitlines())):
        names, *rest = line.split()
        metavars = [word for word in rest if word[0] not in "!$"]
        off = tuple(part for word in rest if word[0] == "!" for part in word[1:].split("/"))
        env = next((word[1:] for word in rest if word[0] == "$"), "")
        spelled = tuple(names.split("/"))
        kind = text(" ".join(metavars)) if metavars else SWITCH
        found.append(Option(spelled, spelled[-1].strip("-").replace("-", "_"), "", kind, env=env, off=off, operands=len(metavars), idle=idle, later=later))
    return found


@dataclass(frozen=True)
class Verb:
    """One verb of the command.

    Attributes:
        name: of the verb.
        summary: a line for `jaxllama --help`.
        description: for its own help: the docstring of its module.
        run: carries it out, with the values of the options and the log; returns the exit status.
        groups: its options; where two share a name, the first counts.
        accepts: groups whose options llama.cpp's tool takes too, though they change nothing for this verb.
        words: what its arguments are, as usage shows them, and how many there may be; `most` None for any number.
        epilog: ends its help.
    """

    name: str
    summary: str
    description: str | None
    run: Callable[[Any, Any], int]
    groups: tuple[Group, ...]
    accepts: tuple[Group, ...] = ()
    words: str = ""
    least: int = 0
    most: int | None = 0
    epilog: str = ""
    _index: dict[str, tuple[Option, bool]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def index(self) -> dict[str, tuple[Option, bool]]:
        """For each spelling the option, and whether the verb uses it."""
        if not self._index:
            for groups, used in ((self.groups, True), (self.accepts, False)):
                for option in (o for group in groups for o in group):
                    for name in (*option.names, *option.off):
                        self._index.setdefault(name, (option, used))
        return self._index
