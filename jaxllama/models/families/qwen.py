"""qwen2, qwen3 and qwen3moe."""

from __future__ import annotations

from ..architectures import register
from ..config import Config
from ..feed_forwards import Experts
from ..metadata import Metadata
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


register("qwen2", qwen2)
register("qwen3", qwen3)
register("qwen3moe", qwen3moe)
