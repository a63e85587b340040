"""Compiled programs, kept by the shapes of their arguments, so that compiling is seen, timed and never happens twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax


class Programs:
    """Runs jitted functions, compiling each for new shapes ahead of its first call.

    Attributes:
        seconds: time spent compiling.
        count: programs compiled.
    """

    def __init__(self, notify: Callable[[str], None] | None = None):
        self.seconds, self.count = 0.0, 0
        self.notify = notify
        self._compiled: dict[Any, Any] = {}

    def __call__(self, function: Any, *args: Any, **static: Any) -> Any:
        """`function(*args, **static)`; `static` are the keyword arguments it was jitted with as static."""
        leaves, tree = jax.tree.flatten(args)
        key = (function, tree, tuple((x.shape, x.dtype) for x in leaves), tuple(static.items()))
        found = self._compiled.get(key)
        if found is None:
            if self.notify:
                self.notify(function.__name__)
            start = time.perf_counter()
            found = self._compiled[key] = function.lower(*args, **static).compile()
            self.seconds += time.perf_counter() - start
            self.count += 1
        return found(*args)
