"""Special tokens that users write stay text.

Before a template is rendered, every special token's text inside a message gets a mark after its first character. The mark goes wherever the template puts the
text, and there the token is no longer found; when the prompt is encoded, the marks go. Marks are U+FDD0, a noncharacter that no text means anything by; where
one occurs all the same, it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_MARK, _ESCAPE = "\ufdd0", "\ufdd1"
_MARKED = re.compile(f"{_MARK}({_ESCAPE})?")


class Marks:
    """Marks the special tokens of a vocabulary.

    Args:
        special: the texts of all tokens that a prompt's encoding would find.
    """

    def __init__(self, special: Iterable[str]):
        texts = sorted((t for t in special if len(t) > 1), key=len, reverse=True)
        # A token may begin inside another one, so every place is looked at.
        self._special = re.compile("(?=" + "|".join(map(re.escape, texts)) + ")(.)", re.DOTALL) if texts else None

    def mark(self, value: Any) -> Any:
        """The same text, list or dictionary with marks in all texts, keys of dictionaries included."""
        if isinstance(value, str):
            value = value.replace(_MARK, _MARK + _ESCAPE)
            return value if self._special is None else self._special.sub(rf"\1{_MARK}", value)
        if isinstance(value, dict):
            return {self.mark(k): self.mark(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.mark(v) for v in value]
        return value


def unmark(text: str) -> str:
    """The text without marks."""
    return _MARKED.sub(lambda m: _MARK if m[1] else "", text) if _MARK in text else text
