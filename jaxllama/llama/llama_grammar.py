"""Grammars under llama-cpp-python's names."""

from __future__ import annotations

import json
from pathlib import Path

from jaxllama.grammar import Grammar
from jaxllama.grammar import json_schema_to_gbnf as _gbnf_of

JSON_GBNF = _gbnf_of({"type": "object"})


def json_schema_to_gbnf(schema: str) -> str:
    """GBNF of a JSON schema, given as text."""
    return _gbnf_of(json.loads(schema))


class LlamaGrammar:
    """Makes `jaxllama.Grammar`s. They are checked when they are made."""

    @classmethod
    def from_string(cls, grammar: str, verbose: bool = True) -> Grammar:
        """Read GBNF."""
        return Grammar.from_gbnf(grammar)

    @classmethod
    def from_file(cls, file: str | Path, verbose: bool = True) -> Grammar:
        """Read a file of GBNF.

        Raises:
            ValueError: it is empty.
        """
        text = Path(file).read_text(encoding="utf-8")
        if not text:
            raise ValueError(f"{file}: the grammar file is empty")
        return cls.from_string(text)

    @classmethod
    def from_json_schema(cls, json_schema: str, verbose: bool = True) -> Grammar:
        """The JSON that a schema, given as text, describes."""
        return Grammar.from_json_schema(json.loads(json_schema))
