"""A layer of a model as a value: what it computes, which tensors it has and what it remembers follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from .batch import Batch
from .block import Block
from .feed_forwards import FeedForward
from .memory import Memory
from .mixers import Mixer
from .tensors import Tensors, merged, vector


@dataclass(frozen=True, kw_only=True)
class Norms:
    """The names of a layer's norms, "" where there is none: before and after each half, the half's result being added to what went in."""

    before_mixer: str = "attn_norm"
    after_mixer: str = ""
    before_feed_forward: str = "ffn_norm"
    after_feed_forward: str = ""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer.

    Attributes:
        mixer: lets positions see each other.
        feed_forward: transforms each position; None where the layer has only a mixer.
        norms: which norms there are.
        extras: the optional tensors that the file has for this layer. Layers are of one kind only where these agree.
    """

    mixer: Mixer
    feed_forward: FeedForward | None
    norms: Norms = Norms()
    extras: frozenset[str] = frozenset()

    def tensors(self, width: int) -> Tensors:
        """The tensors of a layer of a model of some width, without `blk.N.`."""
        names = [self.norms.before_mixer, self.norms.after_mixer]
        parts = [self.mixer.tensors(width)]
        if self.feed_forward is not None:
            names += [self.norms.before_feed_forward, self.norms.after_feed_forward]
            parts.append(self.feed_forward.tensors(width))
        return merged(*(vector(name, width) for name in names if name), *parts)

    def run(self, block: Block, x: jax.Array, memory: Memory, batch: Batch) -> tuple[jax.Array, Memory]:
        """x f32[B, T, D] through the layer.

        Args:
            block: the layer's parameters.
            memory: of all layers of this kind.
            batch: what the pass is about.
        """

        def norm(x: jax.Array, name: str) -> jax.Array:
            return block.norm(x, name) if name else x

        with jax.named_scope("mixer"):
            # The memory is of the mixer's own kind: `init_state` has it from there.
            out, memory = self.mixer.run(block, norm(x, self.norms.before_mixer), memory, batch)  # type: ignore[arg-type]
            x = block.tap("resid_mid", x + norm(out, self.norms.after_mixer))
        if self.feed_forward is not None:
            with jax.named_scope("feed_forward"):
                out = self.feed_forward.run(block, norm(x, self.norms.before_feed_forward))
                x = x + norm(out, self.norms.after_feed_forward)
        return block.tap("resid", x), memory


def kinds(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The different layers, in the order in which they first occur."""
    return tuple(dict.fromkeys(layers))


def members(layers: Sequence[Layer]) -> tuple[tuple[int, ...], ...]:
    """For each kind the numbers of its layers. Parameters and memories are stacked in this order."""
    found: dict[Layer, list[int]] = {}
    for number, layer in enumerate(layers):
        found.setdefault(layer, []).append(number)
    return tuple(map(tuple, found.values()))
