"""The names of options: one that a function does not take is an error that names the nearest of what it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


def refuse_unknown(function: str, given: Iterable[str], known: Iterable[str], elsewhere: Mapping[str, str] = {}) -> None:
    """Refuse a name that a function does not take.

    Args:
        elsewhere: names that are looked for here, and what does that instead.

    Raises:
        TypeError: there is such a name; the text has the nearest that is taken.
    """
    taken = sorted(known)
    for name in sorted(set(given) - set(taken)):
        begins = sorted((one for one in taken if len(name) > 2 and one.startswith(name)), key=len)  # `temp` is no slip of the pen but short for `temperature`
        near = begins or get_close_matches(name, [*taken, *elsewhere], 1) or [one for one in taken if name in one or one in name]
        advice = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(taken)}"
        raise TypeError(f"{function} takes no option '{name}'; {elsewhere.get(near[0], advice) if near else advice}")


def tells_nearest(function: _Function) -> _Function:
    """A function whose parameters are all named, with `refuse_unknown` in place of Python's own error."""
    parameters = signature(function).parameters.values()
    assert not any(p.kind is Parameter.VAR_KEYWORD for p in parameters), f"{function.__name__} takes options that have no names here"
    named = [p.name for p in parameters if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    taken = [name for name in named if name != "self"]

    @wraps(function)
    def told(*arguments: Any, **options: Any) -> Any:
        refuse_unknown(function.__name__, options, taken)
        return function(*arguments, **options)

    return cast("_Function", told)
