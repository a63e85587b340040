"""The grammar that a choice of tools implies, as GBNF: calls in the model's own form, arguments as the tools' schemas have them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxllama.grammar.gbnf import SPACE, Rules, literal
from jaxllama.grammar.json_schema import Converter
from jaxllama.grammar.schema_members import Members

from .history import ID_LENGTH
from .syntax import FUNCTIONARY, GEMMA, HARMONY, JSON, NAMED, TAGGED, ToolSyntax


@dataclass(frozen=True)
class ToolGrammar:
    """What constrains an answer.

    Attributes:
        text: GBNF.
        triggers: the grammar holds from the first of these texts on; empty: from the beginning.
    """

    text: str
    triggers: tuple[str, ...]


def tool_grammar(
    syntax: ToolSyntax, tools: Sequence[Mapping[str, Any]], choice: str = "auto", *, parallel: bool = True, ignore: Collection[str] = ()
) -> ToolGrammar | None:
    """The grammar of answers, or None where they are free.

    Args:
        syntax: the model's form of calls.
        tools: checked ones.
        choice: "none", "auto", "required" or the name of a tool.
        parallel: allow several calls.
        ignore: keywords of schemas that may be left out where a grammar cannot say them.

    Raises:
        SchemaError: the schema of a tool says what a grammar cannot.
    """
    if choice == "none" or not tools:
        return None
    rules = Rules()
    chosen = [t["function"] for t in tools if choice in ("auto", "required", t["function"]["name"])]
    calls = [_call(rules, syntax, f, ignore) for f in chosen]
    call = rules.add("call", " | ".join(calls))
    ws = rules.add("space", SPACE)
    if syntax.kind == HARMONY:
        return ToolGrammar(rules.text(call), ("<|channel|>commentary to=",) if choice == "auto" else ())
    if syntax.kind == FUNCTIONARY:
        body = f'">>>" {call}' + (f' ({ws} ">>>" {call})*' if parallel else "")
        if choice == "auto":
            body = f'">>>all\\n" {rules.without("said", [">>>"])} ({body})? | {body}'
        return ToolGrammar(rules.text(body), (">>>",) if choice == "auto" else ())
    end = f" {ws} {literal(syntax.call_end)}" if syntax.call_end else ""
    one = first = (f"{literal(syntax.call_start)} {ws + ' ' if syntax.kind == JSON else ''}" if syntax.call_start else "") + call + end
    short = syntax.short_start if syntax.kind == TAGGED and not syntax.section_start else ""
    if short:  # as in llama.cpp, the first call may begin with its own mark alone
        first = f"{literal(syntax.call_start.removesuffix(short))}? {literal(short)} {call}{end}"
    if syntax.listed or syntax.wrapper:
        several = f'"[" {ws} {one} ("," {ws} {one})* {ws} "]"' if parallel else f'"[" {ws} {one} {ws} "]"'
        body = several if not syntax.wrapper else f'"{{" {ws} {literal(chr(34) + syntax.wrapper + chr(34))} ":" {ws} {several} {ws} "}}"'
    else:
        body = f"{first} ({ws} {one})*" if parallel and not syntax.bare else first
    if syntax.section_start:
        body = f"{literal(syntax.section_start)} {ws} {body}" + (f" {ws} {literal(syntax.section_end)}" if syntax.section_end else "")
    triggers = [syntax.trigger or "{", *(f"{short}{f['name']}{syntax.name_end}" for f in chosen if short)]
    return ToolGrammar(rules.text(body), tuple(triggers) if choice == "auto" else ())


def _call(rules: Rules, syntax: ToolSyntax, function: Mapping[str, Any], ignore: Collection[str]) -> str:
    """A rule for a call of one function, without what stands around calls."""
    name, parameters = function["name"], function["parameters"]
    schema = {"type": "object", "properties": {}, **parameters}
    if syntax.kind not in (JSON, NAMED, HARMONY, FUNCTIONARY, GEMMA):
        return rules.add(f"{name}-call", _tagged(rules, syntax, name, schema, ignore))
    arguments = Converter(rules, schema, ignore=ignore).convert(schema, f"{name}-arguments", f"{name}.parameters")
    short = f"[a-zA-Z0-9]{{{ID_LENGTH}}}" if syntax.short_ids else ""
    if syntax.kind == JSON:
        id_ = rf'"\"" {short or "[a-zA-Z0-9_.:-]{1,64}"} "\""'
        values = dict(zip(syntax.keys, (literal(f'"{name}"'), arguments, id_), strict=True))
        members = ' "," space '.join(f'{literal(json.dumps(key))} ":" space {values[key]}' for key in syntax.order)
        return rules.add(f"{name}-call", f'"{{" space {members} space "}}"')
    if syntax.kind == HARMONY:
        return rules.add(f"{name}-call", f"{literal(f'<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>')} {arguments}")
    if syntax.kind == FUNCTIONARY:
        return rules.add(f"{name}-call", f"{literal(name + chr(10))} {arguments}")
    if syntax.kind == GEMMA:
        return rules.add(f"{name}-call", _gemma(rules, name, schema, ignore))
    number = '":" [0-9]{1,3} ' if syntax.name_suffix else ""
    id_ = f"{short or '[a-zA-Z0-9]{1,40}'} {literal(syntax.id_end)} " if syntax.id_end else ""
    return rules.add(f"{name}-call", f"{literal(syntax.name_prefix + name)} {number}{literal(syntax.name_end)} {id_}{arguments}")


def _is_text(schema: Any) -> bool:
    """Whether a value is written as it is, without quotes."""
    return isinstance(schema, Mapping) and schema.get("type") == "string" and "enum" not in schema


def _texts(schema: Any) -> Sequence[str]:
    """The texts that a value can be, where it is one of some texts."""
    values = schema.get("enum") if isinstance(schema, Mapping) else None
    return values if isinstance(values, list) and all(isinstance(v, str) for v in values) else ()


def _tagged(rules: Rules, syntax: ToolSyntax, name: str, schema: Mapping[str, Any], ignore: Collection[str]) -> str:
    converter, required = Converter(rules, schema, ignore=ignore), schema.get("required", [])
    parts = [literal(name + syntax.name_end)]
    for key, value in schema["properties"].items():
        if _is_text(value):
            body = rules.until(f"{name}-{key}-text", syntax.value_end)
        elif texts := _texts(value):
            body = f"({' | '.join(map(literal, texts))}) {literal(syntax.value_end)}"
        else:
            body = f"{converter.convert(value, f'{name}-{key}', f'{name}.{key}')} {literal(syntax.value_end)}"
        argument = f"space {literal(syntax.argument_start + key + syntax.key_end)} {body}"
        parts.append(argument if key in required else f"({argument})?")
    return " ".join(parts)


def _gemma(rules: Rules, name: str, schema: Mapping[str, Any], ignore: Collection[str]) -> str:
    converter, quote, pairs = Converter(rules, schema, ignore=ignore), '<|"|>', {}
    for key, value in schema["properties"].items():
        if _is_text(value):
            body = f"{literal(quote)} {rules.until(f'{name}-{key}-text', quote)}"
        elif texts := _texts(value):
            body = f"({' | '.join(literal(quote + text + quote) for text in texts)})"
        else:
            body = converter.convert(value, f"{name}-{key}", f"{name}.{key}")
        pairs[key] = f"{literal(f'{key}:')} {body}"
    return f"{literal(name + '{')} {Members(rules).in_order(pairs, schema.get('required', []), None, name)} {literal('}')}"
