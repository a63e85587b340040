"""Options of the command line: what argparse needs of one, and its `LLAMA_ARG_*` variable. An option on the command line wins over a variable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        names: as llama.cpp spells them, the longest last; its name in Python comes from `to`.
        env: the variable, without `LLAMA_ARG_`; empty for none.
        type: of the value; bool for a switch.
        off: names that turn a switch off, and `off_help` what they do.
        many: it may be given several times.
    """

    names: tuple[str, ...]
    to: str
    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    env: str = ""
    off: tuple[str, ...] = ()
    off_help: str = ""
    metavar: str = "N"
    many: bool = False


class Group(tuple[Option, ...]):
    """Options that `--help` shows under one title."""

    title: str

    def __new__(cls, title: str, *options: Option) -> Group:
        group = super().__new__(cls, options)
        group.title = title
        return group


def _truth(text: str) -> bool:
    if text.lower() in ("1", "on", "true", "yes", "enabled"):
        return True
    if text.lower() in ("0", "off", "false", "no", "disabled"):
        return False
    raise ValueError(text)


def add_options(parser: argparse.ArgumentParser, *groups: Group, environ: Mapping[str, str] = os.environ) -> None:
    """Add options to a parser, with defaults from the environment."""
    for group in groups:
        section = parser.add_argument_group(group.title)
        for option in group:
            default = option.default
            if option.env and (text := environ.get(f"LLAMA_ARG_{option.env}")) is not None:
                try:
                    default = (_truth if option.type is bool else option.type)(text)
                except ValueError:
                    parser.error(f"LLAMA_ARG_{option.env}: expected {_kind(option)}, found {text!r}")
            if option.type is bool:
                section.add_argument(*option.names, dest=option.to, action="store_true", default=default, help=_shown(option))
                if option.off:
                    section.add_argument(*option.off, dest=option.to, action="store_false", default=default, help=option.off_help)
            else:
                action = "append" if option.many else "store"
                section.add_argument(
                    *option.names, dest=option.to, type=option.type, default=default, help=_shown(option), metavar=option.metavar, action=action
                )


def _shown(option: Option) -> str:
    """The option's help, with its default and its variable."""
    default = ",".join(map(str, option.default)) if isinstance(option.default, list) else option.default
    shown = option.help if option.type is bool or default in (None, "") else f"{option.help} (default: {default})"
    return f"{shown} (env: LLAMA_ARG_{option.env})" if option.env else shown


def _kind(option: Option) -> str:
    return {bool: "on or off", int: "an integer", float: "a number"}.get(option.type, "text")  # type: ignore[call-overload]
