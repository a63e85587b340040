"""functionary 3.2's answers: parts that begin with `>>>` and a name, of which "all" is content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from .answer import Call, Parsed, past_space, scanned

_MAY_BEGIN = re.compile(r"\n?(?:>{1,2}|>>>[\w.-]*(?:\n\s*)?)\Z|\n\Z")


@lru_cache
def _begins(names: tuple[str, ...]) -> re.Pattern[str]:
    """What begins a part. A name that is not known is one where arguments follow."""
    return re.compile(rf"\n?>>>(?:({'|'.join(map(re.escape, names))})\n|([\w.-]+)\n(?=\s*\{{))")


def read_functionary(text: str, tools: Sequence[Mapping[str, Any]], found: Parsed, *, final: bool) -> None:
    """Take an answer apart; what comes before its first part is content."""
    begins = _begins(("all", *(t["function"]["name"] for t in tools)))

    def following(at: int) -> tuple[int, str, int]:
        """Where the text before the next part ends, the part's name, and where it begins; no name where there is none yet."""
        if part := begins.search(text, at):
            return part.start(), part[1] or part[2], part.end()
        may = None if final else _MAY_BEGIN.search(text, at)
        return may.start() if may else len(text), "", len(text)

    stop, name, at = following(0)
    if stop or not name:
        name, at = "all", 3 if text.startswith(">>>") and stop else 0
    while True:
        if name == "all":
            stop, name, end = following(at)
            found.content += text[at:stop] if final or name else text[at:stop].rstrip()
            if not name:
                return
            at = end
            continue
        call = Call(name)
        found.calls.append(call)
        span, bad = scanned(text, at)
        if span is not None and span.end is not None:
            call.arguments = span.text(text)
            name, at = "all", past_space(text, span.end)
            continue
        begin = past_space(text, at)
        stop, name, at = following(begin)
        call.arguments = text[begin:stop] if final or name else text[begin:stop].rstrip()
        if not name or (bad is None and not final):  # in an open string, what looks like a part may be text
            return
