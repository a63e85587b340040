"""What a `Llama` has read: tokens, and the KV cache that they left; reading more, and choosing the next one."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from jaxllama.api import Model
from jaxllama.decode import Session
from jaxllama.grammar import Grammar
from jaxllama.kept import Kept
from jaxllama.pieces import Piece

from .llama_cpp import LLAMA_DEFAULT_SEED
from .options import sampling
from .processors import host_function
from .words import Words


class Reading(Words):
    """The part of `Llama` that remembers.

    The tokens are a list, and `kept` holds a session whose KV cache begins with them and may go on with others: what was read in vain costs nothing.
    """

    def __init__(self, model: Model | None, *, seed: int, logits_all: bool, n_ctx: int, n_batch: int, last_n_tokens_size: int):
        self._model, self._seed, self._logits_all = model, seed or LLAMA_DEFAULT_SEED, logits_all
        self.n_batch, self._rows, self.last_n_tokens_size = min(n_batch, n_ctx), n_batch, last_n_tokens_size
        self.kept = Kept()
        self._tokens: list[int] = []
        self._scored: tuple[list[int], np.ndarray] | None = None

    @property
    def model(self) -> Model:
        """The loaded model, with everything that this class does not show."""
        if self._model is None:
            raise RuntimeError("there are no weights: this Llama was made with vocab_only=True, or closed")
        return self._model

    # Tokens that were read

    @property
    def n_tokens(self) -> int:
        """How many tokens were read; assign a smaller number to forget the last ones."""
        return len(self._tokens)

    @n_tokens.setter
    def n_tokens(self, count: int) -> None:
        if not 0 <= count <= len(self._tokens):
            raise ValueError(f"n_tokens: {len(self._tokens)} tokens were read, so it cannot become {count}")
        self._tokens = self._tokens[:count]

    @property
    def input_ids(self) -> np.ndarray:
        """int32[n_ctx]: the tokens that were read, then zeros."""
        return np.pad(np.asarray(self._tokens, np.intc), (0, self.model.n_ctx - len(self._tokens)))

    @property
    def _input_ids(self) -> np.ndarray:
        """The tokens that were read, alone."""
        return self.input_ids[: self.n_tokens]

    @property
    def _scores(self) -> np.ndarray:
        """The logits after them, alone."""
        return self.scores[: self.n_tokens]

    @property
    def eval_tokens(self) -> deque[int]:
        """The tokens that were read."""
        return deque(self._tokens, maxlen=self.model.n_ctx)

    @property
    def eval_logits(self) -> deque[list[float]]:
        """The logits after each of them; after the last one alone without `logits_all`."""
        return deque(self.scores[: self.n_tokens].tolist(), maxlen=self.model.n_ctx if self._logits_all else 1)

    @property
    def scores(self) -> np.ndarray:
        """f32[n_ctx, V]: the logits after each token that was read. They are computed when they are asked for.

        Without `logits_all` there are as many rows as the constructor's `n_batch` says.
        """
        if self._scored is None or self._scored[0] != self._tokens:
            rows = np.zeros((self.model.n_ctx if self._logits_all else self._rows, self.model.config.n_vocab), np.float32)
            if self._tokens:
                found = self.model.logits(self._tokens)[: len(rows)]
                rows[: len(found)] = found
            self._scored = list(self._tokens), rows
        return self._scored[1]

    def reset(self) -> None:
        """Forget all tokens."""
        self._tokens = []

    def eval(self, tokens: Sequence[int]) -> None:
        """Read tokens after those that were read before."""
        ids = [*self._tokens, *(int(token) for token in tokens)]
        if len(ids) > len(self._tokens):
            self.kept.session = self.model.prefill([ids], kept=self._usable())
            self._tokens = ids

    def _usable(self) -> Session | None:
        return self.model.continuable(self.kept.take())

    def noted(self) -> None:
        """Take what the prompt cache has read as what was read."""
        session = self.kept.session
        self._tokens = session.tokens[0][: int(session.state.positions[0])] if session is not None else []

    # Choosing tokens

    def set_seed(self, seed: int) -> None:
        """The seed of the next generation; those after it have others that follow from it."""
        self._seed = seed

    def next_seed(self, seed: int | None) -> int:
        """The seed of a generation: its own, or the next one."""
        self._seed = random.Random(self._seed).randint(0, 2**32) if seed is None else seed
        return self._seed

    def pieces(self, ids: Sequence[int], **options: Any) -> Iterator[Piece]:
        """`Model.stream` with the prompt cache: whoever stops has read what he was given, except for the last token."""
        read = list(ids)
        try:
            for piece in self.model.stream(ids, kept=self.kept, repeat_last_n=self.last_n_tokens_size, **options):
                self._tokens = list(read)
                if piece.token is not None:
                    read.append(piece.token)
                elif piece.reason == "end":
                    self._tokens = list(read)
                yield piece
        finally:
            session = self.kept.session
            if session is None:  # an error: what is in the cache is unknown
                self._tokens = []
            else:
                self._tokens = self._tokens[: int(session.state.positions[0])]

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.80,
        repeat_penalty: float = 1.0,
        reset: bool = True,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        penalize_nl: bool = True,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        grammar: Grammar | str | None = None,
    ) -> Generator[int, Sequence[int] | None, None]:
        """Tokens after tokens, without end, until the context is full or the grammar ends.

        What is sent to the generator are guesses of what follows, as in llama-cpp-python, and changes nothing.

        Args:
            reset: begin anew (what the tokens have in common with those read before is not read again); otherwise they come after those.

        Raises:
            ValueError: there is no token to begin with.
        """
        names = ("top_k", "top_p", "min_p", "typical_p", "temp", "repeat_penalty", "frequency_penalty", "presence_penalty", "tfs_z", "penalize_nl", "grammar")
        given = locals()
        options = sampling({name: given[name] for name in (*names, "mirostat_mode", "mirostat_tau", "mirostat_eta")})
        options |= {"seed": self._seed, "logits_processor": host_function(logits_processor, stopping_criteria), "n_predict": -1}
        before = [*([] if reset else self._tokens), *tokens]
        made: list[int] = []
        if not before:
            raise ValueError("generate: expected at least one token, found none" + ("" if reset else "; none was read before"))
        while True:
            begun = b"".join(self.model.tokenizer.piece(t, special=True) for t in made) if grammar else b""
            reason = None
            for piece in self.pieces([*before, *made], begun=begun, **options):
                reason = piece.reason
                if piece.token is not None:
                    made.append(piece.token)
                    yield piece.token
            if reason != "end":
                return
            made.append(self._newest())
            yield made[-1]
            if grammar is not None:
                return

    def _newest(self) -> int:
        session = self.kept.session
        assert session is not None
        return session.tokens[0][-1]

    def sample(
        self,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        temp: float = 0.80,
        repeat_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_eta: float = 0.1,
        mirostat_tau: float = 5.0,
        penalize_nl: bool = True,
        logits_processor: Any = None,
        grammar: Grammar | str | None = None,
        idx: int | None = None,
    ) -> int:
        """A token after those that were read, or after the one in place `idx`; it is not read.

        Raises:
            ValueError: nothing was read.
        """
        options = {name: value for name, value in locals().items() if name not in ("self", "idx")}
        if not self._tokens:
            raise ValueError("sample: no tokens were read; eval(tokens) reads some")
        before = self._tokens
        if idx is not None and not 0 <= idx < len(before):
            raise ValueError(f"sample: idx must be from 0 to {len(before) - 1}, as {len(before)} tokens were read, not {idx}")
        tokens = self.generate(before if idx is None else before[: idx + 1], **options)
        token = next(tokens)
        tokens.close()
        self._tokens = before
        return token
