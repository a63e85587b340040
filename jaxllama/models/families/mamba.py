"""mamba2: a recurrence in every layer, and no feed-forward."""

from __future__ import annotations

from ..architectures import register
from ..config import Config
from ..metadata import Metadata
from ..mixers import Mamba2
from .common import decoder, layer_count


def mamba2(m: Metadata) -> Config:
    """All layers are alike."""
    mixer = mamba2_mixer(m)
    layers = layer_count(m)
    return decoder(m, [mixer] * layers, [None] * layers)


def mamba2_mixer(m: Metadata) -> Mamba2:
    """The mixer that the keys under `ssm.` describe."""
    heads, inner, groups = m.integer("ssm.time_step_rank"), m.integer("ssm.inner_size"), m.integer("ssm.group_count")
    if inner % heads or inner % groups or heads % groups:
        raise m.fail("ssm.inner_size", f"a multiple of the {heads} heads and of the {groups} groups, and the heads one of the groups", inner)
    return Mamba2(inner=inner, heads=heads, state_size=m.integer("ssm.state_size"), groups=groups, kernel=m.integer("ssm.conv_kernel", least=2))


register("mamba2", mamba2)
