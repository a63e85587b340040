"""Which tests reach which lines."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from functools import _lru_cache_wrapper
from pathlib import Path
from types import CodeType

CALLS, LINES = 20, 2000  # a test that calls a function more often, or stays in it longer, is taken to reach all its lines, which makes tracing cheap
ENOUGH = -1


class Reach:
    """A plugin of pytest: which tests reach which lines, and the processor seconds of each."""

    def __init__(self, root: Path, package: str):
        self.root, self.package, self.seconds, self.caches = root, package, {}, []
        self.reached: dict[str, dict[str, list[int]]] = {}
        self._start()

    def _start(self) -> None:
        self.calls: dict[int, int] = {}  # by the id of a code, since hashing one takes long; ENOUGH where nothing is to be learned any more
        self.steps: Counter[int] = Counter()
        self.codes: list[CodeType] = []  # those in `calls`, which keeps their ids theirs
        self.lines: defaultdict[str, set[int]] = defaultdict(set)
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _stop(self, test: str) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore
        self.reached[test] = {os.path.relpath(file, self.root): sorted(lines) for file, lines in self.lines.items()}

    def _call(self, frame, event, _):
        code = frame.f_code
        calls = self.calls.get(id(code))
        if calls == ENOUGH:
            return None
        if calls is None:
            self.codes.append(code)
            calls = 0 if code.co_filename.startswith(self.package) else ENOUGH
        elif calls == CALLS:
            calls = ENOUGH
            self._all_of(code)
        self.calls[id(code)] = calls if calls == ENOUGH else calls + 1
        return None if calls == ENOUGH else self._line

    def _line(self, frame, event, _):
        code = frame.f_code
        self.steps[id(code)] += 1
        if self.steps[id(code)] > LINES:
            self.calls[id(code)] = ENOUGH
            self._all_of(code)
            frame.f_trace = None  # returning None does not end it
            return None
        if event == "line":
            self.lines[code.co_filename].add(frame.f_lineno)
        return self._line

    def _all_of(self, code: CodeType) -> None:
        self.lines[code.co_filename].update(line for *_, line in code.co_lines() if line)

    def pytest_collection_finish(self, session):
        self._stop("")
        wrapped = [c for c in gc.get_objects() if isinstance(c, _lru_cache_wrapper)]
        self.caches = [c for c in wrapped if str(self.root) in getattr(getattr(c.__wrapped__, "__code__", None), "co_filename", "")]

    def pytest_runtest_protocol(self, item, nextitem):
        for cache in self.caches:  # else only the first test that asks would reach what is kept
            cache.cache_clear()
        self.began = time.process_time()
        self._start()

    def pytest_runtest_logfinish(self, nodeid):
        self._stop(nodeid)
        self.seconds[nodeid] = time.process_time() - self.began
