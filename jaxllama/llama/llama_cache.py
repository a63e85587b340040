"""Prompt caches: states by the tokens that they have read."""

from __future__ import annotations

import hashlib
import pickle
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

from .state import LlamaState

Key = tuple[int, ...]


def longest_token_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


class BaseLlamaCache(ABC):
    """States by tokens; asked for tokens, it gives the state that has most of them in common."""

    def __init__(self, capacity_bytes: int = 2 << 30):
        self.capacity_bytes = capacity_bytes

    @property
    @abstractmethod
    def cache_size(self) -> int:
        """Bytes of all states."""

    @abstractmethod
    def keys(self) -> Iterable[Key]:
        """The tokens of all states."""

    @abstractmethod
    def __getitem__(self, key: Sequence[int]) -> LlamaState: ...

    @abstractmethod
    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None: ...

    def __contains__(self, key: Sequence[int]) -> bool:
        return self.find(key) is not None

    def find(self, key: Sequence[int]) -> Key | None:
        """The key with the longest prefix in common; None where none has any."""
        best = max(self.keys(), key=lambda k: longest_token_prefix(k, key), default=None)
        return best if best is not None and longest_token_prefix(best, key) else None


class LlamaRAMCache(BaseLlamaCache):
    """In memory; the states used last stay."""

    def __init__(self, capacity_bytes: int = 2 << 30):
        super().__init__(capacity_bytes)
        self.cache_state: OrderedDict[Key, LlamaState] = OrderedDict()

    @property
    def cache_size(self) -> int:
        return sum(state.llama_state_size for state in self.cache_state.values())

    def keys(self) -> Iterable[Key]:
        return self.cache_state

    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        found = self.find(key)
        if found is None:
            raise KeyError("Key not found")
        self.cache_state.move_to_end(found)
        return self.cache_state[found]

    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None:
        self.cache_state[tuple(key)] = value
        self.cache_state.move_to_end(tuple(key))
        while self.cache_size > self.capacity_bytes and self.cache_state:
            self.cache_state.popitem(last=False)


LlamaCache = LlamaRAMCache


class LlamaDiskCache(BaseLlamaCache):
    """In a folder, a file for each state. Whoever may write there may run code here: states are pickled."""

    def __init__(self, cache_dir: str | Path = ".cache/llama_cache", capacity_bytes: int = 2 << 30):
        super().__init__(capacity_bytes)
        self.folder = Path(cache_dir)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _files(self) -> list[Path]:
        """All states, those used last at the end."""
        return sorted(self.folder.glob("*.state"), key=lambda path: path.stat().st_mtime_ns)

    @property
    def cache_size(self) -> int:
        return sum(path.stat().st_size for path in self._files())

    @staticmethod
    def _read(path: Path) -> tuple[Key, LlamaState]:
        with path.open("rb") as file:
            return pickle.load(file), pickle.load(file)

    def keys(self) -> Iterable[Key]:
        for path in self._files():
            with path.open("rb") as file:
                yield pickle.load(file)

    def _path(self, key: Key) -> Path:
        return self.folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.state"

    def __getitem__(self, key: Sequence[int]) -> LlamaState:
        found = self.find(key)
        if found is None:
            raise KeyError("Key not found")
        path = self._path(found)
        path.touch()
        return self._read(path)[1]

    def __setitem__(self, key: Sequence[int], value: LlamaState) -> None:
        ids = tuple(int(token) for token in key)
        partial = self._path(ids).with_suffix(".partial")
        partial.write_bytes(pickle.dumps(ids) + pickle.dumps(value))
        partial.replace(self._path(ids))
        for path in self._files():
            if self.cache_size <= self.capacity_bytes:
                break
            path.unlink()
