"""Grammars as text: what a model may write. No JAX here."""

from .json_schema import SchemaError, json_schema_to_gbnf

__all__ = ["SchemaError", "json_schema_to_gbnf"]
