"""Rotary position embedding (Su et al., 2021), with linear and YaRN scaling (Peng et al., 2023).

Source of the exact formulas: ggml's rope_yarn and ggml_rope_yarn_corr_dims, and llama.cpp's treatment of the attention factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, pi
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Table = tuple[jax.Array, jax.Array]
"""Cosines and sines f32[B, T, dims / 2]."""


@dataclass(frozen=True)
class Rope:
    """How positions turn into rotations.

    Attributes:
        kind: which pairs rotate together: "norm" neighbours (2i, 2i+1), "neox" halves (i, i + dims/2).
        dims: how many of a head's H numbers rotate; the rest stay.
        base: theta of the slowest rotation.
        scaling: "none", "linear" or "yarn".
        factor: context extension; positions are divided by it.
        original_context: context length before the extension (YaRN).
        attention_factor, beta_fast, beta_slow, extrapolation: YaRN's constants. A negative extrapolation means 1 for "yarn" and 0 otherwise.
        sections: for positions with several axes (time, height, width, another) how many pairs belong to each; empty for one axis. Axes take turns among the
            pairs. A text's tokens have the same position on the first three axes and 0 on the fourth.
        has_factors: whether the file's `rope_freqs` divide the angles, where it has them (Llama 3).
    """

    kind: Literal["norm", "neox"]
    dims: int
    base: float = 10000.0
    scaling: Literal["none", "linear", "yarn"] = "none"
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    extrapolation: float = -1.0
    sections: tuple[int, ...] = ()
    has_factors: bool = False

    def frequencies(self) -> tuple[np.ndarray, float]:
        """Angle a position, f64[dims / 2], and the factor by which cosine and sine grow."""
        pairs = np.arange(self.dims // 2)
        angle = self.base ** (-2.0 * pairs / self.dims) * (self.axes() < 3)
        if self.scaling == "none":
            return angle, self.attention_factor
        interpolated = angle / self.factor
        extrapolation = self.extrapolation if self.extrapolation >= 0 else float(self.scaling == "yarn")
        if extrapolation == 0:
            return interpolated, self.attention_factor
        low, high = (self._correction(beta) for beta in (self.beta_fast, self.beta_slow))
        low, high = max(0, floor(low)), min(self.dims - 1, ceil(high))
        ramp = (1 - np.clip((pairs - low) / max(0.001, high - low), 0, 1)) * extrapolation
        return interpolated * (1 - ramp) + angle * ramp, self.attention_factor * (1 + 0.1 * log(self.factor))

    def axes(self) -> np.ndarray:
        """The axis int[dims / 2] of each pair; source: ggml's rope with interleaved sections."""
        pairs = np.arange(self.dims // 2)
        if not self.sections:
            return 0 * pairs
        turn = pairs % sum(self.sections)
        return np.where(turn < 3 * np.asarray(self.sections)[turn % 3], turn % 3, 3)

    def _correction(self, rotations: float) -> float:
        return self.dims * log(self.original_context / (rotations * 2 * pi)) / (2 * log(self.base))


def rope_table(rope: Rope, positions: jax.Array, factors: jax.Array | None = None) -> Table:
    """Cosines and sines for positions int32[B, T]: f32[B, T, dims / 2] each.

    Args:
        factors: the file's `rope_freqs` f32[dims / 2], by which angles are divided (Llama 3).
    """
    frequencies, growth = rope.frequencies()
    angle = jnp.asarray(frequencies, jnp.float32)
    if factors is not None:
        angle = angle / factors
    theta = positions[..., None].astype(jnp.float32) * angle[None, None]
    return jnp.cos(theta) * growth, jnp.sin(theta) * growth


def rotate(x: jax.Array, table: Table, kind: str) -> jax.Array:
    """Rotate heads x f32[B, T, heads, H] by a table from `rope_table`."""
    cos, sin = (t[:, :, None] for t in table)
    dims = 2 * cos.shape[-1]
    turning, still = x[..., :dims], x[..., dims:]
    if kind == "norm":
        a, b = turning[..., 0::2], turning[..., 1::2]
        turned = jnp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(turning.shape)
    else:
        a, b = jnp.split(turning, 2, -1)
        turned = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
    return jnp.concatenate([turned, still], -1) if still.shape[-1] else turned
