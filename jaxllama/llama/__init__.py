"""llama-cpp-python's class, its helpers and its constants, thin over `jaxllama.Model`: change the import, and scripts run.

>>> from jaxllama.llama import Llama
>>> llama = Llama("model.gguf", n_ctx=2048)
>>> llama("Once upon a time", max_tokens=32)["choices"][0]["text"]

Names, defaults and shapes are those of llama-cpp-python 0.3.36. An argument that means nothing here is accepted with one warning; one that needs what jaxllama
does not have yet is an error.
"""

from .cache import BaseLlamaCache, LlamaCache, LlamaDiskCache, LlamaRAMCache
from .constants import *  # noqa: F403
from .grammar import LlamaGrammar
from .model import Llama
from .processors import LogitsProcessor, LogitsProcessorList, MinTokensLogitsProcessor, StoppingCriteria, StoppingCriteriaList
from .speculative import LlamaDraftModel, LlamaPromptLookupDecoding
from .state import LlamaState
from .tokenizer import BaseLlamaTokenizer, LlamaHFTokenizer, LlamaTokenizer

__version__ = "0.3.36"  # of the interface

__all__ = [  # and the constants
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
]
