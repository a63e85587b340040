"""qwen2, qwen3, qwen3moe and qwen35."""

from __future__ import annotations

from ..architectures import register
from ..config import Config
from ..feed_forwards import Experts
from ..layer import Norms
from ..metadata import Metadata
from ..mixers import DeltaNet, Mixer
from .common import attentions, decoder, dense, layer_count, needed_experts


def qwen2(m: Metadata) -> Config:
    """Biases of queries, keys and values."""
    return decoder(m, attentions(m, rope="neox"), dense(m))


def qwen3(m: Metadata) -> Config:
    """Heads of queries and keys are normalised."""
    return decoder(m, attentions(m, rope="neox", head_norm=True), dense(m))


def qwen3moe(m: Metadata) -> Config:
    """qwen3 with experts."""
    experts, used = needed_experts(m)
    layers = layer_count(m)
    if m.has("expert_feed_forward_length"):
        widths = m.integers("expert_feed_forward_length", layers)
    else:
        widths = [max(1, width // used) for width in m.integers("feed_forward_length", layers)]
    mixtures = [Experts(n_expert=experts, n_expert_used=used, n_ff=width) for width in widths]
    return decoder(m, attentions(m, rope="neox", head_norm=True), mixtures)


def qwen35(m: Metadata) -> Config:
    """Gated delta nets, and gated attention in every fourth layer."""
    layers = layer_count(m)
    heads, groups, size = m.integer("ssm.time_step_rank"), m.integer("ssm.group_count"), m.integer("ssm.state_size")
    if heads % groups or m.integer("ssm.inner_size") != heads * size:
        raise m.fail("ssm.inner_size", f"{heads} heads of {size} numbers, a multiple of the {groups} heads of keys", m.integer("ssm.inner_size"))
    m.refuse("nextn_predict_layers", "layers that predict further tokens are not supported yet")
    net = DeltaNet(key_heads=groups, value_heads=heads, head_size=size, kernel=m.integer("ssm.conv_kernel", least=2))
    recurrent = m.recurrent_layers(layers, 4)
    attention = iter(attentions(m, rope="neox", head_norm=True, gated=True, sections=True, only=[not it for it in recurrent]))
    mixers: list[Mixer] = [net if it else next(attention) for it in recurrent]
    return decoder(m, mixers, dense(m), norms=Norms(before_feed_forward="post_attention_norm"))


register("qwen2", qwen2)
register("qwen3", qwen3)
register("qwen3moe", qwen3moe)
register("qwen35", qwen35)
