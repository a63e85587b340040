"""llama-cpp-python's class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxllama.environment import thread_count
from jaxllama.formats.gguf import open_gguf
from jaxllama.loading import load
from jaxllama.text import Tokenizer

from .embedding import Embedding
from .formats import FALLBACK
from .handlers import Handler, TemplateHandler
from .llama_chat_format import guess_chat_format_from_gguf_metadata
from .llama_cpp import (
    LLAMA_ATTENTION_TYPE_UNSPECIFIED,
    LLAMA_DEFAULT_SEED,
    LLAMA_POOLING_TYPE_UNSPECIFIED,
    LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    LLAMA_SPLIT_MODE_LAYER,
)
from .llama_tokenizer import BaseLlamaTokenizer
from .options import cache_type, check_arguments, overrides, parameters, tell_once
from .pretrained import fetch
from .processors import LogitsProcessor, LogitsProcessorList, MinTokensLogitsProcessor, StoppingCriteria, StoppingCriteriaList
from .state import LlamaState

__all__ = [
    "Llama",
    "LlamaState",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "StoppingCriteria",
    "StoppingCriteriaList",
]

_TEMPLATE, _DEFAULT = "tokenizer.chat_template", "chat_template.default"


class Llama(Embedding):
    """A model, as llama-cpp-python's class of the same name has it.

    It remembers the tokens it has read: what a prompt has in common with them is not read again. For several threads, and for batches, use `model`.

    Attributes:
        model_path, chat_format, chat_handler, cache, verbose, n_batch, n_threads, n_threads_batch, last_n_tokens_size, spm_infill, numa, tensor_split,
            kv_overrides, lora_base, lora_scale, lora_path, draft_model: as in llama-cpp-python.
        model_params, context_params: what the constructor was given, under the names of llama.cpp's structures.
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
        chat_handler: Handler | None = None,
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
            chat_format: a name of llama-cpp-python (`formats.py`, or registered with `register_chat_format`), a template of the file (`chat_template.NAME`),
                one of llama.cpp's templates, or Jinja. Without it the file's template, or "llama-2".
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
        if vocab_only:
            model, self.file = None, open_gguf(model_path, overrides=changed, header_only=True)
            vocabulary = Tokenizer.from_metadata(self.file.metadata, str(model_path))
            self._n_ctx = n_ctx
        else:
            kind, mode = cache_type(type_k, type_v), "auto" if use_mmap else "none"
            model = load(model_path, n_ctx=n_ctx, n_batch=n_batch, cache_type=kind, overrides=changed, load_mode=mode)
            self.file, vocabulary, self._n_ctx = model.file, model.tokenizer, model.n_ctx
        self._use(vocabulary, tokenizer)
        super().__init__(model, seed=seed, logits_all=logits_all, n_ctx=self._n_ctx, n_batch=n_batch, last_n_tokens_size=last_n_tokens_size)
        self.model_path, self.verbose, self.spm_infill = str(model_path), verbose, spm_infill
        self.n_threads, self.n_threads_batch = n_threads or thread_count(), n_threads_batch or thread_count()
        self.model_params, self.context_params = parameters(self._arguments, self._n_ctx, self.n_batch, (self.n_threads, self.n_threads_batch))
        self.numa, self.tensor_split, self.kv_overrides = int(numa), tensor_split, kv_overrides
        self.lora_base, self.lora_scale, self.lora_path, self.draft_model = lora_base, lora_scale, lora_path, draft_model
        templates = {key.removeprefix("tokenizer."): value for key, value in self.file.metadata.items() if key.startswith(f"{_TEMPLATE}.")}
        self._chat_handlers = {name: TemplateHandler(source) for name, source in templates.items() if isinstance(source, str)}
        if isinstance(self.file.metadata.get(_TEMPLATE), str):
            self._chat_handlers[_DEFAULT] = TemplateHandler()
        self.chat_format, self.chat_handler = chat_format, chat_handler
        if chat_format is None and chat_handler is None:
            named = guess_chat_format_from_gguf_metadata(self.file.metadata)
            self.chat_format = named or (_DEFAULT if _DEFAULT in self._chat_handlers else FALLBACK)

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


def _told(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:f}" if isinstance(value, float) else str(value)
