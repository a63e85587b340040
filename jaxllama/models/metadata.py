"""The metadata of a file as an architecture reads them: checked, and with a note of what was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxllama.formats.gguf import GGUFError, GGUFFile

MAX_LAYERS, MAX_EXPERTS = 1024, 1024  # far beyond any model: a hostile file must not make us build long lists


class Metadata:
    """Metadata of one architecture: keys without the `llama.` in front, checked as they are read.

    Attributes:
        file: where they come from.
        architecture: its `general.architecture`.
        read: the keys that were asked for, whether or not the file has them.
    """

    def __init__(self, file: GGUFFile):
        self.file = file
        self.architecture = str(file.require("general.architecture"))
        self.read: set[str] = set()

    def fail(self, key: str, expected: str, found: object) -> GGUFError:
        """The error to raise where a value is none that this architecture can have."""
        return GGUFError(self.file.path, f"{self.architecture}.{key}", expected=expected, found=found)

    def _get(self, key: str) -> Any:
        self.read.add(key)
        return self.file.get(f"{self.architecture}.{key}")

    def refuse(self, key: str, reason: str) -> None:
        """Refuse a file in which a key has another value than 0: its meaning is not supported."""
        found = self.file.get(f"{self.architecture}.{key}")
        if found:
            raise self.fail(key, f"0: {reason}", found)

    def has(self, key: str) -> bool:
        """Whether the file has a key."""
        return self._get(key) is not None

    def given(self, key: str) -> bool:
        """Whether the user has given a key, which then counts for architectures too whose files may have it without a meaning."""
        name = f"{self.architecture}.{key}"
        return self.file.fields.get(name) is not self.file.shards[0].fields.get(name)

    def has_tensor(self, name: str) -> bool:
        """Whether the file has a tensor."""
        return name in self.file.tensors

    def number(self, key: str, default: float | None = None, *, least: float = 0) -> float:
        """A finite number of at least `least`."""
        found = self._get(key)
        if found is None:
            found = default
        if found is None:
            raise self.fail(key, "this metadata key", "no such key (--override-kv can supply it)")
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not np.isfinite(found) or found < least:
            raise self.fail(key, f"a number of at least {least:g}", found)
        return found

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = 2**31 - 1) -> int:
        """An integer; a per-layer array counts when all its values are the same."""
        found = self._get(key)
        if isinstance(found, np.ndarray):
            if found.size == 0 or (found != found[0]).any():
                raise self.fail(key, "the same value for every layer", found.tolist())
            found = found[0].item()
        return self._whole(key, default if found is None else found, least, most)

    def integers(self, key: str, layers: int, default: int | Sequence[int] | None = None, *, least: int = 1, most: int = 2**31 - 1) -> list[int]:
        """An integer for each layer: from an array, or the same for all.

        Args:
            layers: how many there are.
            default: for all layers, or for each.
        """
        found = self._get(key)
        if found is None:
            found = default
        if not isinstance(found, (np.ndarray, list, tuple)):
            return [self._whole(key, found, least, most)] * layers
        if len(found) != layers:
            raise self.fail(key, f"one value, or one for each of the {layers} layers", f"{len(found)} values")
        return [self._whole(key, value.item() if isinstance(value, np.generic) else value, least, most) for value in found]

    def _whole(self, key: str, value: Any, least: int, most: int) -> int:
        if value is None:
            raise self.fail(key, "this metadata key", "no such key (--override-kv can supply it)")
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.fail(key, f"an integer from {least} to {most}", value)
        return value

    def sections(self, key: str, pairs: int) -> tuple[int, ...]:
        """Four numbers that add up to something: how many of the pairs that rotate belong to each axis."""
        found = self._get(key)
        if found is None:
            raise self.fail(key, "this metadata key", "no such key (--override-kv can supply it)")
        values = [self._whole(key, value, 0, pairs) for value in np.asarray(found).reshape(-1).tolist()]
        if len(values) != 4 or not any(values):
            raise self.fail(key, "four numbers, not all of them 0", values)
        return tuple(values)

    def flag(self, key: str, default: bool) -> bool:
        """A truth value."""
        found = self._get(key)
        if found is None:
            return default
        if not isinstance(found, (bool, np.bool_)):
            raise self.fail(key, "true or false", found)
        return bool(found)

    def text(self, key: str, default: str, *, among: tuple[str, ...]) -> str:
        """One of some texts."""
        found = self._get(key)
        if found is None:
            found = default
        if found not in among:
            raise self.fail(key, f"one of {', '.join(among)}", found)
        return found

    def windows(self, layers: int, period: int) -> list[bool]:
        """For each layer whether it has the sliding window: by `attention.sliding_window_pattern`, one value a layer or the length of a period whose last
        layer has none; 0 for all layers.

        Source: llama.cpp's load_swa_pattern.
        """
        key = "attention.sliding_window_pattern"
        found = self._get(key)
        if isinstance(found, (np.ndarray, list)):
            return self._flags(key, found, layers, "a period, or ")
        period = self._whole(key, period if found is None else found, 0, MAX_LAYERS)
        return [period == 0 or i % period < period - 1 for i in range(layers)]

    def _flags(self, key: str, found: Sequence[Any] | np.ndarray, layers: int, other: str = "") -> list[bool]:
        """A truth value for each layer; `other`: what the key may have instead, for the error."""
        if len(found) != layers or not all(value in (0, 1) for value in found):
            raise self.fail(key, f"{other}0 or 1 for each of the {layers} layers", list(found))
        return [bool(value) for value in found]

    def recurrent_layers(self, layers: int, interval: int) -> list[bool]:
        """For each layer whether it is recurrent: by `attention.recurrent_layers`, or all but every n-th by `full_attention_interval`."""
        key = "attention.recurrent_layers"
        found = self._get(key)
        if isinstance(found, (np.ndarray, list)):
            return self._flags(key, found, layers)
        interval = self.integer("full_attention_interval", interval)
        return [(i + 1) % interval != 0 for i in range(layers)]
