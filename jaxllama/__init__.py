"""jaxllama: run GGUF models with JAX.

>>> import jaxllama
>>> model = jaxllama.load()  # the small model in the package; or a GGUF file, or "user/repo:Q4_K_M"
>>> print(model.generate("Once upon a time", n_predict=60).text)

Beneath `load` and `Model` everything is functions of pytrees: `forward`, `prefill`, `step`, `decode_loop`, `init_state`, `fork`, `rollback`, `save_state`,
`load_state`.
"""

from .environment import prefer_wide_vectors, quiet_interrupt, use_compilation_cache

quiet_interrupt()
prefer_wide_vectors()  # before anything imports jax

# ruff: noqa: E402
from .api import Model
from .decode import (
    LogitsError,
    Sampling,
    SessionError,
    decode_loop,
    distribution,
    fork,
    load_state,
    make_sampling,
    prefill,
    rollback,
    sample,
    save_state,
    step,
)
from .evaluate import importance_matrix, perplexity
from .formats.gguf import GGUFError, open_gguf, parse_overrides
from .formats.importance import ImportanceMatrix, read_importance, write_importance
from .grammar import Grammar, GrammarError, RegexError, SchemaError
from .grammar.tokens import TokenGrammar
from .hub import embedded_model
from .kept import Kept
from .loading import load
from .models import Config, ContextFull, DecodeState, forward, init_state, load_params, read_config
from .pieces import Piece, Result
from .quant import QTensor, dequantize, from_blocks, qmatmul, qtake, quantize, quantize_file, register_format, to_blocks
from .score import Score
from .text import Tokenizer

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ContextFull",
    "DecodeState",
    "GGUFError",
    "Grammar",
    "GrammarError",
    "ImportanceMatrix",
    "Kept",
    "LogitsError",
    "Model",
    "Piece",
    "QTensor",
    "RegexError",
    "Result",
    "Sampling",
    "SchemaError",
    "Score",
    "SessionError",
    "TokenGrammar",
    "Tokenizer",
    "decode_loop",
    "dequantize",
    "distribution",
    "embedded_model",
    "fork",
    "forward",
    "from_blocks",
    "importance_matrix",
    "init_state",
    "load",
    "load_params",
    "load_state",
    "make_sampling",
    "open_gguf",
    "parse_overrides",
    "perplexity",
    "prefill",
    "qmatmul",
    "qtake",
    "quantize",
    "quantize_file",
    "read_config",
    "read_importance",
    "register_format",
    "rollback",
    "sample",
    "save_state",
    "step",
    "to_blocks",
    "use_compilation_cache",
    "write_importance",
]
