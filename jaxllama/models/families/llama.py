"""llama (Llama 1 to 3, Mistral, Mixtral, Yi, TinyLlama, SmolLM and many more)."""

from __future__ import annotations

from ..architectures import decoder_tensors, register
from ..config import Config
from ..feed_forwards import Experts
from ..metadata import Metadata
from ..tensors import TensorRow, Tensors, merged
from .common import attentions, decoder, dense, expert_counts, layer_count


def config(m: Metadata) -> Config:
    """Rotations with the factors of Llama 3; a dense feed-forward, or Mixtral's experts."""
    experts, used = expert_counts(m)
    if not experts:
        return decoder(m, attentions(m, rope="norm", rope_factors=True), dense(m))
    widths = m.integers("feed_forward_length", layer_count(m))
    mixtures = [Experts(n_expert=experts, n_expert_used=used, n_ff=width) for width in widths]
    return decoder(m, attentions(m, rope="norm", rope_factors=True), mixtures)


def tensors(config: Config) -> Tensors:
    """The usual ones, and the factors of rotations."""
    rope = config.layers[0].mixer.rope
    dims = rope.dims if rope is not None else 0
    return merged(decoder_tensors(config), {"rope_freqs.weight": TensorRow((dims // 2,), optional=True)})


register("llama", config, tensors)
