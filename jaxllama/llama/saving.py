"""The part of `Llama` that saves what was read: states, and caches of them."""

from __future__ import annotations

import io
import weakref
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxllama.decode import Session, load_state, rollback, save_state

from .llama_cache import BaseLlamaCache, longest_token_prefix
from .reading import Reading
from .state import LlamaState


class Saving(Reading):
    """
    Attributes:
        cache: where a completion looks for a state, and puts one.
    """

    cache: BaseLlamaCache | None = None

    def save_state(self) -> LlamaState:
        """What was read, and the seed, as a value."""
        raw, session = b"", self.kept.session
        if self._tokens:
            if session is None or session.tokens[0][: len(self._tokens)] != self._tokens or int(session.state.positions[0]) < len(self._tokens):
                session = self.kept.session = self.model.prefill([self._tokens], kept=self._usable())
            file = io.BytesIO()
            save_state(file, rollback(session.state, int(session.state.positions[0]) - len(self._tokens)))
            raw = file.getvalue()
        scores = self.scores[: self.n_tokens].copy() if self._logits_all else np.zeros((0, self.model.config.n_vocab), np.float32)
        return LlamaState(self.input_ids, scores, self.n_tokens, raw, len(raw), self._seed)

    def load_state(self, state: LlamaState) -> None:
        """Go on from a saved state, of this model with the same `n_ctx`, in this process or another.

        Raises:
            SessionError: the state is another model's.
        """
        tokens = state.input_ids[: state.n_tokens].tolist()
        self.kept.session = None
        if tokens:
            found = load_state(io.BytesIO(state.llama_state), self.model.config)
            if found.n_ctx != self.model.n_ctx:
                raise ValueError(f"load_state: the state is of a context of {found.n_ctx} tokens, this one has {self.model.n_ctx}")
            logits = jnp.zeros((1, self.model.config.n_vocab))
            # Logits are not saved, so the last token counts as not read.
            found = rollback(found, 1)
            self.kept.session = Session(found, logits, tokens=[tokens], owner=weakref.ref(self.model.programs))
        self._tokens, self._seed = tokens, state.seed

    def recall(self, ids: Sequence[int]) -> None:
        """Take the state from the cache that has most in common with a prompt, where that is more than what was read."""
        assert self.cache is not None
        try:
            found = self.cache[ids]
        except KeyError:
            return
        if longest_token_prefix(found.input_ids[: found.n_tokens].tolist(), ids) > longest_token_prefix(self._tokens, ids):
            self.load_state(found)

    def set_cache(self, cache: BaseLlamaCache | None) -> None:
        """Look for states in a cache before every completion, and put one there after it."""
        self.cache = cache

    @staticmethod
    def longest_token_prefix(a: Sequence[int], b: Sequence[int]) -> int:
        """How many tokens two sequences begin with alike."""
        return longest_token_prefix(a, b)

    @staticmethod
    def logits_to_logprobs(logits: np.ndarray | list[float], axis: int = -1) -> np.ndarray:
        """The natural logs of the probabilities, f32."""
        values = np.asarray(logits, np.float32)
        most = values.max(axis, keepdims=True)
        shifted = values - np.where(np.isfinite(most), most, 0)
        with np.errstate(divide="ignore"):
            return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
