"""OpenELM: heads and widths grow from layer to layer."""

from __future__ import annotations

from ..architectures import register
from ..config import Config
from ..metadata import Metadata
from .common import attentions, decoder, dense


def config(m: Metadata) -> Config:
    """Queries, keys and values come from one matrix, and their heads are normalised."""
    return decoder(m, attentions(m, rope="neox", head_norm=True, fused=True), dense(m))


register("openelm", config)
