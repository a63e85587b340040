"""A saved state, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class LlamaState:
    """What `Llama.save_state` returns.

    Attributes:
        input_ids: int32[n_ctx]; the first `n_tokens` were read.
        scores: f32[n_tokens, V], the logits after each; computed only for `logits_all`, else without rows.
        n_tokens: how many tokens were read.
        llama_state: the KV cache, as `jaxllama.save_state` writes it.
        llama_state_size: its bytes.
        seed: of the next generation.
    """

    input_ids: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    n_tokens: int
    llama_state: bytes = field(repr=False)
    llama_state_size: int
    seed: int
