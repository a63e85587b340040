"""gpt-oss: every second layer has a window; sinks; experts with biases."""

from __future__ import annotations

from ..architectures import register
from ..config import Config
from ..feed_forwards import Experts
from ..layer import Norms
from ..metadata import Metadata
from .common import attentions, decoder, layer_count, needed_experts, with_own_base


def config(m: Metadata) -> Config:
    """The norm before the experts goes under the name of one after attention."""
    layers = layer_count(m)
    experts, used = needed_experts(m)
    mixers = attentions(
        m,
        rope="neox",
        window=m.integer("attention.sliding_window", least=0),
        windowed=m.windows(layers, 2),
        rope_near=with_own_base(m),
        sinks=True,
    )
    mixtures = [
        Experts(n_expert=experts, n_expert_used=used, n_ff=width, activation="swiglu_oai", gate="softmax_weight", normalized=False, bias=True)
        for width in m.integers("expert_feed_forward_length", layers)
    ]
    return decoder(m, mixers, mixtures, norms=Norms(before_feed_forward="post_attention_norm"))


register("gpt-oss", config)
