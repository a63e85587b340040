"""The one exception for files that are not what they should be."""

from __future__ import annotations

from pathlib import Path


class GGUFError(ValueError):
    """A GGUF file, or something asked of one, is wrong.

    The message names the file, the field, what was expected and what was found; the same four are attributes.
    """

    def __init__(self, path: str | Path, field: str, *, expected: str, found: object):
        self.path, self.field, self.expected, self.found = str(path), field, expected, found
        text = str(found)
        super().__init__(f"{path}: {field}: expected {expected}, found {text if len(text) <= 200 else text[:200] + '...'}")
