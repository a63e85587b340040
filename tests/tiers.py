"""Which cases of a law the usual run looks at, where there are dozens that differ little: one of each kind. `pytest -m exhaustive` looks at the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

# A legacy format, one with scales of scales, a grid, one of four bits in floating point, one of three values, and floats.
FORMATS = ("Q4_0", "Q4_K", "IQ2_XS", "MXFP4", "TQ2_0", "F16")


def telling(cases: Iterable[Any], chosen: Iterable[Any] = FORMATS) -> list[Any]:
    """All cases for `parametrize`; those that are not chosen belong to the exhaustive run."""
    return [case if case in chosen else pytest.param(case, marks=pytest.mark.exhaustive) for case in cases]
