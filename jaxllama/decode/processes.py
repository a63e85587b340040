"""What becomes of a model's programs when its process forks, or ends while threads are still generating."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Protocol
from weakref import WeakSet

PATIENCE = 5.0  # seconds that the end of a process waits for the dispatches of threads that nobody joins


class Shared(Protocol):
    """What threads take turns with."""

    def acquire(self, timeout: float) -> bool: ...


_shared: WeakSet[Shared] = WeakSet()
_forked = False


def watch(shared: Shared) -> None:
    """Take part in what happens when the process forks or ends."""
    _shared.add(shared)


def check_process() -> None:
    """Raises RuntimeError in a process that was forked from one with a model: XLA's threads are not there, so it would wait for ever."""
    if _forked:
        raise RuntimeError(
            "this process was forked from one that had loaded a model, and XLA's threads do not survive a fork; "
            "load models after forking, or start processes with multiprocessing.get_context('spawn')"
        )


def _after_fork() -> None:
    global _forked
    _forked = _forked or len(_shared) > 0


def _at_exit() -> None:
    """Keep daemon threads out of XLA from here on: Python ends them where they next ask for the interpreter, and inside of XLA that aborts the process."""
    if _forked:
        return
    end = time.monotonic() + PATIENCE
    for shared in list(_shared):
        shared.acquire(max(0.0, end - time.monotonic()))
    if any(thread.daemon for thread in threading.enumerate()):
        time.sleep(0.05)  # what they do between two turns


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
