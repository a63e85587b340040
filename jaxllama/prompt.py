"""What may be a prompt: text, or token ids. Anything else that Python could iterate over (bytes, booleans, floats) is an error, not a list of ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .numeric import whole

Prompt = str | Sequence[int] | np.ndarray | jax.Array
_ARRAYS = (np.ndarray, jax.Array)
_EXPECTED = "a prompt is text (str) or token ids (a list, tuple or array of integers)"


def read_prompt(prompt: Any) -> str | list[int]:
    """One prompt: its text, or its ids as plain integers.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, _ARRAYS):
        if prompt.ndim != 1 or prompt.dtype.kind not in "iu":
            raise TypeError(f"{_EXPECTED}, not an array of {prompt.ndim} dimensions and type {prompt.dtype}")
        return np.asarray(prompt).tolist()
    if _is_bytes(prompt):
        raise TypeError(f"{_EXPECTED}, not {type(prompt).__name__}; decode it first: str(prompt, 'utf-8')")
    if not isinstance(prompt, Sequence):
        raise TypeError(f"{_EXPECTED}, not {type(prompt).__name__}")
    return [_read_id(token) for token in prompt]


def read_prompts(prompt: Any) -> tuple[list[Any], bool]:
    """The prompts of a request, and whether they came as a batch: a list or tuple of prompts, or an array with a prompt in each row,
    or of texts.

    An empty list is an empty batch. What the prompts themselves are, `read_prompt` checks.
    """
    if isinstance(prompt, _ARRAYS):
        texts = prompt.ndim == 1 and prompt.dtype.kind in "UOT"
        return (list(np.asarray(prompt)), True) if prompt.ndim == 2 or texts else ([prompt], False)
    if isinstance(prompt, (list, tuple)) and not (len(prompt) and _is_id(prompt[0])):
        return list(prompt), True
    return [prompt], False


def _is_bytes(value: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


def _is_id(value: Any) -> bool:
    """Whether a value stands for a number, so that a list which begins with it is one prompt."""
    return not _is_bytes(value) and not isinstance(value, Sequence) and not (isinstance(value, _ARRAYS) and value.ndim)


def _read_id(value: Any) -> int:
    if (number := whole(value)) is None:
        raise TypeError(f"{_EXPECTED}, not a sequence with {value!r} in it")
    return number
