"""Grammars: what a model may write. No JAX here."""

from .grammar import Grammar
from .json_schema import json_schema_to_gbnf
from .reader import GrammarError
from .regex import RegexError, gbnf_of_choices, gbnf_of_regex
from .schema_merge import SchemaError
from .types import schema_of

__all__ = ["Grammar", "GrammarError", "RegexError", "SchemaError", "gbnf_of_choices", "gbnf_of_regex", "json_schema_to_gbnf", "schema_of"]
