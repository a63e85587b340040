"""What metadata means: each key that is read changes the configuration as llama.cpp has it."""

from __future__ import annotations

import pytest

from jaxllama.formats.gguf import field_of, open_gguf, write_gguf
from jaxllama.models import Config, read_config

COMMON = {
    "embedding_length": 64,
    "block_count": 2,
    "feed_forward_length": 96,
    "attention.head_count": 4,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "vocab_size": 8,
}


def config_of(folder, architecture: str, values: dict) -> Config:
    fields = [field_of(f"{architecture}.{key}", value) for key, value in {**COMMON, **values}.items()]
    write_gguf(folder / "config.gguf", [field_of("general.architecture", architecture), *fields], [])
    return read_config(open_gguf(folder / "config.gguf"))


HEAD_24 = {"attention.key_length": 24, "attention.value_length": 24}
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}


@pytest.mark.parametrize(
    ("architecture", "values", "expected"),
    [
        ("llama", {}, {"n_head_kv": 4, "n_ctx_train": 2048, "head_size": 16, "attention_scale": 0.25, "windows": (0, 0), "expert_scale": 1.0}),
        ("llama", {}, {"rope.kind": "norm", "rope.dims": 16, "rope.base": 10000.0, "rope.scaling": "none", "rope.factor": 1.0, "rope.extrapolation": -1.0}),
        ("llama", {"context_length": 77}, {"n_ctx_train": 77, "rope.original_context": 77}),
        ("llama", {"attention.scale": 0.5}, {"attention_scale": 0.5}),
        ("llama", {"attention.sliding_window": 7}, {"windows": (7, 7)}),
        ("llama", {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}, {"attention_softcap": 50.0, "final_softcap": 30.0}),
        ("llama", {"expert_count": 4, "expert_used_count": 2}, {"n_expert": 4, "n_expert_used": 2, "expert_scale": 1.0}),
        ("llama", {"expert_count": 4, "expert_used_count": 2, "expert_weights_scale": 2.5}, {"expert_scale": 2.5}),
        ("llama", {"rope.dimension_count": 8}, {"head_size": 16, "rope.dims": 8}),
        ("llama", {"rope.scale_linear": 4.0}, {"rope.scaling": "linear", "rope.factor": 4.0}),
        ("llama", {"rope.scaling.factor": 2.0, "rope.scale_linear": 4.0}, {"rope.scaling": "linear", "rope.factor": 2.0}),
        ("llama", {"rope.scaling.factor": 2.0, "rope.scaling.type": "none"}, {"rope.scaling": "none"}),
        ("llama", {**YARN, "rope.scaling.original_context_length": 100}, {"rope.scaling": "yarn", "rope.factor": 4.0, "rope.original_context": 100}),
        ("llama", {**YARN, "rope.scaling.yarn_ext_factor": 0.5}, {"rope.extrapolation": 0.5}),
        ("llama", {**YARN, "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0}, {"rope.beta_fast": 16.0, "rope.beta_slow": 2.0}),
        ("llama", {**YARN, "rope.scaling.attn_factor": 1.5}, {"rope.attention_factor": 1.5}),
        ("qwen2", {}, {"rope.kind": "neox", "qk_norm": False, "embedding_scale": 1.0}),
        ("qwen3", HEAD_24, {"rope.kind": "neox", "qk_norm": True, "head_size": 24, "attention_scale": 24**-0.5}),
        ("gemma2", {**HEAD_24, "block_count": 45}, {"attention_scale": 24**-0.5, "windows": (4096, 0) * 22 + (4096,), "embedding_scale": 8.0}),
        ("gemma2", {**HEAD_24, "block_count": 46}, {"attention_scale": 0.25, "post_norms": True, "activation": "gelu"}),
    ],
)
def test_keys_and_what_they_mean(tmp_path, architecture, values, expected):
    config = config_of(tmp_path, architecture, values)
    for name, value in expected.items():
        owner = config.rope if name.startswith("rope.") else config
        assert getattr(owner, name.removeprefix("rope.")) == pytest.approx(value), name
