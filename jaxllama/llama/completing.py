"""The part of `Llama` that continues texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jaxllama.grammar import Grammar
from jaxllama.prompt import read_prompt

from . import completion
from .options import SAMPLING, known_tokens, sampling
from .processors import LogitsProcessorList, MinTokensLogitsProcessor, host_function
from .saving import Saving


class Completing(Saving):
    """
    Attributes:
        model_path: the file.
        spm_infill: the suffix comes before the prefix in prompts with a `suffix`.
    """

    model_path: str
    spm_infill: bool
    _n_ctx: int

    def n_ctx(self) -> int:
        """Tokens a sequence may have."""
        return self._n_ctx

    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        logprobs: int | None = None,
        echo: bool = False,
        stop: str | Sequence[str] | None = None,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        top_k: int = 40,
        stream: bool = False,
        seed: int | None = None,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        stopping_criteria: Any = None,
        logits_processor: Any = None,
        grammar: Grammar | str | None = None,
        logit_bias: Mapping[int, float] | None = None,
        *,
        min_tokens: int = 0,
        max_completion_tokens: int | None = None,
        n: int | None = None,
        user: str | None = None,
        stream_options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """Continue a text: a dictionary in the shape of OpenAI's `text_completion`, or with `stream` an iterator of its chunks.

        Args:
            suffix: text that comes after what is written, told to models with tokens for infilling, and appended for others.
            max_tokens: None, 0 or less for as many as the context has room for.
            logprobs: log-probabilities, with so many of the most likely tokens (at most 32).
            echo: the prompt comes first; its tokens have log-probabilities too.
            stopping_criteria, logits_processor: functions of the tokens and the next logits in numpy; tokens are decoded one by one then.
            min_tokens: forbid the end for so many tokens.
            n: completions to choose from; not with `stream`.
            stream_options: `{"include_usage": True}` for a last chunk with the usage.
            **more: what else `Model.stream` takes.

        Raises:
            ValueError: the prompt fills the context.
        """
        given = {**locals(), "logit_bias": known_tokens(logit_bias, self.n_vocab())}
        options = sampling({name: given[name] for name in SAMPLING}) | more
        ids, after = self._prompt(prompt, suffix)
        empty = isinstance(prompt, str) and not prompt
        room = self._n_ctx - len(ids)
        if room <= 0:
            raise ValueError(f"Requested tokens ({len(ids)}) exceed context window of {self._n_ctx}")
        limit = max_tokens if max_completion_tokens is None else max_completion_tokens
        limit = room if limit is None or limit <= 0 else min(limit, room)
        options["logits_processor"] = host_function(self._processors(logits_processor, min_tokens), stopping_criteria)
        usage = bool((stream_options or {}).get("include_usage"))
        asked = completion.Asked(
            *(prompt, ids, max(1, limit - empty), model or self.model_path, logprobs, echo, after, empty, usage, {**options, "stop": stop or ()})
        )
        if logprobs is not None and not 0 <= logprobs <= completion.MOST_LIKELY:
            raise ValueError(f"logprobs: expected a number from 0 to {completion.MOST_LIKELY}, found {logprobs}")
        if stream:
            if n not in (None, 1):
                raise ValueError(f"n: a stream has one completion, not {n}")
            return completion.stream(self, asked, self.next_seed(seed))
        found = [completion.complete(self, asked, self.next_seed(seed if number == 0 else None)) for number in range(n or 1)]
        return completion.together(found)

    __call__ = create_completion

    def _prompt(self, prompt: str | Sequence[int], suffix: str | None) -> tuple[list[int], str]:
        """The ids of a prompt, and the text that comes after the completion."""
        given = read_prompt(prompt)
        if suffix is None:
            ids = self.tokenize(given.encode(), special=True) if isinstance(given, str) else given
            return self.model.encode(ids), ""
        before = self.tokenize(given.encode(), add_bos=False) if isinstance(given, str) else given
        special = self.vocabulary.vocabulary.special
        if not all(name in special for name in ("fim_pre", "fim_suf", "fim_mid")):
            return self._prompt(prompt, None)[0], suffix
        first, last = [special["fim_pre"], *before], [special["fim_suf"], *self.tokenize(suffix.encode(), add_bos=False)]
        bos = [self.token_bos()] if self.vocabulary.vocabulary.add_bos and self.token_bos() >= 0 else []
        return [*bos, *(last + first if self.spm_infill else first + last), special["fim_mid"]], ""

    def _processors(self, given: Any, min_tokens: int) -> LogitsProcessorList | None:
        """The functions that change logits."""
        functions = [] if given is None else given if isinstance(given, list) else [given]
        if min_tokens > 0:
            functions = [*functions, MinTokensLogitsProcessor(min_tokens, self.token_eos())]
        return LogitsProcessorList(functions) if functions else None
