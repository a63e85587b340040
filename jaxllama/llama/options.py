"""What becomes of the constructor's arguments, and of the names that sampling parameters have here."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from types import SimpleNamespace
from typing import Any

from jaxllama.formats.gguf import Field, GGUFFile, ValueType

from .llama_cpp import GGML_TYPE_BF16, GGML_TYPE_F16, GGML_TYPE_F32, LLAMA_ATTENTION_TYPE_NON_CAUSAL

_DEVICES, _THREADS, _OTHER = (
    "JAX chooses devices (JAX_PLATFORMS)",
    "all cores that the process may use are used (taskset, NPROC)",
    "there is no such choice here",
)
# What means nothing here: its default, and why.
_NOTHING: dict[str, tuple[Any, str]] = {
    **{name: (default, _DEVICES) for name, default in (("n_gpu_layers", 0), ("split_mode", 1), ("main_gpu", 0), ("tensor_split", None))},
    **{name: (default, _DEVICES) for name, default in (("offload_kqv", True), ("op_offload", None))},
    **dict.fromkeys(("n_threads", "n_threads_batch"), (None, _THREADS)),
    **{name: (default, _OTHER) for name, default in (("use_mlock", False), ("numa", False), ("n_ubatch", 512), ("flash_attn", False), ("swa_full", None))},
    **{name: (default, _OTHER) for name, default in (("no_perf", False), ("lora_scale", 1.0))},
}
_LATER = {"lora_base": "LoRA adapters", "lora_path": "LoRA adapters", "draft_model": "speculative decoding"}
_CACHE_TYPES = {GGML_TYPE_F32: "f32", GGML_TYPE_F16: "f16", GGML_TYPE_BF16: "bf16"}
_SCALING = {0: "none", 1: "linear", 2: "yarn"}
_told: set[str] = set()


def tell_once(name: str, text: str) -> None:
    """A warning about a name, the first time in this process."""
    if name not in _told:
        _told.add(name)
        warnings.warn(f"{name}: {text}", stacklevel=4)


def check_arguments(given: Mapping[str, Any], unknown: Mapping[str, Any]) -> None:
    """Say what has no effect, and refuse what needs what is not there yet.

    Raises:
        NotImplementedError: such an argument has a value.
    """
    for name, what in _LATER.items():
        if given[name] is not None:
            raise NotImplementedError(f"{name}: jaxllama has no {what} yet; leave it out")
    if given["attention_type"] == LLAMA_ATTENTION_TYPE_NON_CAUSAL:
        raise NotImplementedError("attention_type: jaxllama has no attention that is not causal yet; leave it out")
    for name, (default, reason) in _NOTHING.items():
        if given[name] != default:
            tell_once(name, f"it has no effect: {reason}")
    for name in unknown:
        near = get_close_matches(name, list(given), 1)
        tell_once(name, "Llama has no such argument, it is ignored" + (f"; did you mean '{near[0]}'?" if near else ""))


def cache_type(type_k: int | None, type_v: int | None) -> str | None:
    """The one type of the KV cache.

    Raises:
        NotImplementedError: a quantized one.
        ValueError: keys and values are to have different types.
    """
    for name, kind in (("type_k", type_k), ("type_v", type_v)):
        if kind is not None and kind not in _CACHE_TYPES:
            raise NotImplementedError(f"{name}: jaxllama has no quantized KV cache yet; the types are {', '.join(_CACHE_TYPES.values())}")
    if type_k is not None and type_v is not None and type_k != type_v:
        raise ValueError(f"type_k and type_v: keys and values have the same type here, not {_CACHE_TYPES[type_k]} and {_CACHE_TYPES[type_v]}")
    chosen = type_v if type_k is None else type_k
    return None if chosen is None else _CACHE_TYPES[chosen]


def overrides(file: GGUFFile, given: Mapping[str, Any]) -> list[Field]:
    """The metadata that `kv_overrides` and the arguments for RoPE put in the place of the file's."""
    name = str(file.require("general.architecture"))
    found: dict[str, Any] = {}
    if (scaling := given["rope_scaling_type"]) is not None and scaling >= 0:
        if scaling not in _SCALING:
            raise NotImplementedError(f"rope_scaling_type: jaxllama has {', '.join(_SCALING.values())}, not number {scaling}")
        found[f"{name}.rope.scaling.type"] = _SCALING[scaling]
    if given["rope_freq_base"]:
        found[f"{name}.rope.freq_base"] = float(given["rope_freq_base"])
    if given["rope_freq_scale"]:
        found[f"{name}.rope.scaling.factor"] = 1 / given["rope_freq_scale"]
    if given["yarn_orig_ctx"]:
        found[f"{name}.rope.scaling.original_context_length"] = int(given["yarn_orig_ctx"])
    for argument, key, default in (("ext_factor", "yarn_ext_factor", -1.0), ("attn_factor", "attn_factor", 1.0)):
        if given[f"yarn_{argument}"] != default:
            found[f"{name}.rope.scaling.{key}"] = float(given[f"yarn_{argument}"])
    for argument, default in (("yarn_beta_fast", 32.0), ("yarn_beta_slow", 1.0)):
        if given[argument] != default:
            found[f"{name}.rope.scaling.{argument}"] = float(given[argument])
    return [_field(key, value) for key, value in {**found, **(given["kv_overrides"] or {})}.items()]


def _field(key: str, value: Any) -> Field:
    for kind, stored in ((bool, ValueType.BOOL), (int, ValueType.INT64), (float, ValueType.FLOAT64), (str, ValueType.STRING)):
        if isinstance(value, kind):
            return Field(key, stored, value)
    raise ValueError(f"kv_overrides: expected true or false, a number or a text for {key}, found {value!r}")


def known_tokens(biases: Any, count: int) -> Any:
    """A `logit_bias` of the tokens that there are; others are left out with a warning."""
    if not isinstance(biases, Mapping):
        return biases
    unknown = [key for key in biases if not isinstance(key, bool) and str(key).lstrip("-").isdigit() and not 0 <= int(key) < count]
    if unknown:
        warnings.warn(f"logit_bias: tokens are from 0 to {count - 1}, so {', '.join(map(str, unknown))} has no effect", stacklevel=4)
    return {key: value for key, value in biases.items() if key not in unknown}


def parameters(given: Mapping[str, Any], n_ctx: int, n_batch: int, threads: tuple[int, int]) -> tuple[SimpleNamespace, SimpleNamespace]:
    """What the constructor was given, under the names of llama.cpp's structures for models and for contexts."""
    model = {name: given[name] for name in ("n_gpu_layers", "split_mode", "main_gpu", "tensor_split", "vocab_only")}
    names = ("pooling_type", "attention_type", "rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")
    context = {name: given[name] for name in (*names, "yarn_orig_ctx", "offload_kqv", "op_offload", "swa_full", "no_perf")}
    context |= {name: GGML_TYPE_F16 if given[name] is None else given[name] for name in ("type_k", "type_v")}
    context |= {"n_ctx": n_ctx, "n_batch": n_batch, "n_ubatch": min(n_batch, given["n_ubatch"]), "embeddings": given["embedding"]}
    context |= {
        "n_threads": threads[0],
        "n_threads_batch": threads[1],
        "rope_scaling_type": -1 if given["rope_scaling_type"] is None else given["rope_scaling_type"],
    }
    return SimpleNamespace(**model), SimpleNamespace(**context)


SAMPLING = (
    *("temperature", "top_p", "min_p", "typical_p", "top_k", "frequency_penalty", "presence_penalty", "repeat_penalty", "tfs_z"),
    *("mirostat_mode", "mirostat_tau", "mirostat_eta", "grammar", "logit_bias"),
)


def sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling parameters under the names that `Model.stream` has for them; what is None is left out."""
    found = {name: value for name, value in given.items() if value is not None}
    if found.pop("tfs_z", 1.0) != 1.0:
        tell_once("tfs_z", "it has no effect, as in llama.cpp, which has no tail-free sampling any more")
    if not found.pop("penalize_nl", True):
        tell_once("penalize_nl", "it has no effect, as in llama-cpp-python")
    for name, ours in (("mirostat_mode", "mirostat"), ("temp", "temperature")):
        if name in found:
            found[ours] = found.pop(name)
    if found.get("temperature", 0) < 0:  # the whole distribution, as it is
        found |= {"temperature": 1.0, "samplers": ["penalties"]}
    return found
