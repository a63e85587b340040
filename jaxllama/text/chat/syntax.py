"""How a model writes reasoning and calls of tools: derived from its template by rendering probes and looking at what is written where.

A template that writes calls shows the form itself: a call of a function with known name, arguments and values is rendered, and what lies around these is the
form. Where a template does not write calls, or writes them in a form of its own that markers do not describe, the family is known by a text in the template.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ..special import END_TEXTS
from .caps import call_of, tool_of
from .messages import Message
from .partial_json import Invalid, Span, scan
from .template import ChatTemplate

JSON, NAMED, TAGGED, HARMONY, FUNCTIONARY, GEMMA = "json", "named", "tagged", "harmony", "functionary", "gemma"
_REASONING = (
    ("<think>", "</think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
)


@dataclass(frozen=True)
class ToolSyntax:
    """How calls are written.

    Attributes:
        kind: "json": objects with the keys below, in a list where `listed`. "named": a name, `name_end`, and the arguments as JSON.
            "tagged": a name, and arguments as `argument_start` key `key_end` value `value_end`. "harmony", "functionary" and "gemma" are forms of their own.
        section_start, section_end: around all calls of an answer; may be empty.
        call_start, call_end: around each.
        name_prefix, name_suffix: around the name, not part of it; the suffix is a regular expression.
        id_end: after a call's id, which then stands between its name and its arguments.
        keys: of name, arguments and id in objects; an id may be missing.
        order: the keys that objects have, in order.
        wrapper: a key whose value is the list of calls.
        bare: an answer that begins with such JSON is a call, without any marker.
        short_ids: ids are nine letters and digits.
    """

    kind: str
    section_start: str = ""
    section_end: str = ""
    call_start: str = ""
    call_end: str = ""
    name_end: str = ""
    id_end: str = ""
    name_prefix: str = ""
    name_suffix: str = ""
    argument_start: str = ""
    key_end: str = ""
    value_end: str = ""
    keys: tuple[str, str, str] = ("name", "arguments", "id")
    order: tuple[str, ...] = ("name", "arguments")
    listed: bool = False
    wrapper: str = ""
    bare: bool = False
    short_ids: bool = False

    @property
    def trigger(self) -> str:
        """What begins calls."""
        return (self.section_start.strip() or self.call_start.strip()) if not self.bare else ""

    @property
    def short_start(self) -> str:
        """The last part of what begins a call, which is all that some models write; empty where there is only one part."""
        parts = re.split(r"\s+(?=<)", self.call_start.strip())
        return parts[-1] if self.kind in (NAMED, TAGGED) and len(parts) > 1 else ""


GENERIC = ToolSyntax(JSON, wrapper="tool_calls", bare=True)
_LLAMA3 = ToolSyntax(JSON, keys=("name", "parameters", "id"), order=("name", "parameters"), bare=True)
# A text in the template -> the form; for families whose templates do not write calls, or not in the form in which the model does.
_FAMILIES: tuple[tuple[str, ToolSyntax], ...] = (
    ("<|channel|>", ToolSyntax(HARMONY)),
    (">>>all", ToolSyntax(FUNCTIONARY)),
    ("<|tool_call>call:", ToolSyntax(GEMMA, call_start="<|tool_call>call:", call_end="<tool_call|>")),
    (
        "<｜tool▁calls▁begin｜>",
        ToolSyntax(
            NAMED,
            section_start="<｜tool▁calls▁begin｜>",
            section_end="<｜tool▁calls▁end｜>",
            call_start="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            call_end="```<｜tool▁call▁end｜>",
            name_end="\n```json\n",
        ),
    ),
    (
        "<|tool_calls_section_begin|>",
        ToolSyntax(
            NAMED,
            section_start="<|tool_calls_section_begin|>",
            section_end="<|tool_calls_section_end|>",
            call_start="<|tool_call_begin|>",
            call_end="<|tool_call_end|>",
            name_end="<|tool_call_argument_begin|>",
            name_prefix="functions.",
            name_suffix=r":\d+",
        ),
    ),
    ("[TOOL_CALLS]", ToolSyntax(JSON, section_start="[TOOL_CALLS]", listed=True)),
    ("<|tool_call|>", ToolSyntax(JSON, section_start="<|tool_call|>", section_end="<|/tool_call|>", listed=True)),
    ("<|python_tag|>", _LLAMA3),
    ("<|start_header_id|>ipython", _LLAMA3),
    ("<tool_call>", ToolSyntax(JSON, call_start="<tool_call>", call_end="</tool_call>")),
)


@dataclass(frozen=True)
class AnswerSyntax:
    """What an answer is made of.

    Attributes:
        tools: how calls are written.
        reasoning: around reasoning; empty for none.
        opened: the prompt ends inside reasoning.
        prefix: what the prompt has already written of the answer's first call or channel.
        generic: the prompt has described calls as JSON of our own, because the template knows no tools; such calls are read too.
    """

    tools: ToolSyntax
    reasoning: tuple[str, str] = ("", "")
    opened: bool = False
    prefix: str = ""
    generic: bool = False


def answer_syntax(template: ChatTemplate, prompt: str = "") -> AnswerSyntax:
    """The syntax of answers to prompts of a template.

    Args:
        prompt: the rendered prompt, which may end inside reasoning, or have ended it.
    """
    tools = tool_syntax(template)
    reasoning = next((pair for pair in _REASONING if pair[1] in template.source), ("", ""))
    tail = prompt[-200:].rstrip()
    opened = bool(reasoning[0]) and tail.endswith(reasoning[0])
    closed = bool(reasoning[1]) and tail.endswith(reasoning[1])
    prefix = ">>>" if tools.kind == FUNCTIONARY and tail.endswith(">>>") else ""
    return AnswerSyntax(tools, ("", "") if closed else reasoning, opened, prefix, not template.caps.tools)


@lru_cache(maxsize=64)
def tool_syntax(template: ChatTemplate) -> ToolSyntax:
    """How a model with this template writes calls; JSON of our own where the template knows no calls."""
    known = [(number, syntax) for number, (text, syntax) in enumerate(_FAMILIES) if text in template.source]
    if known and known[0][0] < 3:
        return known[0][1]
    written = _written(template, 1)
    found = _derived(template, written) if written and template.caps.tool_calls else None
    found = found or (known[0][1] if known else GENERIC)
    return found if template.caps.any_id else replace(found, short_ids=True)


_UNIT = re.compile(r"<[^<>]*>|<[^<>]*\Z|\[[A-Z_/]+\]|[^<\[]+|\[")


def _units(text: str) -> list[str]:
    """Markers, and the runs of text between them."""
    return _UNIT.findall(text)


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


_NAMES, _KEYS, _VALUES = ("fun_one", "fun_two"), ("arg_a", "arg_b"), ("val_a", "val_b")


def _written(template: ChatTemplate, calls: int) -> str:
    """What the template writes for a message with calls, up to what it writes after any message."""
    tools = [tool_of(name, *_KEYS) for name in _NAMES]
    user: Message = {"role": "user", "content": "hello"}
    made = [call_of(name, dict(zip(_KEYS, _VALUES, strict=True)), n) for n, name in enumerate(_NAMES[:calls])]
    try:
        before = template.render([user], tools=tools, add_generation_prompt=False)
        plain = template.render([user, {"role": "assistant", "content": "AN-SWER"}], tools=tools, add_generation_prompt=False)
        called = template.render([user, {"role": "assistant", "content": None, "tool_calls": made}], tools=tools, add_generation_prompt=False)
    except ValueError:
        return ""
    if "AN-SWER" not in plain or not called.startswith(before):
        return ""
    head, _, tail = plain[len(before) :].partition("AN-SWER")
    found = called[len(before) :]
    same = 0
    while same < min(len(head), len(found)) and head[same] == found[same]:
        same += 1
    if found.rfind("<", 0, same) > found.rfind(">", 0, same):
        same = found.rfind("<", 0, same)  # not inside a marker
    found = found[same:]
    for _, end in _REASONING:  # an empty thought before the call is not part of it
        at = found.find(end)
        if 0 <= at < found.find(_NAMES[0]):
            found = found[at + len(end) :]
    last = found.rfind(_VALUES[1])
    ends = [at for marker in {*_units(tail), *END_TEXTS} if marker.strip() and (at := found.find(marker, last)) >= 0 and "<" in marker]
    return found[: min(ends, default=len(found))]


def _derived(template: ChatTemplate, one: str) -> ToolSyntax | None:
    """The form of a call from what was written, or None where it has none that markers describe."""
    name = one.find(_NAMES[0])
    key, value = one.find(_KEYS[0], name), one.find(_VALUES[0], name)
    if not 0 <= name < key < value:
        return None
    around = _json_around(one, name)
    if around is not None:
        return _json_syntax(template, one, around)
    arguments = _json_around(one, key)
    if arguments is not None and arguments.start > name:
        return _named_syntax(template, one, name, arguments)
    return _tagged_syntax(template, one, name, key, value)


def _json_around(text: str, place: int) -> Span | None:
    """The largest complete JSON object or list that has a place in it."""
    for start in range(place):
        if text[start] in "{[":
            try:
                found = scan(text, start)
            except Invalid:
                continue
            if found is not None and found.end is not None and found.end > place and (found.members or found.items):
                return found
    return None


def _json_syntax(template: ChatTemplate, one: str, span: Span) -> ToolSyntax | None:
    value: Any = json.loads(span.text(one))
    listed = isinstance(value, list)
    call = value[0] if listed else value
    wrapper = ""
    if isinstance(call, dict) and len(call) == 1 and isinstance(next(iter(call.values())), list):
        wrapper, inner = next(iter(call.items()))
        call = inner[0]
    if isinstance(call, dict) and isinstance(call.get("function"), dict):
        call = call | call["function"]
    if not isinstance(call, dict):
        return None
    name = next((k for k, v in call.items() if v == _NAMES[0]), None)
    arguments = next((k for k, v in call.items() if (isinstance(v, dict) and _KEYS[0] in v) or (isinstance(v, str) and _KEYS[0] in v)), None)
    if name is None or arguments is None:
        return None
    id_ = next((k for k in ("id", "tool_call_id", "call_id") if k in call), "id")
    before, after = one[: span.start], one[span.end :]
    keys = name, arguments, id_
    found = ToolSyntax(JSON, keys=keys, order=tuple(k for k in call if k in keys), listed=listed, wrapper=wrapper)
    if not before.strip():
        return replace(found, bare=True)
    if listed:
        return replace(found, section_start=before.strip(), section_end="".join(_units(after.strip())[:1]))
    return _with_section(template, replace(found, call_start=before.strip(), call_end=after.strip()))


def _named_syntax(template: ChatTemplate, one: str, name: int, arguments: Span) -> ToolSyntax:
    before, after = one[:name], one[arguments.end :]
    between = one[name + len(_NAMES[0]) : arguments.start]
    suffix = ""
    if between.startswith(":0"):  # the number of the call
        between, suffix = between[2:], r":\d+"
    id_end = ""
    if (id_ := call_of("", {})["id"]) in between:
        between, _, id_end = between.partition(id_)
    prefix = "functions." if before.endswith("functions.") else ""
    found = ToolSyntax(NAMED, call_start=before.lstrip(), call_end=after.strip(), name_end=between, id_end=id_end, name_prefix=prefix, name_suffix=suffix)
    return _with_section(template, found)


def _tagged_syntax(template: ChatTemplate, one: str, name: int, key: int, value: int) -> ToolSyntax | None:
    second, last = one.find(_KEYS[1], value), one.find(_VALUES[1], value)
    if second < 0 or last < 0:
        return None
    between = one[value + len(_VALUES[0]) : second]  # ends a value and begins the next argument
    start = one[name + len(_NAMES[0]) : key]
    argument_start = between[between.rfind("<") :] if "<" in between else ""
    value_end = between[: len(between) - len(argument_start)].rstrip()
    after = one[last + len(_VALUES[1]) :]
    if not one[:name].strip() or not argument_start or not value_end.strip() or not after.startswith(value_end) or not start.endswith(argument_start):
        return None
    found = ToolSyntax(
        TAGGED,
        call_start=one[:name].lstrip(),
        call_end=after[len(value_end) :].strip(),
        name_end=start.removesuffix(argument_start).strip(),
        argument_start=argument_start,
        key_end=one[key + len(_KEYS[0]) : value],
        value_end=value_end,
    )
    return _with_section(template, found)


def _with_section(template: ChatTemplate, found: ToolSyntax) -> ToolSyntax:
    """What is written once for several calls, told from what is written for each."""
    two = _written(template, 2) if template.caps.parallel_calls else ""
    first, second = two.find(_NAMES[0]), two.find(_NAMES[1])
    alone = replace(found, call_start=found.call_start.removesuffix(found.name_prefix))
    if second < 0:
        return alone
    between = two[first:second]
    if found.kind == JSON:
        between = between[: between.rfind("{")]
    starts, ends = _units(found.call_start), _units(found.call_end)
    kept = max(n for n in range(len(starts) + 1) if _bare(between).endswith(_bare("".join(starts[len(starts) - n :]))))
    ended = max(n for n in range(len(ends) + 1) if _bare("".join(ends[:n])) in _bare(between))
    section_start = "".join(starts[: len(starts) - kept]).strip()
    if not section_start:
        return alone
    return replace(
        found,
        section_start=section_start,
        section_end="".join(ends[ended : ended + 1]).strip(),
        call_start="".join(starts[len(starts) - kept :]).lstrip().removesuffix(found.name_prefix),
        call_end="".join(ends[:ended]).strip(),
    )
