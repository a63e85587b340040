"""gemma2 and gemma3: norms after both halves, scaled embeddings, windows in most layers."""

from __future__ import annotations

from jaxllama.layers.rope import Rope

from ..architectures import register
from ..config import Config
from ..layer import Norms
from ..metadata import Metadata
from .common import attentions, decoder, dense, layer_count, with_own_base

_NORMS = Norms(after_mixer="post_attention_norm", after_feed_forward="post_ffw_norm")


def _scale(m: Metadata, largest: int) -> float | None:
    """The scale of scores where it is not the head size's: the 27B model, known by its layers, divides by the width of a head in the residual stream."""
    if layer_count(m) != largest:
        return None
    return (m.integer("embedding_length") // m.integers("attention.head_count", largest)[0]) ** -0.5


def gemma2(m: Metadata) -> Config:
    """Every second layer has a window; scores and logits are capped."""
    scale = _scale(m, 46)
    mixers = attentions(
        m,
        rope="neox",
        scale=lambda head: scale or head**-0.5,
        window=m.integer("attention.sliding_window", 4096, least=0),
        windowed=m.windows(layer_count(m), 2),
        rope_near=with_own_base(m),
        softcap=m.number("attn_logit_softcapping", 50.0),
    )
    final = m.number("final_logit_softcapping", 30.0)
    return decoder(m, mixers, dense(m, "gelu"), norms=_NORMS, embedding_scale=m.integer("embedding_length") ** 0.5, final_softcap=final)


def gemma3(m: Metadata) -> Config:
    """Five layers with a window to one without, with rotations of their own; heads of queries and keys are normalised."""
    scale = _scale(m, 62)
    window = m.integer("attention.sliding_window", 0, least=0)
    mixers = attentions(
        m,
        rope="neox",
        scale=lambda head: scale or head**-0.5,
        window=window,
        windowed=m.windows(layer_count(m), 6) if window else None,
        rope_near=lambda rope: Rope(rope.kind, rope.dims, m.number("rope.freq_base_swa", 10000.0, least=2), attention_factor=rope.attention_factor),
        head_norm=True,
    )
    final = m.number("final_logit_softcapping", 0.0)
    return decoder(m, mixers, dense(m, "gelu"), norms=_NORMS, embedding_scale=m.integer("embedding_length") ** 0.5, final_softcap=final)


register("gemma2", gemma2)
register("gemma3", gemma3)
