"""Which notebooks the usual run leaves to the exhaustive one: those that compile for half a minute and longer."""

from __future__ import annotations

import pytest

LONG = ("01_first_tokens.ipynb", "02_quantization.ipynb", "04_grammar.ipynb", "05_speed.ipynb")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in LONG:
            item.add_marker("exhaustive")
