"""lfm2: short convolutions, and attention where a layer has heads of keys and values."""

from __future__ import annotations

from dataclasses import replace

from ..architectures import register
from ..config import Config
from ..metadata import Metadata
from ..mixers import Mixer, ShortConv
from .common import attentions, decoder, dense, layer_count


def lfm2(m: Metadata) -> Config:
    """The last norm goes under the name of one of the embedding."""
    layers = layer_count(m)
    kv_heads = m.integers("attention.head_count_kv", layers, least=0)
    convolution = ShortConv(width=m.integer("embedding_length"), kernel=m.integer("shortconv.l_cache", least=2))
    attention = iter(attentions(m, rope="neox", head_norm=True, window=m.integer("attention.sliding_window", 0, least=0), only=[n > 0 for n in kv_heads]))
    mixers: list[Mixer] = [next(attention) if n else convolution for n in kv_heads]
    return replace(decoder(m, mixers, dense(m)), output_norm="token_embd_norm")


register("lfm2", lfm2)
