"""Grammars: what a model may write. No JAX here."""

from .grammar import Grammar
from .json_schema import SchemaError, json_schema_to_gbnf
from .reader import GrammarError

__all__ = ["Grammar", "GrammarError", "SchemaError", "json_schema_to_gbnf"]
