"""Which tensors a part of a model has, with which shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class TensorRow:
    """One tensor of a file.

    Attributes:
        shape: in numpy's order: a matrix is (outputs, inputs), a stack of matrices (experts, outputs, inputs).
        kind: "matrix" stays packed and is multiplied with; "array" becomes float32; "unread" may be there and means nothing here.
        optional: whether a file may leave it out.
    """

    shape: tuple[int, ...]
    kind: Literal["matrix", "array", "unread"] = "array"
    optional: bool = False


Tensors = dict[str, TensorRow]
"""By the file's name, for a layer without its `blk.N.`."""


def matrix(role: str, outputs: int, inputs: int, *, experts: int = 0, bias: Literal["none", "optional", "required"] = "optional") -> Tensors:
    """A matrix with what may stand beside it: a bias, and the scales of formats like NVFP4.

    `.scale` multiplies the product. `.input_scale` is for products in 4 bits, which neither llama.cpp on a CPU nor jaxllama computes.
    """
    stack = (experts,) if experts else ()
    scale = TensorRow(stack or (1,), optional=True)
    found = {
        f"{role}.weight": TensorRow((*stack, outputs, inputs), "matrix"),
        f"{role}.scale": scale,
        f"{role}.input_scale": replace(scale, kind="unread"),
    }
    if bias != "none":
        found[f"{role}.bias"] = TensorRow((*stack, outputs), optional=bias == "optional")
    return found


def embedding(role: str, count: int, width: int) -> Tensors:
    """A table of rows, of which some are looked up."""
    return {f"{role}.weight": TensorRow((count, width), "matrix")}


def vector(role: str, length: int, *, optional: bool = False) -> Tensors:
    """A vector such as the weight of a norm."""
    return {f"{role}.weight": TensorRow((length,), optional=optional)}


def optional(rows: Mapping[str, TensorRow]) -> Tensors:
    """The same tensors, which a file may leave out."""
    return {name: replace(row, optional=True) for name, row in rows.items()}


def merged(*parts: Mapping[str, TensorRow]) -> Tensors:
    """All tensors of several parts."""
    return {name: row for part in parts for name, row in part.items()}
