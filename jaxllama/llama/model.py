"""llama-cpp-python's class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxllama.formats.gguf import open_gguf
from jaxllama.grammar import Grammar
from jaxllama.loading import load
from jaxllama.prompt import read_prompt
from jaxllama.text import Tokenizer

from . import chats, completion
from .constants import (
    LLAMA_ATTENTION_TYPE_UNSPECIFIED,
    LLAMA_DEFAULT_SEED,
    LLAMA_POOLING_TYPE_UNSPECIFIED,
    LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    LLAMA_SPLIT_MODE_LAYER,
)
from .embedding import pooled
from .formats import CHAT_FORMATS, FALLBACK
from .options import cache_type, check_arguments, overrides, sampling, tell_once
from .pretrained import fetch
from .processors import LogitsProcessorList, MinTokensLogitsProcessor, host_function
from .reading import Reading
from .tokenizer import BaseLlamaTokenizer

_TEMPLATE = "tokenizer.chat_template"


class Llama(Reading):
    """A model, as llama-cpp-python's class of the same name has it.

    It remembers the tokens it has read: what a prompt has in common with them is not read again. For several threads, and for batches, use `model`.

    Attributes:
        model_path, chat_format, chat_handler, cache, verbose: as in llama-cpp-python.
        vocabulary: the file's tokenizer; `tokenizer_` is the one that makes ids of texts.
        file: the open GGUF file.
        kept: the prompt cache.
    """

    def __init__(
        self,
        model_path: str | Path,
        *,
        n_gpu_layers: int = 0,
        split_mode: int = LLAMA_SPLIT_MODE_LAYER,
        main_gpu: int = 0,
        tensor_split: list[float] | None = None,
        vocab_only: bool = False,
        use_mmap: bool = True,
        use_mlock: bool = False,
        kv_overrides: Mapping[str, bool | int | float | str] | None = None,
        seed: int = LLAMA_DEFAULT_SEED,
        n_ctx: int = 512,
        n_batch: int = 512,
        n_ubatch: int = 512,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        rope_scaling_type: int | None = LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
        pooling_type: int = LLAMA_POOLING_TYPE_UNSPECIFIED,
        attention_type: int = LLAMA_ATTENTION_TYPE_UNSPECIFIED,
        rope_freq_base: float = 0.0,
        rope_freq_scale: float = 0.0,
        yarn_ext_factor: float = -1.0,
        yarn_attn_factor: float = 1.0,
        yarn_beta_fast: float = 32.0,
        yarn_beta_slow: float = 1.0,
        yarn_orig_ctx: int = 0,
        logits_all: bool = False,
        embedding: bool = False,
        offload_kqv: bool = True,
        flash_attn: bool = False,
        op_offload: bool | None = None,
        swa_full: bool | None = None,
        no_perf: bool = False,
        last_n_tokens_size: int = 64,
        lora_base: str | None = None,
        lora_scale: float = 1.0,
        lora_path: str | None = None,
        numa: bool | int = False,
        chat_format: str | None = None,
        chat_handler: Any = None,
        draft_model: Any = None,
        tokenizer: BaseLlamaTokenizer | None = None,
        type_k: int | None = None,
        type_v: int | None = None,
        spm_infill: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ):
        """
        Args:
            model_path: GGUF file.
            vocab_only: read the vocabulary alone: for tokenizing.
            use_mmap: False reads the weights into memory of this process, see `jaxllama.load`.
            kv_overrides: metadata that replace the file's.
            seed: every generation without a seed of its own takes the next one of a sequence that begins here.
            n_ctx: tokens a sequence may have; 0 for the model's own.
            n_batch: most prompt tokens at a time.
            pooling_type: of embeddings; without it the file's, or none: a vector for each token.
            rope_scaling_type, rope_freq_base, rope_freq_scale, yarn_ext_factor, yarn_attn_factor, yarn_beta_fast, yarn_beta_slow, yarn_orig_ctx: instead
                of what the file says.
            logits_all: `scores` and `eval_logits` have all positions. Log-probabilities need it not.
            last_n_tokens_size: how many of the last tokens the penalties look at.
            chat_format: one of llama-cpp-python's names, or llama.cpp's, or Jinja, instead of the file's template.
            chat_handler: a function that answers in the place of `create_chat_completion`, called with `llama` and its arguments.
            tokenizer: makes ids of texts, instead of the file's vocabulary, which still makes the text of generated ids.
            type_k, type_v: `GGML_TYPE_F16`, `GGML_TYPE_BF16` or `GGML_TYPE_F32`.
            spm_infill: the suffix comes before the prefix in prompts with a `suffix`.
            n_gpu_layers, split_mode, main_gpu, tensor_split, use_mlock, n_ubatch, n_threads, n_threads_batch, offload_kqv, flash_attn, op_offload, swa_full,
                no_perf, lora_scale, numa: have no effect here, which one warning says. `embedding` and `verbose` need none.
            lora_base, lora_path, draft_model, attention_type: not there yet: an error if they have a value.
            **kwargs: other names are ignored with a warning.

        Raises:
            ValueError: the file does not exist.
            NotImplementedError: an argument needs what is not there yet.
        """
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        check_arguments(self._arguments, kwargs)
        if not Path(model_path).exists():
            raise ValueError(f"Model path does not exist: {model_path}")
        header = open_gguf(model_path, header_only=True)
        changed = overrides(header, self._arguments)
        has_template = _TEMPLATE in header.metadata
        if vocab_only:
            model, self.file = None, open_gguf(model_path, overrides=changed, header_only=True)
            vocabulary = Tokenizer.from_metadata(self.file.metadata, str(model_path))
            self._n_ctx = n_ctx
        else:
            name = chat_format if chat_format is not None or has_template else FALLBACK
            template = CHAT_FORMATS.get(name, name) if name is not None else None
            kind, mode = cache_type(type_k, type_v), "auto" if use_mmap else "none"
            model = load(model_path, n_ctx=n_ctx, n_batch=n_batch, cache_type=kind, overrides=changed, load_mode=mode, chat_template=template)
            self.file, vocabulary, self._n_ctx = model.file, model.tokenizer, model.n_ctx
        batch = min(self._n_ctx, n_batch)
        self._use(vocabulary, tokenizer)
        super().__init__(model, seed=seed, logits_all=logits_all, n_batch=batch, last_n_tokens_size=last_n_tokens_size)
        self.model_path, self.verbose, self.spm_infill, self.chat_handler = str(model_path), verbose, spm_infill, chat_handler
        self.chat_format = chat_format or ("chat_template.default" if has_template else FALLBACK)

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None = None,
        additional_files: list[str] | None = None,
        local_dir: str | Path | None = None,
        local_dir_use_symlinks: bool | str = "auto",
        cache_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> Llama:
        """A model of the Hugging Face hub; `filename` may be a pattern (`*Q4_K_M.gguf`)."""
        if local_dir_use_symlinks != "auto":
            tell_once("local_dir_use_symlinks", "it has no effect: the hub's client decides")
        return cls(fetch(repo_id, filename, additional_files, local_dir, cache_dir), **kwargs)

    _is_recurrent = _is_hybrid = False  # these two and `_ctx` are what llama-cpp-python's own tests look at

    @property
    def ctx(self) -> object:
        """Something that is not None, as scripts test."""
        return self.kept

    @property
    def _ctx(self) -> Llama:
        return self

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata, lists left out, as llama.cpp writes them."""
        return {k: _told(v) for k, v in self.file.metadata.items() if isinstance(v, str) or not hasattr(v, "__len__")}

    def n_ctx(self) -> int:
        """Tokens a sequence may have."""
        return self._n_ctx

    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return len(self.vocabulary)

    def n_embd(self) -> int:
        """Numbers in an embedding."""
        return int(self.file.require(f"{self.file.require('general.architecture')}.embedding_length"))

    def pooling_type(self) -> int:
        """How the vectors of tokens become one."""
        chosen = self._arguments["pooling_type"]
        return int(self.file.get(f"{self.file.get('general.architecture')}.pooling_type", 0)) if chosen == LLAMA_POOLING_TYPE_UNSPECIFIED else chosen

    def close(self) -> None:
        """Let go of the weights."""
        self._model = self.kept.session = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self._arguments, "seed": self._seed, "chat_format": self._arguments["chat_format"]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    # Text

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
        given = locals()
        options = sampling({name: given[name] for name in _SAMPLING}) | more
        ids, after = self._prompt(prompt, suffix)
        room = self._n_ctx - len(ids)
        if room <= 0:
            raise ValueError(f"Requested tokens ({len(ids)}) exceed context window of {self._n_ctx}")
        limit = max_tokens if max_completion_tokens is None else max_completion_tokens
        limit = room if limit is None or limit <= 0 else min(limit, room)
        options |= self._by_the_host(logits_processor, stopping_criteria, min_tokens)
        usage = bool((stream_options or {}).get("include_usage"))
        asked = completion.Asked(prompt, ids, limit, model or self.model_path, logprobs, echo, after, usage, {**options, "stop": stop or ()})
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

    def _by_the_host(self, logits_processor: Any, stopping_criteria: Any, min_tokens: int = 0) -> dict[str, Any]:
        """The option for functions that look at logits on the host."""
        functions = [] if logits_processor is None else logits_processor if isinstance(logits_processor, list) else [logits_processor]
        if min_tokens > 0:
            functions = [*functions, MinTokensLogitsProcessor(min_tokens, self.token_eos())]
        found = host_function(LogitsProcessorList(functions) if functions else None, stopping_criteria)
        return {} if found is None else {"logits_processor": found}

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: Any = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        response_format: Any = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        logits_processor: Any = None,
        grammar: Grammar | str | None = None,
        logit_bias: Mapping[Any, float] | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        *,
        min_tokens: int = 0,
        max_completion_tokens: int | None = None,
        stream_options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        """Answer messages: a dictionary in the shape of OpenAI's `chat.completion`, or with `stream` an iterator of its chunks.

        Args:
            functions, function_call: OpenAI's older names for `tools` and `tool_choice`.
            max_tokens, min_tokens, stream_options, logits_processor: as for `create_completion`.
            **more: what else `Model.chat` takes.
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "more")}
        if self.chat_handler is not None:
            ours = ("min_tokens", "max_completion_tokens", "stream_options")
            return self.chat_handler(llama=self, **{name: value for name, value in given.items() if name not in ours}, **more)
        options = sampling({name: given[name] for name in _SAMPLING}) | more | self._by_the_host(logits_processor, None, min_tokens)
        options["tools"], options["tool_choice"] = chats.tools_of(functions, function_call, tools, tool_choice)
        limit = max_tokens if max_completion_tokens is None else max_completion_tokens
        options |= {"max_tokens": -1 if limit is None or limit <= 0 else limit, "model": model or self.model_path, "seed": self.next_seed(seed)}
        options |= {"response_format": response_format, "repeat_last_n": self.last_n_tokens_size}
        if logprobs:
            options |= {"logprobs": True, "top_logprobs": top_logprobs}
        older = functions is not None or isinstance(options["tool_choice"], Mapping)
        usage = bool((stream_options or {}).get("include_usage"))
        return chats.chat(self, messages, chat_format=self.chat_format, stream=stream, older=older, usage=usage, stop=stop, options=options)

    def create_chat_completion_openai_v1(self, *args: Any, **kwargs: Any) -> Any:
        """`create_chat_completion` with the types of OpenAI's client.

        Raises:
            ImportError: openai is not installed.
        """
        try:
            from openai.types.chat import ChatCompletion, ChatCompletionChunk  # type: ignore[import-not-found]
        except ImportError:
            raise ImportError("create_chat_completion_openai_v1 needs the openai package: pip install openai") from None
        found = self.create_chat_completion(*args, **kwargs)
        return (ChatCompletionChunk(**chunk) for chunk in found) if kwargs.get("stream") else ChatCompletion(**found)

    # Embeddings

    def create_embedding(self, input: str | Sequence[str], model: str | None = None) -> dict[str, Any]:
        """Embeddings of texts, in OpenAI's shape."""
        texts = [input] if isinstance(input, str) else list(input)
        vectors, count = self.embed(texts, return_count=True)
        data = [{"object": "embedding", "embedding": vector, "index": number} for number, vector in enumerate(vectors)]
        return {"object": "list", "data": data, "model": model or self.model_path, "usage": {"prompt_tokens": count, "total_tokens": count}}

    def embed(self, input: str | Sequence[str], normalize: bool = False, truncate: bool = True, return_count: bool = False) -> Any:
        """The embedding of a text, or of several: a vector of each, or of each token where nothing is pooled.

        Args:
            truncate: leave out what goes beyond `n_batch` tokens; otherwise that is an error.
            return_count: return the number of tokens too.
        """
        found, count = [], 0
        for text in [input] if isinstance(input, str) else input:
            ids = self.tokenize(text.encode())
            if len(ids) > self.n_batch and not truncate:
                raise ValueError(f"Requested tokens ({len(ids)}) exceed batch size of {self.n_batch}")
            ids = ids[: self.n_batch]
            count += len(ids)
            found.append(pooled(self.model, ids, self.pooling_type(), normalize))
        output = found[0] if isinstance(input, str) else found
        return (output, count) if return_count else output


_SAMPLING = (
    *("temperature", "top_p", "min_p", "typical_p", "top_k", "frequency_penalty", "presence_penalty", "repeat_penalty", "tfs_z"),
    *("mirostat_mode", "mirostat_tau", "mirostat_eta", "grammar", "logit_bias"),
)


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:f}" if isinstance(value, float) else str(value)
