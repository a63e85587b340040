"""What the plain forms of the product share: activations in the order of a format's groups, and weights that stay in the loop."""

from __future__ import annotations

from einops import rearrange
from jax import lax

from .block import Array, BlockFormat
from .qtensor import QTensor


def tied(x: Array, weight: QTensor) -> tuple[Array, QTensor]:
    """The same, but so that the weight seems to depend on x.

    In a decode loop XLA would otherwise see that unpacking does not depend on the step, unpack everything before the loop and keep it in memory.
    """
    return lax.optimization_barrier((x, weight))


def grouped(format_: BlockFormat, x: Array) -> Array:
    """Activations [M, columns] in the order in which the format's groups lie: [g, M, B, R, K]."""
    blocks = x.reshape(x.shape[0], -1, format_.type.weights)
    left, right = format_.order.split(" -> ")
    g, rest = right.split(" ", 1)
    return rearrange(blocks, f"m b {left} -> {g} m b {rest}", **format_.sizes)
