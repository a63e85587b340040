"""What an importance matrix says, as a table: llama.cpp's `--show-statistics`."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from math import log2

import numpy as np

from jaxllama.formats.importance import ImportanceMatrix


@dataclass(frozen=True)
class Row:
    """Statistics of one tensor's mean squared inputs.

    Attributes:
        active: share of inputs above 1e-5. entropy: of their distribution, in bits. far: share of inputs more than a standard deviation above the mean ("ZD").
        similarity: cosine between the sums and those of the same tensor one layer before; 0 for the first.
    """

    layer: int | None
    tensor: str
    total: float
    low: float
    high: float
    mean: float
    deviation: float
    active: float
    count: int
    entropy: float
    far: float
    similarity: float


def rows(matrix: ImportanceMatrix) -> list[Row]:
    """One row a tensor, by kind of tensor and then by size."""
    found = []
    for name, entry in matrix.entries.items():
        values = entry.mean()[entry.counts > 0].reshape(-1).astype(np.float64)
        if not values.size:
            continue
        match = re.match(r"blk\.(\d+)\.(.*)", name)
        layer = int(match[1]) if match else None
        previous = matrix.entries.get(f"blk.{layer - 1}.{match[2]}") if match and layer else None
        similarity = 0.0
        if previous is not None and previous.sums.size == entry.sums.size:
            a, b = entry.sums.reshape(-1).astype(np.float64), previous.sums.reshape(-1).astype(np.float64)
            size = float(np.linalg.norm(a) * np.linalg.norm(b))
            similarity = float(a @ b) / size if size else 0.0
        total, mean, deviation = float(values.sum()), float(values.mean()), float(values.std())
        shares = values[values > 0] / total if total > 0 else np.zeros(0)
        parts = name.split(".")
        kind = parts[parts.index("weight") - 1] if "weight" in parts[1:] else name
        far = float((values > mean + deviation).mean()) if deviation else 0.0
        entropy = float(-(shares * np.log2(shares)).sum())
        active = float((values > 1e-5).mean())
        found.append(Row(layer, kind, total, float(values.min()), float(values.max()), mean, deviation, active, values.size, entropy, far, similarity))
    return sorted(found, key=lambda r: (r.tensor, -r.total))


def statistics(matrix: ImportanceMatrix, name: str) -> str:
    """The table of all tensors, and averages by layer."""
    table = rows(matrix)
    lines = [f"\nComputing statistics for {name} ({len(table)} tensors)\n"]
    lines.append("Layer\tTensor              \tΣ(Act²)\tMin\tMax\tμ\tσ\t% Active\tN\tEntropy\tE (norm)\tZD\tCosSim")
    for r in table:
        layer = "-" if r.layer is None else str(r.layer)
        norm = 100 * r.entropy / log2(r.count) if r.count > 1 else 0.0
        lines.append(
            f"{layer:>5}\t{r.tensor:<20}\t{r.total:10.2f}\t{r.low:8.4f}\t{r.high:11.4f}\t{r.mean:6.2f}\t{r.deviation:6.2f}\t{100 * r.active:8.2f}%\t"
            f"{r.count:6d}\t{r.entropy:10.4f}\t{norm:6.2f}%\t{100 * r.far:10.2f}%\t{r.similarity:8.4f}"
        )
    layers: dict[int, list[Row]] = defaultdict(list)
    for r in table:
        if r.layer is not None:
            layers[r.layer].append(r)
    lines += [f"\nComputing weighted average statistics per layer ({len(layers)} layers)\n", "Layer\tμΣ(Act²)\tμZD\tμCosSim"]
    for layer in sorted(layers):
        some = layers[layer]
        weight = sum(r.count for r in some)
        total, far, similarity = (sum(r.count * v for r, v in zip(some, values, strict=True)) / weight for values in _columns(some))
        lines.append(f"{layer:5d}\t{total:14.2f}\t{100 * far:10.4f}%\t{similarity:6.4f}")
    return "\n".join(lines) + "\n"


def _columns(some: list[Row]) -> tuple[list[float], list[float], list[float]]:
    return [r.total for r in some], [r.far for r in some], [r.similarity for r in some]
