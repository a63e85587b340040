"""From a GGUF file to a configuration, a parameter tree and a forward pass."""

from . import families
from .architectures import ARCHITECTURES, Architecture, decoder_tensors, read_config, register
from .config import Config
from .forward import extend, forward, project
from .layer import Layer, Norms
from .memory import Memory
from .metadata import Metadata
from .parameters import LOAD_MODES, Params, leaves, load_packed, load_params
from .state import CACHE_TYPES, ContextFull, DecodeState, cache_dtype, check_held, given_away, init_state, memories_for

__all__ = [
    "ARCHITECTURES",
    "CACHE_TYPES",
    "LOAD_MODES",
    "Architecture",
    "Config",
    "ContextFull",
    "DecodeState",
    "Layer",
    "Memory",
    "Metadata",
    "Norms",
    "Params",
    "cache_dtype",
    "check_held",
    "decoder_tensors",
    "extend",
    "families",
    "forward",
    "given_away",
    "init_state",
    "leaves",
    "load_packed",
    "load_params",
    "memories_for",
    "project",
    "read_config",
    "register",
]
