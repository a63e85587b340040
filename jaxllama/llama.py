"""`Llama`, with the calls of llama-cpp-python that scripts use most, thin over `Model`: change the import, and they run.

from jaxllama.llama import Llama
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .api import Model, load
from .chat import FINISH
from .grammar import Grammar
from .hub import download

_IGNORED = frozenset(
    "n_gpu_layers n_threads n_threads_batch use_mmap use_mlock verbose logits_all embedding main_gpu split_mode n_ubatch offload_kqv flash_attn".split()
)


class LlamaGrammar:
    """Grammars under llama-cpp-python's names."""

    @staticmethod
    def from_string(grammar: str, verbose: bool = True) -> Grammar:
        """Read GBNF."""
        return Grammar.from_gbnf(grammar)

    @staticmethod
    def from_json_schema(json_schema: str, verbose: bool = True) -> Grammar:
        """The JSON that a schema describes."""
        return Grammar.from_json_schema(json.loads(json_schema))


def _renamed(options: Mapping[str, Any]) -> dict[str, Any]:
    """llama-cpp-python's options under their names here; what is None is left out."""
    names = {"mirostat_mode": "mirostat"}
    return {names.get(name, name): value for name, value in options.items() if value is not None}


class Llama:
    """A model, as llama-cpp-python's class of the same name has it. What has no meaning here is accepted and does nothing; what cannot be done is an error.

    Attributes:
        model: the loaded model, with everything that this class does not show.
    """

    def __init__(
        self, model_path: str | Path, *, n_ctx: int = 512, n_batch: int = 512, seed: int | None = None, chat_format: str | None = None, **options: Any
    ):
        """
        Args:
            model_path: GGUF file.
            n_ctx: tokens a sequence may have; 0 for the model's own.
            n_batch: most prompt tokens at a time.
            seed: of all generations that have no seed of their own; None (and 0xFFFFFFFF) for a random one.
            chat_format: Jinja or the name of a built-in template, instead of the file's.
            **options: of llama-cpp-python; those about GPUs, threads and memory mapping mean nothing here.

        Raises:
            TypeError: an option that is neither known nor without meaning here.
        """
        if unknown := sorted(set(options) - _IGNORED):
            raise TypeError(f"Llama does not take {', '.join(unknown)}; it takes model_path, n_ctx, n_batch, seed, chat_format")
        self.model: Model = load(model_path, n_ctx=n_ctx, n_batch=n_batch, chat_template=chat_format)
        self.model_path = str(model_path)
        self._seed = None if seed is None or seed == 0xFFFFFFFF else seed

    @classmethod
    def from_pretrained(cls, repo_id: str, filename: str | None = None, **options: Any) -> Llama:
        """A model of the Hugging Face hub; `filename` may have a star for the part that does not matter (`*Q4_K_M.gguf`)."""
        if filename and "*" in filename:
            return cls(download(repo_id, quant=filename.strip("*").removesuffix(".gguf").strip("-.")), **options)
        return cls(download(repo_id, file=filename), **options)

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Ids of a text."""
        return self.model.tokenizer.encode(text.decode("utf-8", "replace"), add_special=add_bos, parse_special=special)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """The text of ids; after other tokens, a leading space stays."""
        tokenizer = self.model.tokenizer
        if prev_tokens:
            return b"".join(tokenizer.piece(t, special=special) for t in tokens)
        return tokenizer.decode(tokens, unparse_special=special).encode()

    def n_ctx(self) -> int:
        """Tokens a sequence may have."""
        return self.model.n_ctx

    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return self.model.config.n_vocab

    def n_embd(self) -> int:
        """Numbers in an embedding."""
        return self.model.config.n_embd

    def token_bos(self) -> int:
        """The token that begins a text; -1 for none."""
        return -1 if self.model.tokenizer.bos is None else self.model.tokenizer.bos

    def token_eos(self) -> int:
        """The token that ends a text; -1 for none."""
        return -1 if self.model.tokenizer.eos is None else self.model.tokenizer.eos

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata, lists left out, as text."""
        return {k: str(v) for k, v in self.model.file.metadata.items() if not hasattr(v, "__len__") or isinstance(v, str)}

    def set_seed(self, seed: int) -> None:
        """The seed of all generations that have none of their own."""
        self._seed = seed

    def reset(self) -> None:
        """Does nothing: every call begins with an empty state."""

    def close(self) -> None:
        """Does nothing: memory goes with the object."""

    def create_completion(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        top_k: int = 40,
        echo: bool = False,
        stop: str | Sequence[str] | None = None,
        logprobs: int | None = None,
        seed: int | None = None,
        stream: bool = False,
        model: str | None = None,
        **more: Any,
    ) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """Continue a text: a dictionary in the shape of OpenAI's `text_completion`, or with `stream` an iterator of them.

        Args:
            max_tokens: None or -1 for no limit.
            echo: the text begins with the prompt.
            logprobs: the probabilities of the tokens that were chosen, and of so many others.
            **more: `grammar`, `logit_bias`, `typical_p`, `repeat_penalty`, `frequency_penalty`, `presence_penalty`, `mirostat_mode`, `mirostat_tau`,
                `mirostat_eta`, and what `Model.stream` takes beside those.
        """
        chunks = self._completion(
            prompt,
            max_tokens,
            echo,
            stop,
            logprobs,
            model or self.model_path,
            {"temperature": temperature, "top_p": top_p, "min_p": min_p, "top_k": top_k, "seed": self._seeded(seed)} | _renamed(more),
        )
        if stream:
            return chunks
        last: dict[str, Any] = {}
        text, tokens, values, others = "", [], [], []
        for last in chunks:
            choice = last["choices"][0]
            text += choice["text"]
            if choice["logprobs"]:
                tokens += choice["logprobs"]["tokens"]
                values += choice["logprobs"]["token_logprobs"]
                others += choice["logprobs"]["top_logprobs"]
        found = {"tokens": tokens, "token_logprobs": values, "top_logprobs": others} if logprobs is not None else None
        return last | {"choices": [last["choices"][0] | {"text": text, "logprobs": found}]}

    __call__ = create_completion

    def _seeded(self, seed: int | None) -> int:
        chosen = self._seed if seed is None else seed
        return -1 if chosen is None else chosen

    def _completion(
        self, prompt: str | Sequence[int], max_tokens: int | None, echo: bool, stop: Any, logprobs: int | None, model: str, sampling: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        ids = self.model.encode(prompt)
        head = {"id": "cmpl-" + secrets.token_hex(12), "object": "text_completion", "created": int(time.time()), "model": model}
        count = 0
        if logprobs:
            sampling = {**sampling, "n_probs": logprobs}

        def text_of(token: int) -> str:
            return self.model.tokenizer.piece(token).decode("utf-8", "replace")

        def chunk(text: str, reason: str | None = None, found: Any = None, **more: Any) -> dict[str, Any]:
            return head | {"choices": [{"text": text, "index": 0, "logprobs": found, "finish_reason": reason}], **more}

        if echo:
            yield chunk(prompt if isinstance(prompt, str) else self.model.tokenizer.decode(ids))
        for piece in self.model.stream(ids, n_predict=-1 if max_tokens is None or max_tokens < 1 else max_tokens, stop=stop or (), **sampling):
            count += piece.token is not None
            found = None
            if logprobs is not None and piece.token is not None:
                likely = {text_of(token): value for token, value in piece.likely}
                found = {"tokens": [text_of(piece.token)], "token_logprobs": [piece.logprob], "top_logprobs": [likely]}
            if piece.reason is None:
                yield chunk(piece.text, None, found)
            else:
                usage = {"prompt_tokens": len(ids), "completion_tokens": count, "total_tokens": len(ids) + count}
                yield chunk(piece.text, FINISH[piece.reason], found, usage=usage)

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        **more: Any,
    ) -> dict[str, Any] | Iterator[dict[str, Any]]:
        """Answer messages: a dictionary in the shape of OpenAI's `chat.completion`, or with `stream` an iterator of its chunks.

        Args:
            **more: `response_format`, `grammar`, and the sampling parameters of `create_completion`.
        """
        options = {
            "tools": tools,
            "tool_choice": tool_choice,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "min_p": min_p,
            "stop": stop or (),
            "seed": self._seeded(seed),
            "max_tokens": -1 if max_tokens is None or max_tokens < 1 else max_tokens,
        } | _renamed(more)
        name = {"model": model or self.model_path}
        if stream:
            return (chunk | name for chunk in self.model.stream_chat(messages, **options))
        return self.model.chat(messages, **options) | name

    def create_embedding(self, input: str | Sequence[str], model: str | None = None) -> dict[str, Any]:
        """Embeddings of texts, in OpenAI's shape: the mean of the last hidden states, of length one."""
        texts = [input] if isinstance(input, str) else list(input)
        data = [{"object": "embedding", "embedding": self.model.embed(text).tolist(), "index": n} for n, text in enumerate(texts)]
        count = sum(len(self.model.encode(text)) for text in texts)
        return {"object": "list", "data": data, "model": model or self.model_path, "usage": {"prompt_tokens": count, "total_tokens": count}}

    def embed(self, input: str | Sequence[str], normalize: bool = True) -> list[float] | list[list[float]]:
        """The embedding of a text, or of several."""
        if isinstance(input, str):
            return self.model.embed(input, normalize=normalize).tolist()
        return [self.model.embed(text, normalize=normalize).tolist() for text in input]
