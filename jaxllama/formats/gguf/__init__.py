"""GGUF, the file format of llama.cpp: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""

from .errors import GGUFError
from .override import parse_overrides
from .reader import Field, GGUFFile, Tensor, open_gguf
from .types import TENSOR_TYPE_NAMES, TENSOR_TYPES, TensorType, ValueType
from .writer import TensorData, field_of, rewrite, write_gguf, write_split

__all__ = [
    "TENSOR_TYPES",
    "TENSOR_TYPE_NAMES",
    "Field",
    "GGUFError",
    "GGUFFile",
    "Tensor",
    "TensorData",
    "TensorType",
    "ValueType",
    "field_of",
    "open_gguf",
    "parse_overrides",
    "rewrite",
    "write_gguf",
    "write_split",
]
