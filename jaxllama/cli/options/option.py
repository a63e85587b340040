"""What an option of the command line is: its names, its variable, the values that it takes, and what it does here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .kinds import SWITCH, Kind, matching, one_of, text, whole


class UsageError(ValueError):
    """The command line, or a variable, says what cannot be; the text is one line."""


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
        sets: what it sets together with other options of this word, of which the last one counts: `-p` and `-f` both set the prompt.
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
    sets: str = ""
    operands: int = 1
    idle: str = ""
    later: str = ""

    @property
    def is_switch(self) -> bool:
        return self.kind is SWITCH

    @property
    def thing(self) -> str:
        """What it sets."""
        return self.sets or self.to

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


_NUMBERS = "[0-9]{1,9}"
_ON, _OFF = "true 1 enabled", "false 0 disabled"
_IDLE = {  # what llama.cpp takes for an option, by the word that stands for its value
    "N": whole(),
    "INDEX": whole(),
    "LAYERS": whole(0),
    "AUTO|ALL|N": matching(r"auto|all|[+-]?[0-9]{1,9}", "a whole number, auto or all"),
    "PRIO": whole(-1, 3),
    "PRIO_BATCH": whole(0, 3),
    "0|1": whole(0),
    "0|1,...": matching("[01](,[01])*", "0, 1 or both, separated by a comma"),
    "0...100": whole(0),
    "M": matching("(0x)?[0-9a-fA-F]+", "a mask in hexadecimal digits"),
    "LO-HI": matching(f"({_NUMBERS})?-({_NUMBERS})?", "a range of CPUs such as 0-3"),
    "MIB,...": matching(f"{_NUMBERS}([,/]{_NUMBERS})*", "numbers of MiB, separated by commas"),
    "PATTERN=TYPE,...": matching("[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*", "PATTERN=TYPE, or several separated by commas"),
    "[on|off]": one_of("on", "off", others=f"{_ON} {_OFF}"),
    "[on|off|auto]": one_of("on", "off", "auto", others=f"{_ON} {_OFF} -1"),
    "on|auto|off": one_of("on", "auto", "off"),
    "distribute|isolate|numactl": replace(one_of("distribute", "isolate", "numactl"), empty=True),
}


def options_of(lines: str, *, idle: str = "", later: str = "") -> list[Option]:
    """Options of which nothing but the spelling matters, one a line: `-x/--long !--no-long METAVAR $VARIABLE`, the parts after the names as needed.

    Values of idle ones are held to what llama.cpp takes, where a METAVAR of `_IDLE` says so.
    """
    found = []
    for line in filter(None, map(str.strip, lines.splitlines())):
        names, *rest = line.split()
        metavars = [word for word in rest if word[0] not in "!$"]
        off = tuple(part for word in rest if word[0] == "!" for part in word[1:].split("/"))
        env = next((word[1:] for word in rest if word[0] == "$"), "")
        spelled = tuple(names.split("/"))
        shown = " ".join(metavars)
        kind = replace(_IDLE[shown], metavar=shown) if idle and shown in _IDLE else text(shown) if metavars else SWITCH
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
