"""From a GGUF file to a configuration, a parameter tree and a forward pass."""

from .architectures import ARCHITECTURES, LLAMA_TENSORS, TensorRow, llama_like, read_config, register
from .checks import check_held, given_away
from .config import Config, Metadata
from .forward import forward, hidden, project
from .parameters import LOAD_MODES, Params, leaves, load_packed, load_params
from .state import CACHE_TYPES, ContextFull, DecodeState, cache_dtype, init_state

__all__ = [
    "ARCHITECTURES",
    "CACHE_TYPES",
    "LLAMA_TENSORS",
    "LOAD_MODES",
    "Config",
    "ContextFull",
    "DecodeState",
    "Metadata",
    "Params",
    "TensorRow",
    "cache_dtype",
    "check_held",
    "forward",
    "given_away",
    "hidden",
    "init_state",
    "leaves",
    "llama_like",
    "load_packed",
    "load_params",
    "project",
    "read_config",
    "register",
]
