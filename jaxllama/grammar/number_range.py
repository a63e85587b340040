"""Numbers between limits, as GBNF.

A whole number has no point and no exponent; -0 is 0. A number has an exponent only where it is 0. Before the point are at most 21 digits, or one more than a
limit has; after it at most 24, or 24 more than a limit has: as many as Python and JavaScript write of a double.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from .gbnf import literal

DIGITS = 21  # of whole numbers without a limit
PLACES = 24
_FEW = 8  # places that are counted exactly
_DEEP = 40  # digits
EXPONENT = "([eE] [-+]? [0-9]{1,3})?"


def integers(low: int | None, high: int | None) -> str:
    """Whole numbers from `low` to `high`; None: no limit. Without leading zeros. Empty where there are none."""
    options = []
    if low is None or low < 0:
        options += [f'"-" {part}' for part in _naturals(1 if high is None or high >= 0 else -high, None if low is None else -low)]
    if high is None or high >= 0:
        options += _naturals(max(low or 0, 0), high)
    if (low is None or low <= 0) and (high is None or high >= 0):
        options.append('"-0"')
    return "(" + " | ".join(options) + ")" if options else ""


def _naturals(low: int, high: int | None) -> list[str]:
    """Alternatives for whole numbers of 0 and more."""
    digits = len(str(low))
    if high is None:
        return [*_naturals(low, 10**digits - 1), f"[1-9] [0-9]{{{digits},{max(DIGITS - 1, digits)}}}"]
    if low > high:
        return []
    most = len(str(high))
    if digits == most:
        return _same_length(str(low), str(high))
    found = _same_length(str(low), "9" * digits)
    if digits + 1 < most:
        found.append(f"[1-9] [0-9]{{{digits},{most - 2}}}")
    return found + _same_length("1" + "0" * (most - 1), str(high))


def _same_length(low: str, high: str) -> list[str]:
    """Alternatives for texts of digits of one length, between two of them."""
    if low == high:
        return [literal(low)] if low else ['""']
    same = next(n for n in range(len(low)) if low[n] != high[n])
    if same:
        rest = _same_length(low[same:], high[same:])
        return [f"{literal(low[:same])} {_one_of(rest)}"]
    a, b, found, last = int(low[0]), int(high[0]), [], []
    if set(low[1:]) - {"0"}:
        found = [f"{literal(low[0])} {_one_of(_same_length(low[1:], '9' * (len(low) - 1)))}"]
        a += 1
    if set(high[1:]) - {"9"}:
        last = [f"{literal(high[0])} {_one_of(_same_length('0' * (len(high) - 1), high[1:]))}"]
        b -= 1
    if len(low) > _DEEP:  # one alternative for each place, without parentheses in parentheses
        found = [_following(low, n, int(low[n]) + 1, 9) for n in range(1, len(low)) if low[n] < "9"] + [literal(low)] if found else []
        last = [_following(high, n, 0, int(high[n]) - 1) for n in range(1, len(high)) if high[n] > "0"] + [literal(high)] if last else []
    if a <= b:
        found.append(_digit(a, b) + (f" [0-9]{{{len(low) - 1}}}" if len(low) > 1 else ""))
    return found + last


def _following(digits: str, place: int, low: int, high: int) -> str:
    """Texts of digits that are others from a place on."""
    rest = len(digits) - place - 1
    return f"{literal(digits[:place])} {_digit(low, high)}" + (f" [0-9]{{{rest}}}" if rest else "")


def _digit(low: int, high: int) -> str:
    return literal(str(low)) if low == high else f"[{low}-{high}]"


def _one_of(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"


def numbers(low: Decimal | None, high: Decimal | None, *, above: bool, below: bool, places: int | None = None) -> str:
    """Decimal numbers between limits, which are excluded where `above` and `below` say so. Empty where there are none.

    Args:
        places: that there may be after the point; None: some more than the limits have.
    """
    options = []
    if places is None:
        places = PLACES + max(len(_places(limit)) for limit in (low or Decimal(0), high or Decimal(0)))
    if (low is None or low < 0 or (low == 0 and not above)) and (high is None or high > 0 or (high == 0 and not below)):
        options.append(f'"-"? "0"{_zeros(places)} {EXPONENT}')
    if high is None or high > 0:
        options += _positive(Decimal(0) if low is None else max(low, Decimal(0)), high, low is None or low < 0 or above, below, places)
    if low is None or low < 0:
        least, most = Decimal(0) if high is None else max(high.copy_negate(), Decimal(0)), None if low is None else low.copy_negate()
        options += [f'"-" {part}' for part in _positive(least, most, high is None or high > 0 or below, above, places)]
    return "(" + " | ".join(options) + ")" if options else ""


MOST_MULTIPLES = 1000


def multiples(of: Decimal, low: Decimal | None, high: Decimal | None, *, above: bool, below: bool, whole: bool) -> str | None:
    """Multiples of a number between limits: any of 1, 0.1, 0.01 and so on; of others those that can be counted. Empty where there are none, None where
    there are too many.

    Args:
        whole: whole numbers only.
    """
    step, places = Fraction(of), len(_places(of))
    if step == Fraction(1, 10**places) and not whole and places <= _FEW:
        return numbers(low, high, above=above, below=below, places=places)
    least, most = (None if limit is None else Fraction(limit) for limit in (low, high))
    if whole:
        step = Fraction(step.numerator)  # the whole ones among them
    first = None if least is None else floor(least / step) + 1 if above else ceil(least / step)
    last = None if most is None else ceil(most / step) - 1 if below else floor(most / step)
    if step == 1:
        return integers(first, last)
    if first is None or last is None or last - first >= MOST_MULTIPLES:
        return None
    return " | ".join(_multiple(n * step, places, whole) for n in range(first, last + 1))


def _multiple(value: Fraction, places: int, whole: bool) -> str:
    if value.denominator == 1:
        return literal(str(value)) + ("" if whole else ' ("." "0")?')
    return literal(format(Decimal(f"{value * 10**places}E-{places}"), "f").rstrip("0"))


def _zeros(places: int) -> str:
    return f' ("." "0"{{1,{places}}})?' if places else ""


def _positive(low: Decimal, high: Decimal | None, above: bool, below: bool, places: int) -> list[str]:
    """Alternatives for numbers above 0."""
    if high is not None and (low > high or (low == high and (above or below))):
        return []
    first, last = floor(low), None if high is None else floor(high)
    a, b = _places(low), None if high is None else _places(high)
    if last == first:
        return _with_point(first, a, b, above, below, places)
    whole = not a and not above  # the first one may be followed by anything
    found = [] if whole else _with_point(first, a, None, above, False, places)
    if middle := _naturals(first + (not whole), None if last is None else last - 1):
        found.append(f"({' | '.join(middle)})" + (f' ("." [0-9]{{1,{places}}})?' if places else ""))
    return found if last is None else found + _with_point(last, "", b, False, below, places)


def _with_point(whole: int, low: str, high: str | None, above: bool, below: bool, places: int) -> list[str]:
    """Alternatives for numbers that begin with a whole one."""
    digits = _digits(low, high, above, below, places)
    more = [d for d in digits if d]
    point = f'"." {_one_of(more)}' if more else ""
    if "" in digits:
        return [f"{literal(str(whole))} ({point})?" if point else literal(str(whole))]
    return [f"{literal(str(whole))} {point}"] if point else []


def _digits(low: str | None, high: str | None, above: bool, below: bool, places: int) -> list[str]:
    """Alternatives for digits after the point, an empty one where there may be none.

    Args:
        low, high: limits without zeros at the end, which are excluded where `above` and `below` say so. None: the digits before are between the limits already.
        places: that may be.
    """
    low = None if low == "" and not above else low
    if high == "" and (below or low is not None):
        return []
    if places == 0:
        return [""] if low is None else []
    if not low and not high:
        if low is None:
            return ["", f"[0-9]{{1,{places}}}" if high is None else f'"0"{{1,{places}}}']
        return _not_zero(places - 1, places)
    same = _same_beginning(low, high)
    if same > places:
        return [] if low is not None else ["", f'"0"{{1,{places}}}'] if high else []
    if same and low is not None and high is not None:
        return [f"{literal(high[:same])}{_more(_digits(low[same:], high[same:], above, below, places - same))}"]
    if same:  # zeros
        rest = _digits(low and low[same:], high and high[same:], above, below, places - same)
        if low is None:
            return ["", f'"0"{{1,{same}}}', *(f'"0"{{{same}}} {d}' for d in rest if d)]
        return [*_not_zero(same - 1, places), *(f'"0"{{{same}}} {d}' for d in rest)]
    a, b, found = int(low[0]) if low else 0, int(high[0]) if high else 9, [""] if low is None else []
    if low is not None:
        found += _after(a, _digits(low[1:], None, above, below, places - 1))
    if high is not None:
        found += _after(b, _digits(None, high[1:], above, below, places - 1))
    first, last = a + (low is not None), b - (high is not None)
    return [*found, f"{_digit(first, last)} [0-9]{{0,{places - 1}}}"] if first <= last else found


def _not_zero(zeros: int, places: int) -> list[str]:
    """Up to some zeros, and then another digit and what comes after it; where many places may be, some more are no matter."""
    if places > _FEW:
        return [f'"0"{{0,{zeros}}} [1-9] [0-9]{{0,{places - 1}}}']
    return [(f'"0"{{{n}}} ' if n else "") + f"[1-9] [0-9]{{0,{places - 1 - n}}}" for n in range(zeros + 1)]


def _same_beginning(low: str | None, high: str | None) -> int:
    """How many digits of both limits are the same; beside one limit alone, how many zeros it begins with."""
    if low is None or high is None:
        text = low or high or ""
        return len(text) - len(text.lstrip("0"))
    low = low.ljust(len(high), "0")
    return next((n for n in range(len(high)) if low[n] != high[n]), len(high))


def _after(digit: int, more: list[str]) -> list[str]:
    return [literal(str(digit)) + (f" {d}" if d else "") for d in more]


def _more(options: list[str]) -> str:
    """What comes next, where that may be nothing."""
    some = [o for o in options if o]
    return f" ({' | '.join(some)})" + "?" * ("" in options) if some else ""


def _places(value: Decimal) -> str:
    """The digits of a fraction of one, without zeros at the end."""
    return format(value, "f").partition(".")[2].rstrip("0")
