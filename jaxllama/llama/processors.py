"""Functions of one's own between the model and the samplers, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LogitsProcessor = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(tokens so far int32[N], logits f32[V] of the next one) -> logits."""

StoppingCriteria = Callable[[np.ndarray, np.ndarray], bool]
"""The same arguments -> whether to stop."""


class LogitsProcessorList(list[LogitsProcessor]):
    """Processors, one after the other."""

    def __call__(self, input_ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


class StoppingCriteriaList(list[StoppingCriteria]):
    """Stops when one of them says so; all are asked."""

    def __call__(self, input_ids: np.ndarray, logits: np.ndarray) -> bool:
        return any([criterion(input_ids, logits) for criterion in self])  # noqa: C419


class MinTokensLogitsProcessor:
    """Forbids the end until so many tokens were generated."""

    def __init__(self, min_tokens: int, token_eos: int):
        self.min_tokens, self.token_eos = min_tokens, token_eos
        self.prompt_tokens: int | None = None

    def __call__(self, input_ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        if self.prompt_tokens is None:
            self.prompt_tokens = len(input_ids)
        if len(input_ids) - self.prompt_tokens < self.min_tokens:
            scores[self.token_eos] = -np.inf
        return scores


def host_function(
    processors: LogitsProcessorList | LogitsProcessor | list[LogitsProcessor] | None,
    criteria: StoppingCriteriaList | StoppingCriteria | list[StoppingCriteria] | None,
) -> Callable[[np.ndarray, np.ndarray], np.ndarray | None] | None:
    """Both as the one function that `Model.stream` takes; None where there is nothing to do."""
    if processors is None and criteria is None:
        return None
    change = LogitsProcessorList(processors) if isinstance(processors, list) else processors
    stop = StoppingCriteriaList(criteria) if isinstance(criteria, list) else criteria

    def both(ids: np.ndarray, logits: np.ndarray) -> np.ndarray | None:
        if stop is not None and stop(ids, logits):
            return None
        return logits if change is None else change(ids, logits)

    return both
