"""An answer's text -> content, reasoning and calls, whole or while it is being written.

`parse` looks at all the text there is. What it returns for the beginning of an answer is a beginning of what it returns for more of it, so a stream is read by
parsing again and sending what is new; the pieces in which the text comes make no difference. To keep that promise, text that may still turn out to be
(part of) a marker, and white space that a marker would take away, is held back until it is certain, or the answer has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answer import Parsed, find_mark, held, past_mark, past_space
from .calls import READERS, NoCall, read_bare
from .functionary import read_functionary
from .harmony import read_harmony
from .syntax import FUNCTIONARY, GENERIC, HARMONY, NAMED, TAGGED, AnswerSyntax, ToolSyntax

FORMATS = ("auto", "deepseek", "deepseek-legacy", "none")


def parse(
    text: str, syntax: AnswerSyntax, tools: Sequence[Mapping[str, Any]] = (), *, final: bool = True, reasoning_format: str = "auto", calls: bool = True
) -> Parsed:
    """Take an answer apart.

    Args:
        text: what the model has written so far.
        syntax: what answers look like.
        tools: those that the model knows; for the types of arguments that are written as text.
        final: the answer has ended.
        reasoning_format: "none" leaves reasoning in the content, "deepseek-legacy" has it in both places, "auto" and "deepseek" take it out.
        calls: look for calls at all.
    """
    if syntax.tools.kind == HARMONY:
        return read_harmony(text, final=final, reasoning_format=reasoning_format)
    found = Parsed()
    start = 0 if reasoning_format == "none" or not syntax.reasoning[1] else _reasoning(text, syntax, final, found)
    if start is not None:
        rest = text[start:]
        if syntax.tools.kind == FUNCTIONARY:
            read_functionary(syntax.prefix + rest, tools, found, final=final)
        elif calls:
            form = GENERIC if syntax.generic and rest.lstrip().startswith("{") else syntax.tools
            if form.bare:
                read_bare(rest, form, found, final=final)
            else:
                _content_and_calls(rest, form, tools, final, found)
        else:
            found.content = held(rest, [], final=final)
    if reasoning_format == "deepseek-legacy":
        if final or start is not None or not syntax.reasoning[0].startswith(text.lstrip()):  # else it is not known yet whether that is a thought
            found.content = text[:start] + found.content
    elif start:
        found.content = found.content.lstrip()
    return found


def _reasoning(text: str, syntax: AnswerSyntax, final: bool, found: Parsed) -> int | None:
    """Read reasoning; where the rest begins, or None where that is not known yet."""
    start, end = syntax.reasoning
    at = len(text) - len(text.lstrip())
    if text.startswith(start, at):
        begin = at + len(start)
    elif syntax.opened:
        begin = 0
    elif not final and start.startswith(text[at:]):
        return None
    else:
        return 0
    stop = text.find(end, begin)
    if stop < 0:
        found.reasoning = held(text[begin:], [end], final=final).strip()
        return None
    found.reasoning = text[begin:stop].strip()
    return stop + len(end)


def _starts(syntax: ToolSyntax) -> list[str]:
    """What begins one call."""
    return [syntax.call_start.strip(), *filter(None, [syntax.short_start])]


def _openings(syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """What ends content: the mark around all calls or around one; or less than that, if the name of a tool follows."""
    found, mark = [syntax.trigger], _starts(syntax)[-1]
    if syntax.kind in (NAMED, TAGGED) and mark != syntax.trigger:
        behind = ":" if syntax.name_suffix else syntax.name_end
        found += [f"{mark}{syntax.name_prefix}{tool['function']['name']} {behind}" for tool in tools]
    return found


def _content_and_calls(text: str, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> None:
    """Words are content wherever they stand, as they are written: with the white space around the calls between them."""
    openings = _openings(syntax, tools)
    content, at, after = "", 0, 0
    while True:
        begin, opened = find_mark(text, after, openings, final=final)
        piece = text[at:begin]
        if opened is None:
            content = _joined(content, piece, at)
            found.content = content if final and (piece.strip() or not at) else content.rstrip()
            return
        try:
            end = _calls(text, begin, syntax, tools, final, found)
        except NoCall as error:
            after = max(error.at, opened)
            if error.at > begin:
                content, at = _joined(content, piece, at), len(text[: error.at].rstrip())
            continue
        content = _joined(content, piece, at)
        if end is None:
            found.content = content.rstrip()
            return
        at = after = end


def _joined(content: str, piece: str, at: int) -> str:
    """Content, and more of it from a place on; nothing where that is white space behind a call, or before the first."""
    if not piece.strip():
        return content if content or at else piece
    return content + (piece if content or not at else piece.lstrip())


def _calls(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    """Read a call, or all those between the marks around them; where they end, or None where that is not known yet."""
    section = past_mark(text, at, syntax.section_start) if syntax.section_start else 0
    starts, first, ended = _starts(syntax), True, section or at
    while True:
        place = past_space(text, ended)
        closed = past_mark(text, place, syntax.section_end) if section and syntax.section_end else 0
        if closed:
            return closed
        if syntax.call_start:
            begins = [past_mark(text, place, m) for m in starts]
        else:
            begins = [None if place == len(text) else place if first or text[place] in "{[" else 0]
        begin = next(filter(None, begins), None)
        if begin is None:
            return None if not final and None in (closed, *begins) else ended
        try:
            end = READERS[syntax.kind](text, begin, syntax, tools, final, found)
        except NoCall as error:
            raise NoCall(error.at or (at if first else ended)) from None
        if end is None:
            return None
        first, ended = False, end
        for mark in (*syntax.call_end.split(), *([syntax.section_end] if syntax.listed and syntax.section_end else ())):
            end = past_mark(text, past_space(text, ended), mark)
            if end is None and not final:
                return None
            ended = end or ended
        if not section or syntax.listed:
            return ended
