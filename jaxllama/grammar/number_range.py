"""Numbers between limits, as GBNF."""

from __future__ import annotations

from decimal import Decimal
from math import ceil, floor

from .gbnf import literal

_DIGITS = 15  # of whole numbers without a limit: what a double holds exactly
_PLACES = 16


def integers(low: int | None, high: int | None) -> str:
    """Whole numbers from `low` to `high`; None: no limit. Without leading zeros. Empty where there are none."""
    options = []
    if low is None or low < 0:
        options += [f'"-" {part}' for part in _naturals(1 if high is None or high >= 0 else -high, None if low is None else -low)]
    if high is None or high >= 0:
        options += _naturals(max(low or 0, 0), high)
    return "(" + " | ".join(options) + ")" if options else ""


def _naturals(low: int, high: int | None) -> list[str]:
    """Alternatives for whole numbers of 0 and more."""
    if high is None:
        digits = len(str(low))
        more = f"[1-9] [0-9]{{{digits},{max(_DIGITS, digits)}}}"
        return [*_naturals(low, 10**digits - 1), more]
    if low > high:
        return []
    found = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (digits - 1) if digits > 1 else 0), min(high, 10**digits - 1)
        found += _same_length(str(first), str(last))
    return found


def _same_length(low: str, high: str) -> list[str]:
    """Alternatives for texts of digits of one length, between two of them."""
    if low == high:
        return [literal(low)]
    if low[0] == high[0]:
        rest = _same_length(low[1:], high[1:])
        return [f"{literal(low[0])} {rest[0]}" if len(rest) == 1 else f"{literal(low[0])} ({' | '.join(rest)})"]
    if len(low) == 1:
        return [f"[{low}-{high}]"]
    a, b, found = int(low[0]), int(high[0]), []
    if set(low[1:]) != {"0"}:
        found += _same_length(low, low[0] + "9" * (len(low) - 1))
        a += 1
    last = []
    if set(high[1:]) != {"9"}:
        last = _same_length(high[0] + "0" * (len(high) - 1), high)
        b -= 1
    if a <= b:
        digit = literal(str(a)) if a == b else f"[{a}-{b}]"
        found.append(f"{digit} [0-9]{{{len(low) - 1}}}" if len(low) > 2 else f"{digit} [0-9]")
    return found + last


def numbers(low: Decimal | None, high: Decimal | None, *, above: bool, below: bool) -> str:
    """Decimal numbers between limits, which are excluded where `above` and `below` say so. No exponents. Empty where there are none."""
    options = []
    if high is None or high >= 0:
        options += _positive(max(low, Decimal(0)) if low is not None else Decimal(0), high, above and low is not None and low >= 0, below)
    if low is None or low < 0:
        most = None if low is None else -low
        least = Decimal(0) if high is None or high >= 0 else -high
        options += [f'"-" ({part})' for part in _positive(least, most, (below and high is not None and high <= 0) or least == 0, above)]
    return "(" + " | ".join(options) + ")" if options else ""


def _positive(low: Decimal, high: Decimal | None, above: bool, below: bool) -> list[str]:
    """Alternatives for numbers of 0 and more."""
    if high is not None and (low > high or (low == high and (above or below))):
        return []
    first, last = floor(low), None if high is None else floor(high)
    found = []
    fraction = f'("." [0-9]{{1,{_PLACES}}})?'
    if last == first:
        assert high is not None
        return [f"{literal(str(first))} {part}" for part in _fractions(low - first, high - first, above, below)]
    found += [f"{literal(str(first))} {part}" for part in _fractions(low - first, None, above, False)]
    middle = integers(first + 1, None if last is None else last - 1)
    if middle:
        found.append(f"{middle} {fraction}")
    if last is not None and high is not None and not (below and high == last):
        found += [f"{literal(str(last))} {part}" for part in _fractions(Decimal(0), high - last, False, below)]
    return found


def _fractions(low: Decimal, high: Decimal | None, above: bool, below: bool) -> list[str]:
    """Alternatives for what comes after a whole number, between two fractions of one; `high` None: below one."""
    found = []
    a = _places(low)
    b = None if high is None else _places(high)
    if low == 0 and not above:
        found.append('""')
    digits = max(len(a), len(b or ""), 1)
    a, last = a.ljust(digits, "0"), "9" * digits if b is None else b.ljust(digits, "0")
    # A text of digits that begins with one strictly between the limits may go on as it likes.
    inner_low, inner_high = int(a), int(last) if b is None else int(last) - 1
    more = f"[0-9]{{0,{_PLACES}}}"
    if above and inner_low <= inner_high:
        found.append(f"{literal('.' + a)} [0-9]{{0,{_PLACES}}} [1-9]")
        inner_low += 1
    if inner_low <= inner_high:
        found += [f'"." ({" | ".join(_same_length(str(inner_low).rjust(digits, "0"), str(inner_high).rjust(digits, "0")))}) {more}']
    if b is not None and not below and int(last) > 0:
        found.append(f'{literal("." + last)} "0"{{0,4}}')
    # Shorter texts than the limits have, as 0.5 between 0.25 and 0.75.
    for short in range(1, digits):
        lows = ceil(Decimal(int(a)) / 10 ** (digits - short))
        top = int(last) if b is not None else 10**digits - 1
        highs = top // 10 ** (digits - short)
        if above and lows * 10 ** (digits - short) == int(a):
            lows += 1
        if b is not None and below and highs * 10 ** (digits - short) == int(last):
            highs -= 1
        if lows <= highs:
            found.append(f'"." ({" | ".join(_same_length(str(lows).rjust(short, "0"), str(highs).rjust(short, "0")))})')
    return found


def _places(value: Decimal) -> str:
    """The digits of a fraction of one, without zeros at the end."""
    text = format(value.normalize(), "f")
    return text.partition(".")[2]
