"""Compiled programs, kept by the shapes of their arguments, so that compiling is seen, timed and never happens twice; and whose turn it is to run them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import jax


class Turn:
    """One thread's turn.

    Attributes:
        seconds: how long it took, known at its end; neither waiting for it nor compiling counts.
    """

    seconds = 0.0


class Programs:
    """Runs jitted functions, compiling each for new shapes ahead of its first call. Threads may share it: they take turns.

    Attributes:
        seconds: time spent compiling.
        count: programs compiled.
    """

    def __init__(self, notify: Callable[[str], None] | None = None):
        self.seconds, self.count = 0.0, 0
        self.notify = notify
        self._compiled: dict[Any, Any] = {}
        self._lock, self._queue = threading.RLock(), threading.Lock()
        self._holder: int | None = None

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Keep other threads from everything that generations of one model share: its programs and its grammars' tables.

        A turn lasts for a dispatch, never across a `yield` to a caller: he may not come back, and what he starts in between runs in the same thread. A turn
        within a turn is part of it.
        """
        me = threading.get_ident()
        # Whoever waits for the lock holds the queue: a thread that has just had its turn and wants another one cannot overtake.
        with self._queue if self._holder != me else nullcontext():
            self._lock.acquire()
        before, self._holder = self._holder, me
        turn, compiled, start = Turn(), self.seconds, time.perf_counter()
        try:
            yield turn
        finally:
            turn.seconds = time.perf_counter() - start - (self.seconds - compiled)
            self._holder = before
            self._lock.release()

    def __call__(self, function: Any, *args: Any, **static: Any) -> Any:
        """`function(*args, **static)`; `static` are the keyword arguments it was jitted with as static."""
        leaves, tree = jax.tree.flatten(args)
        key = (function, tree, tuple((x.shape, x.dtype) for x in leaves), tuple(static.items()))
        with self.turn():
            found = self._compiled.get(key)
            if found is None:
                if self.notify:
                    self.notify(function.__name__)
                start = time.perf_counter()
                found = self._compiled[key] = function.lower(*args, **static).compile()
                self.seconds += time.perf_counter() - start
                self.count += 1
            return found(*args)
