"""deepseek2 (DeepSeek-V2, V3 and R1, Kimi-K2, GLM-4.7-Flash and more): latent attention, experts after some dense layers."""

from __future__ import annotations

from dataclasses import replace
from math import log

from ..architectures import register
from ..config import Config
from ..feed_forwards import Dense, Experts, FeedForward
from ..metadata import MAX_LAYERS, Metadata
from ..mixers import Latent
from .common import decoder, expert_groups, gate_of, layer_count, needed_experts, rope_of, vocabulary_size


def deepseek2(m: Metadata) -> Config:
    """Small ones, known by their layers, do not compress queries."""
    layers, vocabulary = layer_count(m), vocabulary_size(m)
    small = layers in (26, 27) or (layers == 48 and vocabulary == 128256)
    experts, used = needed_experts(m)
    groups, groups_used = expert_groups(m, experts)
    widths = m.integers("expert_feed_forward_length", layers)
    shared = m.integer("expert_shared_count", least=0)
    leading = m.integer("leading_dense_block_count", 0, least=0, most=MAX_LAYERS)
    dense = m.integers("feed_forward_length", layers)
    gate = gate_of(m, "sigmoid" if layers in (47, 48) and vocabulary == 154880 else "softmax")

    def feed_forward(number: int) -> FeedForward:
        if number < leading:
            return Dense(n_ff=dense[number])
        return Experts(
            n_expert=experts,
            n_expert_used=used,
            n_ff=widths[number],
            gate=gate,
            normalized=m.flag("expert_weights_norm", False),
            scale=m.number("expert_weights_scale", 0.0) or 1.0,
            biased=m.has_tensor(f"blk.{number}.exp_probs_b.bias"),
            groups=groups,
            groups_used=groups_used,
            n_ff_shared=widths[number] * shared,
        )

    return decoder(m, [_latent(m, small)] * layers, [feed_forward(i) for i in range(layers)])


def _latent(m: Metadata, small: bool) -> Latent:
    keys = m.integer("attention.key_length_mla")
    rope = rope_of(m, "norm", keys)
    if rope.dims >= keys:
        raise m.fail("rope.dimension_count", f"less than the {keys} numbers of a key", rope.dims)
    m.refuse("attention.temperature_scale", "scores that depend on the position are not supported yet")
    # YaRN's growth of the scores is said by yarn_log_multiplier, and that of the rotations taken back.
    growth = 0.1 * log(rope.factor)
    multiplier = m.number("rope.scaling.yarn_log_multiplier", 0.0) / 0.1
    taken_back = rope.scaling == "yarn" and multiplier != 0
    scale = rope.attention_factor * (1.0 if taken_back else 1 + growth) * (1 + growth * multiplier)
    if taken_back:
        rope = replace(rope, attention_factor=rope.attention_factor / (1 + growth))
    return Latent(
        n_head=m.integer("attention.head_count"),
        rank=m.integer("attention.kv_lora_rank"),
        query_rank=0 if small else m.integer("attention.q_lora_rank"),
        plain_size=keys - rope.dims,
        rotated_size=rope.dims,
        value_size=m.integer("attention.value_length_mla"),
        scale=scale**2 / keys**0.5,
        rope=rope,
    )


register("deepseek2", deepseek2)
