"""Reading a command line: options in any order among the arguments, no abbreviations. An option wins over its variable."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from .kinds import Explained, NotYet
from .option import Option, UsageError, Verb
from .others import INFORM

_INFORM = {name: option.to for option in INFORM for name in option.names}


def parse(verb: Verb, arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> SimpleNamespace:
    """The options' values, by their names in Python; `words`: the other arguments; `told`: what the user should know, a line each; `asked`: the first option
    of INFORM, and then nothing else.

    Raises:
        UsageError: an option is unknown, lacks its value or has one that it cannot have, or belongs to a capability that is still to come.
    """
    index = verb.index
    options = dict.fromkeys(index.values())
    values: dict[str, Any] = {}
    for option, uses in options:
        if uses:
            values.setdefault(option.to, option.start)
    idle: dict[str, list[str]] = {}
    said: dict[str, list[str]] = {}  # what sets each thing, in this order
    variables: dict[str, list[str]] = {}  # the same, of the environment

    def take(option: Option, uses: bool, shown: str, given: Any, by: dict[str, list[str]] = said) -> None:
        """`given`: the value of an option, or whether a switch is on."""
        if option.later and not (option.is_switch and given is False):
            raise UsageError(f"{shown}: {option.later} not supported yet")
        if option.idle or not (uses or option.later):
            idle.setdefault(option.idle or f"`jaxllama {verb.name}` has no use for it", []).append(shown)
        elif not option.later:
            before = values[option.to] if option.many and by.get(option.thing) else []
            values.update((other.to, other.start) for other, used in options if used and option.sets and other.sets == option.sets)
            values[option.to] = [*before, given] if option.many else given
            by.setdefault(option.thing, []).append(shown)

    for option, uses in options:
        if uses and (found := _from_environment(option, environ)) is not None:
            take(option, uses, option.variable, found, variables)
    words: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, value = _split(word)
        if name in _INFORM and name not in index:
            return SimpleNamespace(asked=_INFORM[name])
        if name not in index:
            raise UsageError(_unknown(index, word))
        option, uses = index[name]
        if option.is_switch:
            if value is not None:
                raise UsageError(f"{name}: takes no value, found {value!r}")
            take(option, uses, name, name not in option.off)
            continue
        operands = [value] if value is not None else []
        while len(operands) < option.operands:
            if not rest:
                raise UsageError(f"{name}: expected {'a value' if option.operands == 1 else f'{option.operands} values'}, found none")
            operands.append(rest.pop(0))
        take(option, uses, name, _read(option, name, " ".join(operands)))
    if len(words) < verb.least or (verb.most is not None and len(words) > verb.most):
        wrong = f"unexpected argument {words[verb.most]!r}" if verb.most is not None and len(words) > verb.most else f"expected {verb.words}"
        raise UsageError(wrong)
    repeated = {option.thing for option, uses in options if uses and not option.many}
    told = [f"{', '.join(dict.fromkeys(names))}: no effect; {reason}" for reason, names in idle.items()]
    told += [f"{', '.join(variables[thing])}: no effect; {names[-1]} counts" for thing, names in said.items() if thing in variables]
    for names in (n for thing, n in said.items() if len(n) > 1 and thing in repeated):
        spelled = list(dict.fromkeys(names))
        told.append(f"{', '.join(spelled)}: {'they set the same' if len(spelled) > 1 else f'given {len(names)} times'}; the last counts")
    return SimpleNamespace(**values, words=words, told=told, asked=None)


def _split(word: str) -> tuple[str, str | None]:
    """The name of an option and, of `--name=value`, the value; llama.cpp takes underscores in long names too."""
    if not word.startswith("--"):
        return word, None
    name, equals, value = word.partition("=")
    return name.replace("_", "-"), value if equals else None


def _read(option: Option, shown: str, text: str) -> Any:
    try:
        return option.kind.read(text)
    except NotYet as error:
        raise UsageError(f"{shown} {text}: {error} not supported yet") from None
    except ValueError as error:
        raise UsageError(f"{shown}: {error}" if isinstance(error, Explained) else f"{shown}: expected {option.kind.expected}, found {text!r}") from None


def _from_environment(option: Option, environ: Mapping[str, str]) -> Any:
    """The value of an option's variable; None where it is not set, or is empty where llama.cpp ignores that: for texts, and switches that only turn on."""
    if option.variable_off and option.variable_off in environ:
        return False
    text = environ.get(option.variable) if option.variable else None
    if text is None or (not text and (option.kind.empty or (option.is_switch and not option.off))):
        return None
    value = _read(option, option.variable, text)
    return None if option.is_switch and not value and not option.off else value


def _unknown(index: Mapping[str, tuple[Option, bool]], word: str) -> str:
    name, equals, value = word.partition("=")
    if equals and name in index:  # of a short option: only long ones take their value so, as here
        return f"{name}: takes no value, found {value!r}" if index[name][0].is_switch else f"there is no option {word}; write {name} {value}"
    known = sorted({*index, *_INFORM})
    near = difflib.get_close_matches(_split(word)[0], known, 1, 0.6)
    return f"there is no option {word}" + (f"; did you mean {near[0]}?" if near else "")
