"""Tiny random models of every architecture, written with our own writer from a seed.

Their logits, as llama.cpp computes them, are recorded in `logits.npz` (see `record.py`). The weights are uniform random numbers, scaled so that every part of
the computation matters.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, Field, TensorData, ValueType, field_of, write_gguf

TOKENS = (1, 20, 37, 9, 250, 101, 5, 33, 33, 180, 76, 2, 148, 61, 90, 7, 222, 19, 4, 55)
WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, FORWARD = 64, 4, 4, 2, 16, 96


@dataclass(frozen=True)
class Tiny:
    """A tiny model: an architecture, metadata beyond the common ones, and extra tensors by role (shape in numpy's order)."""

    architecture: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    head: int = HEAD
    experts: int = 0
    tied: bool = True
    rope_freqs: bool = False


_QKV_BIAS = {"attn_q.bias": (HEADS * HEAD,), "attn_k.bias": (KV_HEADS * HEAD,), "attn_v.bias": (KV_HEADS * HEAD,)}
_YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16, "context_length": 64}
_GEMMA2 = {
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 3.0,
    "attention.sliding_window": 6,
    "attention.key_length": 24,
    "attention.value_length": 24,
}

MODELS: dict[str, Tiny] = {
    "llama": Tiny("llama"),
    "llama-untied-bias": Tiny("llama", extra={**_QKV_BIAS, "attn_output.bias": (WIDTH,)}, tied=False),
    "llama-rope-freqs": Tiny("llama", rope_freqs=True, metadata={"rope.freq_base": 500000.0}),
    "llama-linear": Tiny("llama", metadata={"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}),
    "llama-yarn": Tiny("llama", metadata=_YARN),
    "llama-experts": Tiny("llama", experts=8, metadata={"expert_count": 8, "expert_used_count": 2}),
    "qwen2": Tiny("qwen2", extra=_QKV_BIAS, metadata={"rope.freq_base": 1000000.0}),
    "qwen3": Tiny(
        "qwen3", head=32, extra={"attn_q_norm.weight": (32,), "attn_k_norm.weight": (32,)}, metadata={"attention.key_length": 32, "attention.value_length": 32}
    ),
    "gemma2": Tiny("gemma2", head=24, extra={"post_attention_norm.weight": (WIDTH,), "post_ffw_norm.weight": (WIDTH,)}, metadata=_GEMMA2),
}


def write_model(name: str, path: Path) -> None:
    """Write one of `MODELS` as a float32 GGUF file."""
    tiny = MODELS[name]
    rng = np.random.Generator(np.random.PCG64(sum(map(ord, name))))

    def weight(*shape: int) -> np.ndarray:
        return ((rng.random(shape) - 0.5) * (3.4 / shape[-1] ** 0.5)).astype(np.float32)

    def vector(role: str, *shape: int) -> np.ndarray:
        centre = 0.0 if role.endswith("bias") else 1.0
        return (centre + 0.6 * (rng.random(shape) - 0.5)).astype(np.float32)

    vocabulary = _vocabulary()
    size = len(vocabulary[1].value)
    tensors = {"token_embd.weight": weight(size, WIDTH) * 4, "output_norm.weight": vector("norm", WIDTH)}
    if not tiny.tied:
        tensors["output.weight"] = weight(size, WIDTH)
    if tiny.rope_freqs:
        tensors["rope_freqs.weight"] = (1 + 7 * rng.random(tiny.head // 2)).astype(np.float32)
    q, kv = HEADS * tiny.head, KV_HEADS * tiny.head
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (WIDTH,),
        "attn_q.weight": (q, WIDTH),
        "attn_k.weight": (kv, WIDTH),
        "attn_v.weight": (kv, WIDTH),
        "attn_output.weight": (WIDTH, q),
        "ffn_norm.weight": (WIDTH,),
        **tiny.extra,
    }
    if tiny.experts:
        e = tiny.experts
        shapes |= {"ffn_gate_inp.weight": (e, WIDTH), "ffn_gate_exps.weight": (e, FORWARD, WIDTH)}
        shapes |= {"ffn_up_exps.weight": (e, FORWARD, WIDTH), "ffn_down_exps.weight": (e, WIDTH, FORWARD)}
    else:
        shapes |= {"ffn_gate.weight": (FORWARD, WIDTH), "ffn_up.weight": (FORWARD, WIDTH), "ffn_down.weight": (WIDTH, FORWARD)}
    for layer in range(LAYERS):
        for role, shape in shapes.items():
            tensors[f"blk.{layer}.{role}"] = vector(role, *shape) if len(shape) == 1 else weight(*shape)
    f32 = TENSOR_TYPE_NAMES["F32"]
    write_gguf(path, [*_metadata(tiny), *vocabulary], [TensorData(n, x.shape, f32, np.ascontiguousarray(x).view(np.uint8)) for n, x in tensors.items()])


def _metadata(tiny: Tiny) -> list[Field]:
    common = {
        "context_length": 128,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": tiny.head,
        **tiny.metadata,
    }
    return [field_of("general.architecture", tiny.architecture), *(field_of(f"{tiny.architecture}.{k}", v) for k, v in common.items())]


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
