"""Write the trained model as a Q8_0 GGUF file, with the project's own writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, Field, TensorData, ValueType, field_of, write_gguf
from jaxllama.quant import quantize

if TYPE_CHECKING:
    from train import Shape

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MOSTLY_Q8_0 = 7  # llama.cpp's number of the file type


def write_gguf_model(path: Path, params: dict, shape: Shape, tokenizer: Tokenizer) -> None:
    """Write parameters, as `train` returns them, to `path`."""
    tensors = [_matrix("token_embd.weight", params["token_embd"]), _vector("output_norm.weight", params["output_norm"])]
    for i in range(shape.layers):
        for role, stacked in params["blocks"].items():
            weight = np.asarray(stacked[i], np.float32)
            tensors.append((_vector if weight.ndim == 1 else _matrix)(f"blk.{i}.{role}.weight", weight))
    write_gguf(path, _metadata(shape, tokenizer), tensors)


def _vector(name: str, x: np.ndarray) -> TensorData:
    data = np.ascontiguousarray(x, np.float32)
    return TensorData(name, data.shape, TENSOR_TYPE_NAMES["F32"], data.view(np.uint8))


def _matrix(name: str, x: np.ndarray) -> TensorData:
    return TensorData(name, x.shape, TENSOR_TYPE_NAMES["Q8_0"], quantize(np.asarray(x, np.float32), "Q8_0"))


def _metadata(shape: Shape, tokenizer: Tokenizer) -> list[Field]:
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [t for t, _ in sorted(model["vocab"].items(), key=lambda item: item[1])]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    control = [t.startswith("<|") and t.endswith("|>") for t in tokens]
    values = {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "Story World",
        "general.description": "Writes little stories; made and trained by the jaxllama project.",
        "general.license": "mit",
        "general.languages": ["en"],
        "general.quantization_version": 2,
        "general.file_type": MOSTLY_Q8_0,
        "llama.vocab_size": shape.vocab,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.width,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": shape.epsilon,
        "llama.rope.dimension_count": shape.width // shape.heads,
        "llama.rope.freq_base": shape.rope_base,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "tokenizer.ggml.eos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "tokenizer.ggml.eot_token_id": tokenizer.token_to_id("<|im_end|>"),
        "tokenizer.ggml.padding_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
    types = field_of("tokenizer.ggml.token_type", np.where(control, 3, 1), ValueType.INT32)
    return [*(field_of(key, value) for key, value in values.items()), types]
