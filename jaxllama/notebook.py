"""What a notebook shows while programs are compiled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from typing import Any


def compiling_bar() -> Callable[[str, float | None], None] | None:
    """A function that shows a bar while a program is compiled, and takes it away afterwards; None outside of notebooks."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    shown: list[Any] = []

    def tell(name: str, seconds: float | None) -> None:
        from IPython.display import HTML, display

        text = f"<progress></progress> compiling {escape(name)} ..." if seconds is None else ""
        if shown and shown[0] == shell.execution_count:
            shown[1].update(HTML(text))
        else:  # the first one in this cell
            shown[:] = [shell.execution_count, display(HTML(text), display_id=True)]

    return tell
