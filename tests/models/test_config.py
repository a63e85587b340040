"""What metadata means: each key that is read changes the configuration as llama.cpp has it, and no other key does."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from jaxllama.formats.gguf import GGUFError, field_of, open_gguf, parse_overrides, write_gguf
from jaxllama.models import ARCHITECTURES, Config, Metadata, read_config

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from models import MODELS, write_model  # type: ignore[import-not-found]

COMMON = {
    "embedding_length": 64,
    "block_count": 2,
    "feed_forward_length": 96,
    "attention.head_count": 4,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "vocab_size": 8,
}


def config_of(folder, architecture: str, values: dict, **options: Any) -> Config:
    fields = [field_of(f"{architecture}.{key}", value) for key, value in {**COMMON, **values}.items()]
    write_gguf(folder / "config.gguf", [field_of("general.architecture", architecture), *fields], [])
    return read_config(open_gguf(folder / "config.gguf", **options))


def value_at(config: Config, path: str) -> Any:
    """`0.mixer.scale`: of the first layer; a path without a number: of the config."""
    first, _, rest = path.partition(".")
    return reduce(getattr, rest.split("."), config.layers[int(first)]) if first.isdigit() else getattr(config, path)


HEAD_24 = {"attention.key_length": 24, "attention.value_length": 24}
YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
EXPERTS = {"expert_count": 4, "expert_used_count": 2}
ROPE = "0.mixer.rope"


@pytest.mark.parametrize(
    ("architecture", "values", "expected"),
    [
        (
            "llama",
            {},
            {"0.mixer.n_head_kv": 4, "n_ctx_train": 2048, "0.mixer.key_size": 16, "0.mixer.value_size": 16, "0.mixer.scale": 0.25, "0.mixer.window": 0},
        ),
        ("llama", {}, {f"{ROPE}.kind": "norm", f"{ROPE}.dims": 16, f"{ROPE}.base": 10000.0, f"{ROPE}.scaling": "none", f"{ROPE}.factor": 1.0}),
        ("llama", {"context_length": 77}, {"n_ctx_train": 77, f"{ROPE}.original_context": 77}),
        ("llama", EXPERTS, {"0.feed_forward.n_expert": 4, "0.feed_forward.n_expert_used": 2, "0.feed_forward.scale": 1.0, "0.feed_forward.n_ff": 96}),
        ("llama", {"rope.dimension_count": 8}, {"0.mixer.key_size": 16, f"{ROPE}.dims": 8}),
        ("llama", {"rope.scale_linear": 4.0}, {f"{ROPE}.scaling": "linear", f"{ROPE}.factor": 4.0}),
        ("llama", {"rope.scaling.factor": 2.0, "rope.scale_linear": 4.0}, {f"{ROPE}.scaling": "linear", f"{ROPE}.factor": 2.0}),
        ("llama", {"rope.scaling.factor": 2.0, "rope.scaling.type": "none"}, {f"{ROPE}.scaling": "none"}),
        ("llama", {**YARN, "rope.scaling.original_context_length": 100}, {f"{ROPE}.scaling": "yarn", f"{ROPE}.factor": 4.0, f"{ROPE}.original_context": 100}),
        ("llama", {**YARN, "rope.scaling.attn_factor": 1.5}, {f"{ROPE}.attention_factor": 1.5}),
        ("llama", {"attention.head_count": [4, 8], "attention.head_count_kv": [4, 2]}, {"0.mixer.n_head": 4, "1.mixer.n_head": 8, "1.mixer.n_head_kv": 2}),
        ("qwen2", {}, {f"{ROPE}.kind": "neox", "0.mixer.head_norm": False, "embedding_scale": 1.0}),
        ("qwen3", HEAD_24, {f"{ROPE}.kind": "neox", "0.mixer.head_norm": True, "0.mixer.key_size": 24, "0.mixer.scale": 24**-0.5}),
        ("qwen3moe", EXPERTS, {"0.feed_forward.n_ff": 48}),
        ("gemma2", {**HEAD_24, "block_count": 45}, {"0.mixer.scale": 24**-0.5, "0.mixer.window": 4096, "1.mixer.window": 0, "embedding_scale": 8.0}),
        ("gemma2", {**HEAD_24, "block_count": 46}, {"0.mixer.scale": 0.25, "0.feed_forward.activation": "gelu"}),
        ("gemma2", {}, {"0.mixer.softcap": 50.0, "final_softcap": 30.0}),
        ("gemma3", {"block_count": 62, "attention.sliding_window": 7}, {"0.mixer.scale": 0.25, "4.mixer.window": 7, "5.mixer.window": 0, "60.mixer.window": 7}),
        ("gemma3", {"attention.sliding_window": 7, **YARN}, {f"{ROPE}.base": 10000.0, f"{ROPE}.scaling": "none", "0.norms.after_mixer": "post_attention_norm"}),
    ],
)
def test_keys_and_what_they_mean(tmp_path, architecture, values, expected):
    config = config_of(tmp_path, architecture, values)
    for path, value in expected.items():
        assert value_at(config, path) == pytest.approx(value), path


IGNORED = {
    "attention.scale": 0.5,
    "attention.sliding_window": 7,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "expert_weights_scale": 2.5,
    "rope.scaling.yarn_ext_factor": 0.5,
    "rope.scaling.yarn_beta_fast": 16.0,
    "rope.scaling.yarn_beta_slow": 2.0,
}


@pytest.mark.parametrize("key", IGNORED)
def test_keys_without_a_meaning_for_llama(tmp_path, key):
    """llama.cpp's own tools write keys that it does not read for an architecture."""
    assert config_of(tmp_path, "llama", {**YARN, **EXPERTS, key: IGNORED[key]}) == config_of(tmp_path, "llama", {**YARN, **EXPERTS})


@pytest.mark.parametrize(
    ("key", "value", "path"), [("yarn_ext_factor", 0.5, "extrapolation"), ("yarn_beta_fast", 16.0, "beta_fast"), ("yarn_beta_slow", 2.0, "beta_slow")]
)
def test_what_the_user_says_of_yarn_counts_anyway(tmp_path, key, value, path):
    given = parse_overrides(f"llama.rope.scaling.{key}=float:{value}")
    assert value_at(config_of(tmp_path, "llama", YARN, overrides=given), f"{ROPE}.{path}") == value


DEEPSEEK = {
    **{f"attention.{key}": 16 for key in ("kv_lora_rank", "q_lora_rank", "key_length_mla", "value_length_mla")},
    "expert_count": 8,
    "expert_used_count": 2,
    "expert_feed_forward_length": 32,
    "expert_shared_count": 1,
    "rope.dimension_count": 8,
}
DELTA = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 64,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 4,
    "ssm.group_count": 2,
    "rope.dimension_sections": [4, 4, 0, 0],
}


@pytest.mark.parametrize(
    ("architecture", "values", "message"),
    [
        ("deepseek2", {**DEEPSEEK, "attention.temperature_scale": 0.1}, r"temperature_scale: expected 0: scores that depend on the position"),
        ("deepseek2", {**DEEPSEEK, "rope.dimension_count": 16}, r"rope\.dimension_count: expected less than the 16 numbers of a key, found 16"),
        ("deepseek2", {**DEEPSEEK, "expert_group_count": 3}, r"expert_group_count: expected a divisor of the 8 experts, with two in each group, found 3"),
        ("deepseek2", {**DEEPSEEK, "expert_group_count": 4}, r"expert_group_used_count: expected from 1 to less than the 4 groups, found 0"),
        ("qwen35", {**DELTA, "nextn_predict_layers": 1}, r"nextn_predict_layers: expected 0: layers that predict further tokens"),
        ("qwen35", {**DELTA, "ssm.group_count": 3}, r"ssm\.inner_size: expected 4 heads of 16 numbers, a multiple of the 3 heads of keys, found 64"),
        ("qwen35", {**DELTA, "rope.dimension_sections": [4, 4]}, r"rope\.dimension_sections: expected four numbers, not all of them 0, found \[4, 4\]"),
        ("qwen35", {**DELTA, "attention.recurrent_layers": [True]}, r"attention\.recurrent_layers: expected 0 or 1 for each of the 2 layers"),
        ("mamba2", {**DELTA, "ssm.group_count": 3}, r"ssm\.inner_size: expected a multiple of the 4 heads and of the 3 groups"),
        ("llama", {"attention.head_count_kv": 3}, r"llama\.attention\.head_count_kv: expected a divisor of the 4 heads, found 3"),
        ("llama", {"attention.head_count": [4, 4, 4]}, r"attention\.head_count: expected one value, or one for each of the 2 layers, found 3 values"),
        ("llama", {"expert_count": 4}, r"expert_used_count: expected from 1 to the 4 experts, found 0"),
        ("llama", {"rope.dimension_count": 7}, r"rope\.dimension_count: expected an even number of at most the head size 16, found 7"),
        ("qwen3moe", {}, r"qwen3moe\.expert_count: expected at least one expert, found 0"),
        ("gemma3", {"attention.sliding_window": 7, "attention.sliding_window_pattern": [1, 0, 1]}, r"expected a period, or 0 or 1 for each of the 2 layers"),
        ("gemma3", {"attention.sliding_window": 7, "attention.sliding_window_pattern": [2, 0]}, r"expected a period, or 0 or 1 for each of the 2 layers"),
    ],
)
def test_metadata_that_contradict(tmp_path, architecture, values, message):
    with pytest.raises(GGUFError, match=message):
        config_of(tmp_path, architecture, values)


def test_every_key_that_is_read_matters_in_some_tiny_model(tmp_path):
    """A key that is read has a value of its own in a model whose logits are recorded: without it the configuration is another, or none. Keys that llama does
    not have are needed in a model of each architecture that reads them."""
    reads: dict[str, set[str]] = {name: set() for name in ARCHITECTURES}
    matter: dict[str, set[str]] = {name: set() for name in ARCHITECTURES}
    for name, tiny in MODELS.items():
        write_model(name, tmp_path / "tiny.gguf")
        file = open_gguf(tmp_path / "tiny.gguf")
        metadata = Metadata(file)
        config = ARCHITECTURES[tiny.architecture].config(metadata)
        reads[tiny.architecture] |= metadata.read
        for key in metadata.read & {key.removeprefix(f"{tiny.architecture}.") for key in file.fields}:
            without = open_gguf(tmp_path / "tiny.gguf")
            del without.fields[f"{tiny.architecture}.{key}"]
            try:
                same = ARCHITECTURES[tiny.architecture].config(Metadata(without)) == config
            except GGUFError:
                same = False
            if not same:
                matter[tiny.architecture].add(key)
    assert not {(name, key) for name in reads for key in reads[name] - reads["llama"] - matter[name]}
    assert not set.union(*reads.values()) - set.union(*matter.values())


def test_a_config_is_found_by_what_it_says(tmp_path):
    config = config_of(tmp_path, "llama", {})
    same, other = config_of(tmp_path, "llama", {}), config_of(tmp_path, "llama", {"context_length": 77})
    assert same == config
    assert hash(same) == hash(config)
    assert other != config
    assert hash(other) != hash(config)
    assert replace(config, exact=True).exact
    assert "layers=[2 x Layer(" in repr(config)
