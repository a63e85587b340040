"""Names of the files of a split model: `prefix-00001-of-00003.gguf`, counted from 1."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import GGUFError

_NAME = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


def shard_name(prefix: str, number: int, count: int) -> str:
    """The name of shard `number` (from 0) of `count`."""
    return f"{prefix}-{number + 1:05d}-of-{count:05d}.gguf"


def shard_paths(first: Path, count: int) -> list[Path]:
    """All files of a split model, from the path of the first."""
    match = _NAME.fullmatch(first.name)
    if match is None or int(match[2]) != 1 or int(match[3]) != count:
        raise GGUFError(first, "file name", expected=f"NAME{shard_name('', 0, count)} (the metadata says {count} files)", found=first.name)
    return [first.with_name(shard_name(match[1], i, count)) for i in range(count)]
