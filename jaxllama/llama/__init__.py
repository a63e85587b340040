"""llama-cpp-python's package, thin over `jaxllama.Model`: change the import, and scripts run.

>>> from jaxllama.llama import Llama
>>> llama = Llama("model.gguf", n_ctx=2048)
>>> llama("Once upon a time", max_tokens=32)["choices"][0]["text"]

Names, modules (`llama_chat_format`, `llama_types`, `llama_grammar` ...), defaults and shapes are those of llama-cpp-python 0.3.36. An argument that means
nothing here is accepted with one warning; one that needs what jaxllama does not have yet is an error.

There is no C library beneath, so what stands for one is not here: the functions `llama_*` and `ggml_*`, their structures and pointers (`Llama.model` is a
`jaxllama.Model`, `Llama.ctx` the prompt cache), `_internals`, `mtmd_cpp` and `llava_cpp` with the chat handlers for images, and `server`.
"""

from . import llama_chat_format, llama_types
from .llama import Llama
from .llama_cache import BaseLlamaCache, LlamaCache, LlamaDiskCache, LlamaRAMCache
from .llama_cpp import *  # noqa: F403
from .llama_grammar import LlamaGrammar
from .llama_speculative import LlamaDraftModel, LlamaPromptLookupDecoding
from .llama_tokenizer import BaseLlamaTokenizer, LlamaHFTokenizer, LlamaTokenizer
from .llama_types import *  # noqa: F403
from .processors import LogitsProcessor, LogitsProcessorList, MinTokensLogitsProcessor, StoppingCriteria, StoppingCriteriaList
from .state import LlamaState

__version__ = "0.3.36"  # of the interface

__all__ = [  # and the constants and types
    "BaseLlamaCache",
    "BaseLlamaTokenizer",
    "Llama",
    "LlamaCache",
    "LlamaDiskCache",
    "LlamaDraftModel",
    "LlamaGrammar",
    "LlamaHFTokenizer",
    "LlamaPromptLookupDecoding",
    "LlamaRAMCache",
    "LlamaState",
    "LlamaTokenizer",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "llama_chat_format",
    "llama_types",
]
