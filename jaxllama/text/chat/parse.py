"""An answer's text -> content, reasoning and calls, whole or while it is being written.

`parse` looks at all the text there is. What it returns for the beginning of an answer is a beginning of what it returns for more of it, so a stream is read by
parsing again and sending what is new; the pieces in which the text comes make no difference. To keep that promise, text that may still turn out to be
(part of) a marker, and white space that a marker would take away, is held back until it is certain, or the answer has ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from .partial_json import Invalid, Span, scan
from .syntax import FUNCTIONARY, GEMMA, GENERIC, HARMONY, JSON, NAMED, TAGGED, AnswerSyntax, ToolSyntax

FORMATS = ("auto", "deepseek", "deepseek-legacy", "none")


@dataclass
class Call:
    """A call of a tool: its name, its arguments as JSON text (which may be unfinished), and an id where the model wrote one."""

    name: str
    arguments: str = ""
    id: str = ""


@dataclass
class Parsed:
    """What an answer consists of."""

    content: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)


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
        return _harmony(text, final, reasoning_format)
    found = Parsed()
    start = 0 if reasoning_format == "none" or not syntax.reasoning[1] else _reasoning(text, syntax, final, found)
    if start is not None:
        rest = text[start:]
        if syntax.tools.kind == FUNCTIONARY:
            _functionary(syntax.prefix + rest, final, found)
        elif calls:
            form = GENERIC if syntax.generic and rest.lstrip().startswith("{") else syntax.tools
            _content_and_calls(rest, form, tools, final, found)
        else:
            found.content = _held(rest, "", final)
    if reasoning_format == "deepseek-legacy":
        if final or start is not None or not syntax.reasoning[0].startswith(text.lstrip()):  # else it is not known yet whether that is a thought
            found.content = text[:start] + found.content
    elif start:
        found.content = found.content.lstrip()
    return found


def _partial(text: str, marker: str) -> int:
    """How many characters at the end of a text may be the beginning of a marker."""
    return next((n for n in range(min(len(marker) - 1, len(text)), 0, -1) if text.endswith(marker[:n])), 0)


def _held(text: str, marker: str, final: bool) -> str:
    """The text that is certain to come before a marker that has not come yet."""
    return text if final else text[: len(text) - _partial(text, marker)].rstrip()


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
        found.reasoning = _held(text[begin:], end, final).strip()
        return None
    found.reasoning = text[begin:stop].strip()
    return stop + len(end)


# Content and calls


def _content_and_calls(text: str, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> None:
    if syntax.bare:
        _bare(text, syntax, final, found)
        return
    trigger = syntax.trigger
    at = text.find(trigger)
    if at < 0:
        found.content = _held(text, trigger, final)
        return
    before = found.content = text[:at] if text[:at].strip() else ""
    end = _calls(text, at, syntax, tools, final, found)
    if end is not None and text[end:].strip():
        _go_on(text, end, trigger, final, found)
    if found.content == before:
        found.content = before.rstrip()


def _go_on(text: str, at: int, marker: str, final: bool, found: Parsed) -> None:
    """Add what follows calls to the content before them, as it is written: with the white space around the calls."""
    start = len(text[:at].rstrip()) if found.content else at
    found.content += _held(text[start:], marker, final)


def _bare(text: str, syntax: ToolSyntax, final: bool, found: Parsed) -> None:
    """An answer that is nothing but JSON with the right keys is a call, or several one after the other."""
    at = len(text) - len(text.lstrip())
    marker = "<|python_tag|>"
    if text.startswith(marker, at):
        at += len(marker)
    elif not final and marker.startswith(text[at:]):
        return
    if text[at : at + 1] not in "{[":
        found.content = text if final else text.rstrip()
        return
    while True:
        span, bad = _scanned(text, at)
        foreign = span is not None and _foreign(span, syntax)
        made = [] if span is None or foreign else _objects(text[:bad], span, syntax)
        if span is None or (bad is None and span.end is None and (made or not (final or foreign))):
            found.calls += made
            return
        if not made:
            found.content = _held(text[at:] if found.calls else text, "", final)
            return
        found.calls += made
        if bad is not None:
            found.content = _held(text[bad:], "", final)
        if bad is not None or span.end is None:
            return
        at = span.end + (text[span.end : span.end + 1] == ";")


def _foreign(span: Span, syntax: ToolSyntax) -> bool:
    """Whether an object has members that no call has before it says what it calls: a stream has shown it as content by then."""
    named = {"function", "name", syntax.wrapper, syntax.keys[0]}
    before = takewhile(lambda key: key not in named, span.members or ())
    return not {"type", "arguments", "parameters", *syntax.keys}.issuperset(before)


def _scanned(text: str, at: int) -> tuple[Span | None, int | None]:
    """The value that begins at a place, whole or not; and where it stops being JSON, if it does."""
    try:
        return scan(text, at), None
    except Invalid as error:
        return error.span, error.at


def _objects(text: str, span: Span, syntax: ToolSyntax) -> list[Call]:
    """The calls in a JSON value; none where it does not look like calls."""
    first = next((k for k in span.members or () if k in ("function", "name", syntax.keys[0], syntax.wrapper)), "")
    if span.members and first and first == syntax.wrapper:
        return _objects(text, span.members[first], syntax)
    if span.items is not None:
        made = [_object(text, item, syntax) for item in span.items]
        # The first item decides, since a stream has shown it when others come.
        return [m for m in made if m is not None] if made and made[0] is not None else []
    one = _object(text, span, syntax)
    return [] if one is None else [one]


def _object(text: str, span: Span, syntax: ToolSyntax) -> Call | None:
    # The first of several keys counts, in "function" or around it, since a stream has shown it.
    members: dict[str, Span] = {}
    for key, value in (span.members or {}).items():
        for k, v in (value.members if key == "function" and value.members else {key: value}).items():
            members.setdefault(k, v)
    name_key, arguments_key, id_key = syntax.keys
    name = next((v for k, v in members.items() if k in (name_key, "name")), None)
    if name is None or name.end is None or text[name.start] != '"':
        return None
    found = Call(json.loads(name.text(text)))
    if (id_ := members.get(id_key)) is not None and id_.end is not None:
        found.id = str(json.loads(id_.text(text)))
    arguments = next((v for k, v in members.items() if k in (arguments_key, "arguments", "parameters")), None)
    if arguments is None:
        found.arguments = "{}" if span.end is not None else ""
    elif text[arguments.start : arguments.start + 1] == '"':  # arguments as a JSON text
        found.arguments = json.loads(arguments.text(text)) if arguments.end is not None else ""
    else:
        found.arguments = arguments.text(text)
    return found


def _calls(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    """Read all calls from a trigger on; where they end, or None where that is not known yet."""
    at += len(syntax.section_start)
    while True:
        at = _space(text, at)
        rest = text[at:]
        if syntax.section_end and rest.startswith(syntax.section_end):
            return at + len(syntax.section_end)
        begin = syntax.call_start.strip()
        if begin and not rest.startswith(begin):
            unknown = begin.startswith(rest) or (syntax.section_end and syntax.section_end.startswith(rest))
            return None if not final and unknown else at
        if not begin and (not rest or (found.calls and rest[0] not in "{[")):
            return at if final or rest else None
        end = _READERS[syntax.kind](text, at + len(begin), syntax, tools, final, found)
        if end is None:
            return None
        at = _space(text, end)
        close = syntax.call_end
        if close and text.startswith(close, at):
            at += len(close)
        elif close and not final and close.startswith(text[at:]):
            return None
        if syntax.listed and not text.startswith(syntax.section_end or "\0", _space(text, at)):
            return None if not final and syntax.section_end.startswith(text[_space(text, at) :]) else at


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _read_json(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    span, bad = _scanned(text, at)
    made = [] if span is None else _objects(text[:bad], span, syntax)
    if span is None or (bad is None and not made and span.end is None):
        return None
    found.calls += made
    if bad is None and made:
        return span.end
    if found.calls:
        _go_on(text, bad if made and bad is not None else at - len(syntax.call_start.strip()), "", final, found)
    else:  # no call after all: it is content, and nothing of it is lost
        found.content = _held(text, "", final)
    return None


def _read_named(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    stop = text.find(syntax.name_end.strip(), at)
    if stop < 0:
        return None
    name, id_ = text[at:stop].strip().removeprefix(syntax.name_prefix), ""
    if syntax.name_suffix:
        name = re.sub(syntax.name_suffix + r"\Z", "", name)
    begin = stop + len(syntax.name_end.strip())
    if syntax.id_end:
        stop = text.find(syntax.id_end, begin)
        if stop < 0:
            return None
        id_, begin = text[begin:stop].strip(), stop + len(syntax.id_end)
    call = Call(name, id=id_)
    found.calls.append(call)
    span, bad = _scanned(text, begin)
    if span is not None and span.end is not None:
        call.arguments = span.text(text)
        return span.end
    # No JSON, or not all of it: whoever runs the tool is shown what it was given. While a string is open, the end of the call may still be a part of it.
    begin = _space(text, begin)
    stop = text.find(syntax.call_end, begin) if syntax.call_end else -1
    call.arguments = text[begin:stop] if stop >= 0 else _held(text[begin:], syntax.call_end, final)
    return stop if stop >= 0 and (final or bad is not None) else None


def _read_tagged(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    stops = [m for m in (syntax.name_end, syntax.argument_start, syntax.call_end) if m]
    hits = [(hit, m) for m in stops if (hit := text.find(m, at)) >= 0]
    stop, marker = min(hits, default=(len(text), ""))
    if not hits or (not final and any(len(text) - _partial(text, m) < stop for m in stops)):
        return None
    call = Call(text[at:stop].strip())
    at = stop + (len(marker) if marker == syntax.name_end else 0)
    types = _types(call.name, tools)
    written: list[str] = []
    found.calls.append(call)
    while True:
        call.arguments = "{" + ", ".join(written)
        at = _space(text, at)
        if text.startswith(syntax.call_end, at):
            call.arguments += "}"
            return at
        if not text.startswith(syntax.argument_start, at):
            if final:
                call.arguments += "}"
            return None
        begin = at + len(syntax.argument_start)
        middle = text.find(syntax.key_end.strip(), begin)
        if middle < 0:
            return None
        key = text[begin:middle].strip()
        value_at = middle + len(syntax.key_end.strip())
        trailing = syntax.key_end[len(syntax.key_end.rstrip()) :]
        if trailing and text.startswith(trailing, value_at):
            value_at += len(trailing)
        end = _value_end(text, value_at, syntax, final)
        if end is None:
            return None
        written.append(f"{json.dumps(key, ensure_ascii=False)}: {_typed(text[value_at : end[0]], types.get(key))}")
        at = end[1]


def _value_end(text: str, at: int, syntax: ToolSyntax, final: bool) -> tuple[int, int] | None:
    """Where a value's end marker begins and ends. Without the line break before it, it is one only where the call goes on as it must."""
    marker = syntax.value_end.strip()
    space = syntax.value_end[: -len(marker)]
    stop = at - 1
    while (stop := text.find(marker, stop + 1)) >= 0:
        if text.endswith(space, at, stop):
            return stop - len(space), stop + len(marker)
        rest = text[_space(text, stop + len(marker)) :]
        if rest.startswith((syntax.argument_start, syntax.call_end)):
            return stop, stop + len(marker)
        if syntax.argument_start.startswith(rest) or syntax.call_end.startswith(rest):
            return (stop, stop + len(marker)) if final else None
    return None


def _types(name: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Argument -> its type in the schema of a tool."""
    for tool in tools:
        if tool["function"]["name"] == name:
            properties = tool["function"].get("parameters", {}).get("properties", {})
            return {k: v.get("type") for k, v in properties.items() if isinstance(v, Mapping)}
    return {}


def _typed(text: str, type_: Any) -> str:
    """A value that is written as text, as JSON."""
    if type_ != "string":
        try:
            return json.dumps(json.loads(text), ensure_ascii=False)
        except json.JSONDecodeError:
            pass
    return json.dumps(text, ensure_ascii=False)


_QUOTE = '<|"|>'


def _read_gemma(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    """`name{key:<|"|>text<|"|>,other:3}`: keys without quotes, and quotes of their own."""
    end = text.find(syntax.call_end, at)
    brace = text.find("{", at, end if end >= 0 else len(text))
    if brace < 0 and end < 0:
        return None
    brace = brace if brace >= 0 else end
    call = Call(text[at:brace].strip())
    found.calls.append(call)
    if end < 0:
        return None
    pieces = text[brace:end].split(_QUOTE)
    made = [
        json.dumps(piece, ensure_ascii=False) if n % 2 else re.sub(r"([{,]\s*)([A-Za-z_][\w.-]*)\s*:", r'\1"\2": ', piece) for n, piece in enumerate(pieces)
    ]
    try:
        call.arguments = json.dumps(json.loads("".join(made)), ensure_ascii=False)
    except json.JSONDecodeError:
        call.arguments = "{}"
    return end


_READERS = {JSON: _read_json, NAMED: _read_named, TAGGED: _read_tagged, GEMMA: _read_gemma}

# Forms of their own

_CHANNEL = re.compile(
    r"(?:<\|start\|>)?(assistant)?(?P<head>(?:(?!<\|message\|>).)*)<\|message\|>(?P<body>.*?)(?P<end><\|end\|>|<\|return\|>|<\|call\|>|\Z)", re.DOTALL
)


def _harmony(text: str, final: bool, reasoning_format: str) -> Parsed:
    """gpt-oss: messages in channels; analysis is reasoning, one to functions.NAME is a call, all else is content."""
    found, at = Parsed(), 0
    while match := _CHANNEL.match(text, at):
        head, body, ended = match["head"], match["body"], bool(match["end"])
        if not ended:
            body = body if final else _held_any(body, ("<|end|>", "<|return|>", "<|call|>"))
        target = re.search(r"to=functions\.([\w.-]+)", head)
        channel = re.search(r"<\|channel\|>(\w+)", head)
        if target:
            found.calls.append(Call(target[1], body.strip()))
        elif channel and channel[1] == "analysis":
            if reasoning_format == "none":
                found.content += text[at : match.end()]
            else:
                found.reasoning += ("\n" if found.reasoning else "") + body
        else:
            found.content += body
        at = match.end()
        if not ended or at == len(text):
            return found
    rest = text[at:]
    if rest and final and "<|" not in rest:
        found.content += rest
    return found


def _held_any(text: str, markers: Sequence[str]) -> str:
    return text[: len(text) - max(_partial(text, m) for m in markers)]


# A part begins on a line of its own, after arguments, or within a line where it is surely one.
_PART = re.compile(r"\A>>>|(?:\n|(?<=\}))>>>(?=[\w.-]+\n)|>>>(?=all\n|[\w.-]+\n\{)")
_PART_BEGINS = re.compile(r"\n?(?:>{1,2}|>>>[\w.-]*\n?)\Z|\n\Z")


def _functionary(text: str, final: bool, found: Parsed) -> None:
    """functionary 3.2: parts that begin with `>>>` and a name, of which "all" is content."""
    if not text.startswith(">>>"):
        found.content = text if final else _held(text, ">>>", final)
        return
    parts = _PART.split(text)[1:]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if last and not final and (begun := _PART_BEGINS.search(part)):
            part = part[: begun.start()]
        name, newline, body = part.partition("\n")
        if last and not newline:
            found.content += name if final and not number else ""  # an answer in no form at all
            return
        if name.strip() == "all":
            found.content += body.rstrip() if last and not final else body
        else:
            span, bad = _scanned(body, 0)
            raw = body.lstrip()
            found.calls.append(Call(name.strip(), "" if span is None else span.text(body) if bad is None else raw.rstrip() if last and not final else raw))
