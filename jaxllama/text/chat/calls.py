"""Readers of single calls, in the forms that a `ToolSyntax` describes.

A reader begins behind the mark that begins a call and adds to `found`. It gives where the call's own text ends, or None where that is not known yet; where the
text is no call at all, it raises `NoCall`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from .answer import Call, Parsed, as_json, find_mark, past_mark, past_space, read_arguments, scanned
from .partial_json import Span
from .syntax import GEMMA, JSON, NAMED, TAGGED, ToolSyntax

_PYTHON_TAG = "<|python_tag|>"


class NoCall(Exception):
    """The text from a place on is no call, and so it is content.

    Attributes:
        at: that place; 0 for the mark before the call.
    """

    def __init__(self, at: int):
        super().__init__(at)
        self.at = at


def read_bare(text: str, syntax: ToolSyntax, found: Parsed, *, final: bool) -> None:
    """An answer that is nothing but JSON with the right keys is a call, or several one after the other."""
    at = past_space(text, 0)
    if text.startswith(_PYTHON_TAG, at):
        at += len(_PYTHON_TAG)
    elif not final and _PYTHON_TAG.startswith(text[at:]):
        return
    if at < len(text) and text[at] not in "{[":
        found.content = text if final else text.rstrip()
        return
    while True:
        span, bad = scanned(text, at)
        foreign = span is not None and _foreign(span, syntax)
        made = [] if span is None or foreign else _objects(text[:bad], span, syntax)
        if span is None or (bad is None and span.end is None and (made or not (final or foreign))):
            found.calls += made
            return
        if not made:
            rest = text[at:].lstrip() if found.calls else text
            found.content = rest if final else rest.rstrip()
            return
        found.calls += made
        if bad is not None:
            found.content = text[bad:] if final else text[bad:].rstrip()
        if bad is not None or span.end is None:
            return
        at = span.end + (text[span.end : span.end + 1] == ";")


def _foreign(span: Span, syntax: ToolSyntax) -> bool:
    """Whether an object has members that no call has before it says what it calls: a stream has shown it as content by then."""
    named = {"function", "name", syntax.wrapper, syntax.keys[0]}
    before = takewhile(lambda key: key not in named, span.members or ())
    return not {"type", "arguments", "parameters", *syntax.keys}.issuperset(before)


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


def _read_json(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    span, bad = scanned(text, at)
    made = [] if span is None else _objects(text[:bad], span, syntax)
    if span is None or (bad is None and not made and span.end is None):
        return None
    found.calls += made
    if bad is not None or not made:
        raise NoCall(bad if made and bad is not None else 0)
    return span.end


def _read_named(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    name_end = syntax.name_end.strip()
    stop = text.find(name_end, at)
    if stop < 0:
        return None
    name, id_, begin = text[at:stop].strip(), "", stop + len(name_end)
    if syntax.id_end:
        stop = text.find(syntax.id_end, begin)
        if stop < 0:
            return None
        id_, begin = text[begin:stop].strip(), stop + len(syntax.id_end)
    call = Call(name.removeprefix(syntax.name_prefix), id=id_)
    if syntax.name_suffix:
        if re.search(syntax.name_suffix + r"\Z", name):
            call.id = name
        call.name = re.sub(syntax.name_suffix + r"\Z", "", call.name)
    found.calls.append(call)
    call.arguments, end = read_arguments(text, begin, [syntax.call_end] if syntax.call_end else [], final=final)
    return end


def _read_tagged(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    close = _close(syntax)
    marks = [m for m in (syntax.name_end, syntax.argument_start, close) if m]
    stop, end = find_mark(text, at, marks, final=final)
    if end is None:
        return None
    call = Call(text[at:stop].strip())
    at = (syntax.name_end and past_mark(text, stop, syntax.name_end)) or stop
    types = _types(call.name, tools)
    written: list[str] = []
    found.calls.append(call)
    while True:
        call.arguments = "{" + ", ".join(written)
        at = past_space(text, at)
        begin, closed = past_mark(text, at, syntax.argument_start), past_mark(text, at, close) if close else 0
        if not begin:
            if final or closed or (begin == 0 and closed == 0):  # a call that goes on in another way ends there
                call.arguments += "}"
                return at
            return None
        middle, end = find_mark(text, begin, [syntax.key_end], final=final)
        value = None if end is None else _value(text, end, syntax, final=final)
        key = text[begin:middle].strip()
        if value is None:
            if final:  # cut off: what there is stays to be seen, in JSON that is cut off too
                cut = as_json(key) if end is None else f"{as_json(key)}: {as_json(_behind_line(text, end, syntax))}"
                call.arguments += f"{', ' if written else ''}{cut[:-1]}"
            return None
        written.append(f"{as_json(key)}: {_typed(value[0], types.get(key, frozenset()))}")
        at = value[1]


def _close(syntax: ToolSyntax) -> str:
    """The first part of what ends a call; the others may be missing."""
    return (syntax.call_end.split() or [""])[0]


def _value(text: str, at: int, syntax: ToolSyntax, *, final: bool) -> tuple[str, int] | None:
    """A value that is written as text, and where it ends: at a mark behind which the call goes on as it must. Others are part of it.

    Where the mark is missing, it ends with the call: before the call's end and another's beginning, or, of the last call, before the first end there is.
    """
    at = len(text) - len(_behind_line(text, at, syntax))
    mark, line = syntax.value_end.strip(), syntax.value_end[: len(syntax.value_end) - len(syntax.value_end.lstrip())]
    found = None
    ends = r"\s*".join(map(re.escape, syntax.call_end.split()))
    begins = r"\s*".join(map(re.escape, syntax.call_start.split()))
    for match in re.finditer(rf"({re.escape(mark)})|{ends}\s*{begins}" if ends else f"({re.escape(mark)})", text[at:]):
        stop, end = at + match.start(), at + match.end()
        if not match[1]:
            return text[at:stop].removesuffix(line), stop
        found = text[at:stop].removesuffix(line), end
        goes_on = [past_mark(text, past_space(text, end), m) for m in (syntax.argument_start, _close(syntax)) if m]
        if any(goes_on):
            return found
        if None in goes_on:
            return found if final else None
    if final and found is None and (last := ends and re.search(ends, text[at:])):
        found = text[at : at + last.start()].removesuffix(line), at + last.start()
    return found if final else None


def _behind_line(text: str, at: int, syntax: ToolSyntax) -> str:
    """A value and what follows it, without the line break that the form puts before the value."""
    line = syntax.key_end[len(syntax.key_end.rstrip()) :]
    return text[at:].removeprefix(line)


def _types(name: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Argument -> the types that it may have in the schema of a tool; none where the schema does not say."""
    for tool in tools:
        if tool["function"]["name"] == name:
            properties = tool["function"].get("parameters", {}).get("properties", {})
            return {key: _types_of(schema) for key, schema in properties.items()}
    return {}


_OF_PYTHON = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", dict: "object", list: "array"}


def _types_of(schema: Any) -> frozenset[str]:
    if not isinstance(schema, Mapping):
        return frozenset()
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return frozenset(_OF_PYTHON[type(v)] for v in values if type(v) in _OF_PYTHON) if isinstance(values, list) else frozenset()
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        found = [_types_of(s) for s in alternatives] if isinstance(alternatives, list) else [frozenset()]
        return frozenset().union(*found) if all(found) else frozenset()
    types = schema.get("type", [])
    return frozenset(t for t in ([types] if isinstance(types, str) else types) if isinstance(t, str)) if isinstance(types, (str, list)) else frozenset()


_WORDS = {"True": True, "False": False, "None": None}  # what Jinja writes for them, which models then write as well


def _typed(text: str, types: frozenset[str]) -> str:
    """A value that is written as text, as JSON: as a text where it can be nothing else."""
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        value = _WORDS[text] if text in _WORDS and _OF_PYTHON[type(_WORDS[text])] in types else text
    kind = _OF_PYTHON[type(value)]
    fits = kind != "string" and (kind in types or (kind == "integer" and "number" in types))
    return as_json(value if fits or "string" not in types else text)


_QUOTE = '<|"|>'
_WORD = re.compile(rf"(?<![^\s,:\[])(?:{'|'.join(_WORDS)})(?![^\s,\]}}])")
_KEY = re.compile(r"([{,]\s*)([^\s{}\[\],:\"]+)\s*:")


def _read_gemma(text: str, at: int, syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], final: bool, found: Parsed) -> int | None:
    """`name{key:<|"|>text<|"|>,other:3}`: keys without quotes, and quotes of their own."""
    stop, end = find_mark(text, at, ["{", syntax.call_end], final=final)
    if end is None:
        return None
    call = Call(text[at:stop].strip())
    found.calls.append(call)
    made, at = [], stop
    while True:
        stop, end = find_mark(text, at, [_QUOTE, syntax.call_end], final=final)
        if end is None:
            return None
        made.append(_WORD.sub(lambda word: as_json(_WORDS[word[0]]), _KEY.sub(r'\1"\2": ', text[at:stop])))
        if not text.startswith(_QUOTE, stop):
            break
        close = text.find(_QUOTE, end)
        if close < 0:
            return None
        made.append(as_json(text[end:close]))
        at = close + len(_QUOTE)
    written = "".join(made).strip() or "{}"
    try:
        call.arguments = as_json(json.loads(written))
    except json.JSONDecodeError:  # whoever runs the tool is shown what it was given
        call.arguments = written
    return stop


READERS = {JSON: _read_json, NAMED: _read_named, TAGGED: _read_tagged, GEMMA: _read_gemma}
