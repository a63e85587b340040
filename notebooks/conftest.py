"""Which notebooks the usual run leaves to the exhaustive one: those that compile for the better part of a minute."""

from __future__ import annotations

import pytest

LONG = ("02_quantization.ipynb", "04_grammar.ipynb")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in LONG:
            item.add_marker("exhaustive")
