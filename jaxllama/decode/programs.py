"""Compiled programs, kept by the shapes of their arguments, so that compiling is seen, timed and never happens twice; and whose turn it is to run them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import jax
import jax.monitoring

from jaxllama.quant import format_changes

from .processes import check_process, watch
from .sampling import Sampling

_log = logging.getLogger(__name__)
MOST_OWN = 16  # programs with samplers of the caller's own; a function takes two or three


_cache_hits = threading.local()


def _hits() -> int:
    """How many programs this thread has had from the compilation cache."""
    return getattr(_cache_hits, "count", 0)


def _heard(event: str, **_: Any) -> None:
    if event == "/jax/compilation_cache/cache_hits":
        _cache_hits.count = _hits() + 1


jax.monitoring.register_event_listener(_heard)


def _in_32_bits() -> AbstractContextManager[None]:
    """What programs are traced in, whatever jax_enable_x64 is: numbers have the types that kernels read."""
    return jax.enable_x64(False)


class Turn:
    """One thread's turn.

    Attributes:
        seconds: how long it took, known at its end; neither waiting for it nor compiling counts.
    """

    seconds = 0.0


class Programs:
    """Runs jitted functions, compiling each for new shapes ahead of its first call. Threads may share it: they take turns.

    Programs with samplers of the caller's own belong to the function object, and another object is another program, even with the same code. Of these, the
    `MOST_OWN` used last are kept.

    Attributes:
        seconds: time spent compiling, or loading what the compilation cache has.
        count: programs compiled or loaded.
        cached_seconds, cached: of those, what the cache had.
        notify: called with a program's name before it is compiled; None for nobody.
        done: called with its name and the seconds afterwards.
    """

    done: Callable[[str, float], None] | None = None

    def __init__(self, notify: Callable[[str], None] | None = None):
        self.seconds, self.count = 0.0, 0
        self.cached_seconds, self.cached = 0.0, 0
        self.notify = notify
        self._compiled: dict[Any, Any] = {}
        self._own: dict[Any, None] = {}  # keys of programs with samplers of the caller's own, those used last at the end
        self._told = False
        self._lock, self._queue = threading.RLock(), threading.Lock()
        self._holder: int | None = None
        watch(self)

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Keep other threads from everything that generations of one model share: its programs and its grammars' tables.

        A turn lasts for a dispatch, never across a `yield` to a caller: he may not come back, and what he starts in between runs in the same thread. A turn
        within a turn is part of it.

        Raises:
            RuntimeError: the process was forked after a model was loaded.
        """
        check_process()
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

    def acquire(self, timeout: float) -> bool:
        """Take the turn for good; whether that was possible within so many seconds."""
        start = time.monotonic()
        return self._queue.acquire(timeout=timeout) and self._lock.acquire(timeout=max(0.0, timeout - (time.monotonic() - start)))

    def tell(self, compiling: Callable[[str, float | None], None] | None) -> None:
        """Let one function be told of both ends: (name, None), and (name, seconds)."""
        self.notify = None if compiling is None else lambda name: compiling(name, None)
        self.done = compiling

    def prepare(self, function: Any, *args: Any, **static: Any) -> None:
        """Compile what `self(function, *args, **static)` would run; arrays may be given by their shapes (`jax.ShapeDtypeStruct`)."""
        with _in_32_bits():
            self._find(function, args, static)

    def __call__(self, function: Any, *args: Any, **static: Any) -> Any:
        """`function(*args, **static)`; `static` are the keyword arguments it was jitted with as static."""
        with self.turn(), _in_32_bits():
            if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
                return function(*args, **static)
            return self._find(function, args, static)(*args)

    def _find(self, function: Any, args: tuple[Any, ...], static: dict[str, Any]) -> Any:
        leaves, tree = jax.tree.flatten(args)
        key = (function, tree, tuple((x.shape, x.dtype) for x in leaves), tuple(static.items()), format_changes())
        own = any(callable(one) for arg in args if isinstance(arg, Sampling) for one in arg.chain)
        with self.turn():
            found = self._compiled.get(key)
            if found is None:
                if self.notify:
                    self.notify(function.__name__)
                start, hits = time.perf_counter(), _hits()
                lowered = _apart(function, args, static).lower(*args) if own else function.lower(*args, **static)
                found = self._compiled[key] = lowered.compile()
                seconds = time.perf_counter() - start
                self.seconds, self.count = self.seconds + seconds, self.count + 1
                if _hits() > hits:
                    self.cached_seconds, self.cached = self.cached_seconds + seconds, self.cached + 1
                if self.done:
                    self.done(function.__name__, seconds)
            if own:
                self._use_own(key)
            return found

    def _use_own(self, key: Any) -> None:
        self._own.pop(key, None)
        self._own[key] = None
        if len(self._own) <= MOST_OWN:
            return
        oldest = next(iter(self._own))
        del self._own[oldest], self._compiled[oldest]
        if not self._told:
            self._told = True
            _log.warning("many different sampler functions: each is compiled anew. Define a sampler once and pass the same object every time, not a new lambda")


def _apart(function: Any, args: Sequence[Any], static: dict[str, Any]) -> Any:
    """A jitted function as an object of its own: with it go its executables. Those of a function that stays are kept by JAX, too, whoever lets go of them."""
    plain = [replace(arg, chain=("top_k",)) if isinstance(arg, Sampling) else arg for arg in args]
    infos, _ = function.trace(*plain, **static).args_info
    donated = [n for n, info in enumerate(infos) if (leaves := jax.tree.leaves(info)) and all(leaf.donated for leaf in leaves)]

    def alone(*given: Any) -> Any:
        return function.__wrapped__(*given, **static)

    alone.__name__ = function.__name__
    return jax.jit(alone, donate_argnums=donated)
