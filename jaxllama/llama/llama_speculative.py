"""Draft models: the classes, so that code which names them loads. Decoding with drafts is still to come."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np


class LlamaDraftModel(abc.ABC):
    """Guesses tokens: ids int32[N] -> the next ones."""

    @abc.abstractmethod
    def __call__(self, input_ids: np.ndarray, /, **kwargs: Any) -> np.ndarray:
        raise NotImplementedError


class LlamaPromptLookupDecoding(LlamaDraftModel):
    """Guesses that what followed the last tokens before follows them again."""

    def __init__(self, max_ngram_size: int = 2, num_pred_tokens: int = 10):
        self.max_ngram_size, self.num_pred_tokens = max_ngram_size, num_pred_tokens

    @staticmethod
    def find_candidate_pred_tokens(input_ids: np.ndarray, max_ngram_size: int, num_pred_tokens: int) -> np.ndarray:
        """What followed the first earlier place of the longest run that ends the ids; nothing where there is none."""
        length = len(input_ids)
        for size in range(min(max_ngram_size, length - 1), 0, -1):
            windows = np.lib.stride_tricks.sliding_window_view(input_ids, size)
            for start in np.flatnonzero((windows == input_ids[-size:]).all(1)) + size:
                if start < length:
                    return input_ids[start : start + num_pred_tokens]
        return np.array([], np.intc)

    def __call__(self, input_ids: np.ndarray, /, **kwargs: Any) -> np.ndarray:
        return self.find_candidate_pred_tokens(input_ids, self.max_ngram_size, self.num_pred_tokens)
