"""Tiny random models of every architecture, written with our own writer from a seed.

Their tensors follow from their metadata, as the package reads them; llama.cpp refuses a file with a tensor too many, too few or of another shape. Their
logits, as llama.cpp computes them, are recorded in `logits.npz` (see `record.py`). The weights are uniform random numbers, scaled so that every part of the
computation matters.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, Field, TensorData, ValueType, field_of, open_gguf, write_gguf
from jaxllama.models import ARCHITECTURES, Config, read_config
from jaxllama.models.tensors import TensorRow

TOKENS = (1, 20, 37, 9, 250, 101, 5, 33, 33, 180, 76, 2, 148, 61, 90, 7, 222, 19, 4, 55)
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, FORWARD = 64, 4, 4, 2, 16, 96


@dataclass(frozen=True)
class Tiny:
    """A tiny model.

    Attributes:
        architecture: its name.
        metadata: beyond the common ones, or instead of them; None takes one away.
        optional: patterns of the optional tensors that it has, by role.
        vocabulary: whether its tokens have texts.
        fused: whether queries, keys and values are one matrix although they need not be.
    """

    architecture: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    fused: bool = False
    vocabulary: bool = True


def _head(size: int) -> dict[str, int]:
    return {"attention.key_length": size, "attention.value_length": size, "rope.dimension_count": size}


_QKV_BIAS = ("attn_[qkv].bias",)
_YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16, "context_length": 64}
_NO_ATTENTION = {"attention.head_count": None, "attention.head_count_kv": None, "rope.dimension_count": None, "feed_forward_length": None}
_DELTA = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 64,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 4,
    "ssm.group_count": 2,
    "rope.dimension_sections": [2, 1, 0, 1],
    "rope.dimension_count": 8,
}
_LATENT = {
    "attention.head_count_kv": 1,
    "attention.kv_lora_rank": 32,
    "attention.key_length": 40,
    "attention.value_length": 32,
    "attention.key_length_mla": 24,
    "attention.value_length_mla": 12,
    "rope.dimension_count": 8,
    "expert_count": 8,
    "expert_used_count": 2,
    "expert_feed_forward_length": 40,
    "expert_shared_count": 2,
}
_EXPERTS = {"expert_count": 8, "expert_used_count": 2}

MODELS: dict[str, Tiny] = {
    "llama": Tiny("llama"),
    "llama-no-vocabulary": Tiny("llama", {"vocab_size": 264}, vocabulary=False),
    "llama-untied-bias": Tiny("llama", optional=(*_QKV_BIAS, "attn_output.bias", "ffn_*.bias", "output.weight")),
    "llama-scales": Tiny("llama", optional=("attn_*.scale", "ffn_*.scale")),
    "llama-fused": Tiny("llama", optional=("attn_qkv.bias",), fused=True),
    "llama-rope-freqs": Tiny("llama", {"rope.freq_base": 500000.0}, optional=("rope_freqs.weight",)),
    "llama-linear": Tiny("llama", {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}),
    "llama-scale-linear": Tiny("llama", {"rope.scale_linear": 2.0}),
    "llama-yarn": Tiny("llama", {**_YARN, "rope.scaling.attn_factor": 1.25}),
    "llama-experts": Tiny("llama", _EXPERTS, optional=("ffn_*_exps.scale",)),
    "qwen2": Tiny("qwen2", {"rope.freq_base": 1000000.0}, optional=(*_QKV_BIAS, "output.weight", "output.bias")),
    "qwen3": Tiny("qwen3", _head(32)),
    "qwen3moe": Tiny("qwen3moe", {**_EXPERTS, **_head(32), "expert_feed_forward_length": 40}),
    "qwen3moe-width": Tiny("qwen3moe", _EXPERTS),
    "gemma2": Tiny(
        "gemma2", {**_head(24), "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0, "attention.sliding_window": 6, "rope.freq_base_swa": 500.0}
    ),
    "gemma2-46": Tiny("gemma2", {**_head(24), "block_count": 46, "attention.sliding_window": 6, "attention.sliding_window_pattern": 3}),
    "gemma3": Tiny(
        "gemma3",
        {
            **_head(24),
            "block_count": 8,
            "attention.sliding_window": 6,
            "rope.freq_base": 1000000.0,
            "rope.freq_base_swa": 500.0,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3-pattern": Tiny(
        "gemma3", {**_head(24), "rope.dimension_count": 16, "attention.sliding_window": 6, "attention.sliding_window_pattern": [True, True, False, True]}
    ),
    "gemma3-62": Tiny("gemma3", {**_head(24), "block_count": 62}),
    "gpt-oss": Tiny(
        "gpt-oss",
        {**_EXPERTS, "expert_feed_forward_length": 40, "attention.sliding_window": 6, **_YARN, "rope.freq_base_swa": 500.0},
        optional=(*_QKV_BIAS, "attn_output.bias", "output.weight"),
    ),
    "gpt-oss-pattern": Tiny(
        "gpt-oss",
        {**_EXPERTS, "expert_feed_forward_length": 40, "attention.sliding_window": 6, "attention.sliding_window_pattern": 4},
        optional=(*_QKV_BIAS, "attn_output.bias", "output.weight"),
    ),
    "mamba2": Tiny(
        "mamba2",
        {
            **_NO_ATTENTION,
            "ssm.conv_kernel": 4,
            "ssm.inner_size": 128,
            "ssm.state_size": 16,
            "ssm.time_step_rank": 8,
            "ssm.group_count": 2,
            "attention.layer_norm_rms_epsilon": 1e-3,
        },
    ),
    "lfm2": Tiny("lfm2", {"shortconv.l_cache": 3, "attention.head_count_kv": [0, 2, 0, 2]}),
    "lfm2-window": Tiny("lfm2", {"shortconv.l_cache": 4, "attention.head_count_kv": [0, 0, 2, 0], "attention.sliding_window": 6}, optional=("output.weight",)),
    "qwen35": Tiny("qwen35", {**_DELTA, "block_count": 8, "full_attention_interval": 3}, optional=("output.weight",)),
    "qwen35-layers": Tiny("qwen35", {**_DELTA, "attention.recurrent_layers": [True, False, True, True]}),
    "deepseek2": Tiny(
        "deepseek2",
        {
            **_LATENT,
            "attention.q_lora_rank": 24,
            "leading_dense_block_count": 1,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 16,
            "rope.scaling.yarn_log_multiplier": 0.0707,
            "expert_weights_norm": True,
            "expert_weights_scale": 2.5,
            "expert_gating_func": 2,
            "expert_group_count": 4,
            "expert_group_used_count": 2,
        },
    ),
    "deepseek2-small": Tiny(
        "deepseek2", {**_LATENT, "block_count": 27, "leading_dense_block_count": 26, "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
    ),
    "openelm": Tiny(
        "openelm",
        {
            "attention.head_count": [4, 4, 6, 8],
            "attention.head_count_kv": [2, 2, 3, 4],
            "feed_forward_length": [32, 64, 96, 96],
            "attention.key_length": 16,
            "attention.value_length": 16,
        },
    ),
}
"""A name begins with the architecture's."""


def write_model(name: str, path: Path) -> None:
    """Write one of `MODELS` as a float32 GGUF file."""
    tiny = MODELS[name]
    rng = np.random.Generator(np.random.PCG64(sum(map(ord, name))))
    fields = [*_metadata(tiny), *(_vocabulary() if tiny.vocabulary else [field_of("tokenizer.ggml.model", "none")])]
    f32 = TENSOR_TYPE_NAMES["F32"]
    tensors = []
    for tensor, row in _rows(tiny, _config(tiny, fields, path)):
        x = np.ascontiguousarray(_numbers(rng, tensor, row))
        tensors.append(TensorData(tensor, x.shape, f32, x.view(np.uint8)))
    write_gguf(path, fields, tensors)


def _config(tiny: Tiny, fields: list[Field], path: Path) -> Config:
    write_gguf(path, fields, [])
    config = read_config(open_gguf(path))
    if not tiny.fused:
        return config
    return replace(config, layers=tuple(replace(layer, mixer=replace(layer.mixer, fused=True)) for layer in config.layers))


def _rows(tiny: Tiny, config: Config) -> list[tuple[str, TensorRow]]:
    """All tensors of the file."""
    found = dict(ARCHITECTURES[tiny.architecture].tensors(config))
    for number, layer in enumerate(config.layers):
        found |= {f"blk.{number}.{role}": row for role, row in layer.tensors(config.n_embd).items()}

    def wanted(name: str, row: TensorRow) -> bool:
        role = name.split(".", 2)[2] if name.startswith("blk.") else name
        return not row.optional or any(fnmatch(role, pattern) for pattern in tiny.optional)

    return [(name, row) for name, row in found.items() if wanted(name, row)]


def _numbers(rng: np.random.Generator, name: str, row: TensorRow) -> np.ndarray:
    if name == "rope_freqs.weight":
        return (1 + 7 * rng.random(row.shape)).astype(np.float32)
    if row.kind == "matrix":
        large = 4 if name == "token_embd.weight" else 1
        return ((rng.random(row.shape) - 0.5) * (large * 3.4 / row.shape[-1] ** 0.5)).astype(np.float32)
    if name.endswith("ssm_a"):  # what is kept of a state: the logarithm of less than one
        return (-0.1 - rng.random(row.shape)).astype(np.float32)
    if "conv" in name and name.endswith("weight"):
        return (1.6 * (rng.random(row.shape) - 0.5)).astype(np.float32)
    centre = 0.0 if name.endswith("bias") else 1.0
    return (centre + 0.6 * (rng.random(row.shape) - 0.5)).astype(np.float32)


def _metadata(tiny: Tiny) -> list[Field]:
    common = {
        "context_length": 128,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": HEAD,
        **tiny.metadata,
    }
    given = {key: value for key, value in common.items() if value is not None}
    return [field_of("general.architecture", tiny.architecture), *(field_of(f"{tiny.architecture}.{key}", value) for key, value in given.items())]


def _vocabulary() -> list[Field]:
    """A SentencePiece vocabulary of the 256 bytes and little else."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "e", "t", "a", "▁t"]
    types = [2, 3, 3, *[6] * 256, 1, 1, 1, 1, 1]
    return [
        field_of("tokenizer.ggml.model", "llama"),
        field_of("tokenizer.ggml.tokens", tokens),
        field_of("tokenizer.ggml.scores", [0.0] * 259 + [-float(i) for i in range(5)], ValueType.FLOAT32),
        field_of("tokenizer.ggml.token_type", types, ValueType.INT32),
    ]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        write_model(name, folder / f"{name}.gguf")
