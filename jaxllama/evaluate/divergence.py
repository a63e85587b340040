"""How far a model's predictions are from another's: Kullback-Leibler divergence and its relatives, over a text.

The other model's log probabilities lie in a file of llama.cpp's form, so that either program can read what the other has written (little endian):

8 bytes "_logits_", int32 n_ctx, int32 vocabulary, int32 windows, int32 tokens[windows, n_ctx]; then for every window and each of its scored positions f32
scale, f32 smallest log probability, and uint16 codes[vocabulary] (one more if that is odd): log probability = scale * code + smallest. Those more than 16 below
the largest logit are cut off there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from .perplexity import Estimate, estimate
from .windows import batches, checked, logits_of, padded_rows, read, split_windows, with_bos

if TYPE_CHECKING:
    from jaxllama.api import Model, Prompt

MAGIC = b"_logits_"
_CUT = 16.0


@jax.jit
def _encode(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Codes uint16[R, V], scale f32[R], smallest log probability f32[R], and the targets' negative log probability f32[R]."""
    high = logits.max(-1, keepdims=True)
    low = jnp.maximum(logits.min(-1, keepdims=True), high - _CUT)
    log_sum = jnp.log(jnp.exp(logits - high).sum(-1, keepdims=True))
    scale = (high - low) / 65535
    codes = jnp.round(jnp.maximum(logits - low, 0) / jnp.where(scale == 0, 1.0, scale)).astype(jnp.uint16)
    target = jnp.take_along_axis(logits, targets[:, None], -1)
    return codes, scale[:, 0], (low - high - log_sum)[:, 0], (high + log_sum - target)[:, 0]


@jax.jit
def _compare(logits: jax.Array, codes: jax.Array, scale: jax.Array, low: jax.Array, targets: jax.Array) -> tuple[jax.Array, ...]:
    """For each row: negative log probability of the target in both models, divergence, whether the likeliest tokens agree."""
    own = jax.nn.log_softmax(logits, -1)
    base = scale[:, None] * codes.astype(jnp.float32) + low[:, None]
    divergence = jnp.where(base > -_CUT, jnp.exp(base) * (base - own), 0.0).sum(-1)
    pick = targets[:, None]
    nll, nll_base = (-jnp.take_along_axis(v, pick, -1)[:, 0] for v in (own, base))
    return nll, nll_base, divergence, jnp.argmax(logits, -1) == jnp.argmax(codes, -1)


def save_base(
    model: Model,
    tokens: Prompt,
    path: str | Path,
    *,
    n_ctx: int = 512,
    chunks: int | None = None,
    progress: Callable[[int, Estimate], None] = lambda window, so_far: None,
) -> Estimate:
    """Write a model's log probabilities for a text; returns its perplexity.

    The file has about 2 bytes for every token of the vocabulary and every scored position. It appears under its name when it is complete.
    """
    path = Path(path)
    windows = split_windows(model.encode(tokens), n_ctx, limit=chunks)
    first, vocabulary = n_ctx // 2, model.config.n_vocab
    found: list[np.ndarray] = []
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(MAGIC + np.asarray([n_ctx, vocabulary, len(windows)], "<i4").tobytes() + windows.astype("<i4").tobytes())
            for group in batches(windows, model.n_batch):
                x = read(model, with_bos(model, group))
                for one, window in zip(x, group, strict=True):
                    targets, nll = window[first + 1 :], []
                    for a, b, logits in logits_of(model, one[first : n_ctx - 1]):
                        codes, scale, low, own = (np.asarray(v)[: b - a] for v in _encode(logits, padded_rows(targets, a, b)))
                        row = np.zeros((b - a, 4 + vocabulary + vocabulary % 2), "<u2")
                        row[:, :4] = np.stack([scale, low], 1).astype("<f4").view("<u2")
                        row[:, 4 : 4 + vocabulary] = codes
                        file.write(row.tobytes())
                        nll.append(checked(own))
                    found.append(np.concatenate(nll))
                    progress(len(found), estimate(np.concatenate(found)))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return estimate(np.concatenate(found))


@dataclass
class Divergence:
    """Values for every scored position so far: negative log probabilities of both models, divergence, difference of probabilities, agreement."""

    nll: np.ndarray = field(default_factory=lambda: np.zeros(0))
    nll_base: np.ndarray = field(default_factory=lambda: np.zeros(0))
    divergence: np.ndarray = field(default_factory=lambda: np.zeros(0))
    same_top: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def extended(self, *values: np.ndarray) -> Divergence:
        old = self.nll, self.nll_base, self.divergence, self.same_top
        return Divergence(*(np.concatenate([a, np.asarray(b, a.dtype)]) for a, b in zip(old, values, strict=True)))

    @property
    def difference(self) -> np.ndarray:
        """Probability of the right token, ours less the other model's."""
        return np.exp(-self.nll) - np.exp(-self.nll_base)

    def report(self) -> DivergenceReport:
        return DivergenceReport(self)


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error (0 for few values), as llama.cpp has them."""
    mean = float(values.mean())
    variance = float(np.square(values).mean()) - mean * mean
    return mean, sqrt(variance / (len(values) - 1)) if variance > 0 and len(values) > 10 else 0.0


class DivergenceReport:
    """The statistics of llama.cpp's `--kl-divergence`, each a (value, standard error)."""

    def __init__(self, found: Divergence):
        self.found = found
        nll, base = _mean(found.nll), _mean(found.nll_base)
        count = len(found.nll)
        self.ppl = exp(nll[0]), exp(nll[0]) * nll[1]
        self.ppl_base = exp(base[0]), exp(base[0]) * base[1]
        covariance = float((found.nll * found.nll_base).mean() - found.nll.mean() * found.nll_base.mean()) / (count - 1) if count >= 10 else 0.0
        self.correlation = covariance / (nll[1] * base[1]) if nll[1] and base[1] else 0.0
        self.log_ratio = nll[0] - base[0], sqrt(max(nll[1] ** 2 + base[1] ** 2 - 2 * covariance, 0.0))
        self.ratio = exp(self.log_ratio[0]), exp(self.log_ratio[0]) * self.log_ratio[1]
        spread = self.ppl[1] ** 2 + self.ppl_base[1] ** 2 - 2 * covariance * self.ppl[0] * self.ppl_base[0]
        self.ppl_difference = self.ppl[0] - self.ppl_base[0], sqrt(max(spread, 0.0))
        self.divergence = _mean(found.divergence)
        self.difference = _mean(found.difference)
        square = _mean(found.difference**2)
        rms = sqrt(square[0])
        self.rms = rms, 0.5 / rms * square[1] if rms else 0.0
        same = float(found.same_top.mean())
        self.same_top = same, sqrt(same * (1 - same) / (count - 1)) if count > 1 else 0.0

    def line(self, window: int) -> str:
        """The line that llama.cpp prints after each window."""
        parts = [f"{window:4d}    {self.ppl[0]:9.4f} ± {self.ppl[1]:9.4f}"]
        parts += [f"{a:10.5f} ± {b:10.5f}" for a, b in (self.log_ratio, self.divergence)]
        parts += [f"{100 * a:6.3f} ± {100 * b:6.3f} %" for a, b in (self.rms, self.same_top)]
        return "    ".join(parts)

    def text(self) -> str:
        """The report at the end, in llama.cpp's layout."""

        def both(value: tuple[float, float]) -> str:
            return f"{value[0]:10.6f} ± {value[1]:10.6f}"

        def percent(value: tuple[float, float]) -> str:
            return f"{100 * value[0]:6.3f} ± {100 * value[1]:5.3f} %"

        lines = ["====== Perplexity statistics ======"]
        lines += [f"Mean PPL(Q)                   : {both(self.ppl)}", f"Mean PPL(base)                : {both(self.ppl_base)}"]
        lines.append(f"Cor(ln(PPL(Q)), ln(PPL(base))): {100 * self.correlation:6.2f}%")
        lines += [f"Mean ln(PPL(Q)/PPL(base))     : {both(self.log_ratio)}", f"Mean PPL(Q)/PPL(base)         : {both(self.ratio)}"]
        lines += [f"Mean PPL(Q)-PPL(base)         : {both(self.ppl_difference)}", "", "====== KL divergence statistics ======"]
        lines.append(f"Mean    KLD: {both(self.divergence)}")
        marks = ((1.0, "Maximum"), (0.999, "99.9%  "), (0.99, "99.0%  "), (0.95, "95.0%  "), (0.9, "90.0%  "), (0.75, "75.0%  "), (0.5, "Median "))
        marks = (*marks, (0.25, "25.0%  "), (0.1, "10.0%  "), (0.05, " 5.0%  "), (0.01, " 1.0%  "), (0.001, " 0.1%  "), (0.0, "Minimum"))
        for fraction, name in marks:
            if fraction not in (0.75, 0.25):
                lines.append(f"{name} KLD: {np.quantile(self.found.divergence, fraction):10.6f}")
        lines += ["", "====== Token probability statistics ======", f"Mean    Δp: {percent(self.difference)}"]
        lines += [f"{name} Δp: {100 * np.quantile(self.found.difference, fraction):6.3f}%" for fraction, name in marks]
        lines += [f"RMS Δp    : {percent(self.rms)}", f"Same top p: {percent(self.same_top)}"]
        return "\n".join(lines)


def compare(model: Model, path: str | Path, *, progress: Callable[[int, Divergence], None] = lambda window, so_far: None) -> Divergence:
    """Compare a model with the one whose log probabilities a file holds.

    Raises:
        ValueError: the file is none of that kind, cut short, or of a model with another vocabulary.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(20)
        if len(head) < 20 or head[:8] != MAGIC:
            raise ValueError(f"{path}: expected saved logits (as --kl-divergence-base writes them), found another kind of file")
        n_ctx, vocabulary, count = (int(v) for v in np.frombuffer(head[8:], "<i4"))
        if vocabulary != model.config.n_vocab:
            raise ValueError(f"{path}: the saved logits are of a model with a vocabulary of {vocabulary} tokens, this one has {model.config.n_vocab}")
        first = n_ctx // 2
        width = 4 + vocabulary + vocabulary % 2
        expected = 20 + 4 * n_ctx * count + 2 * width * (n_ctx - 1 - first) * count
        if n_ctx < 4 or count < 1 or path.stat().st_size < expected:
            raise ValueError(f"{path}: expected {count} chunks of {n_ctx} tokens, {expected} bytes, found {path.stat().st_size} bytes")
        windows = np.frombuffer(file.read(4 * n_ctx * count), "<i4").reshape(count, n_ctx)
        if windows.min() < 0 or windows.max() >= vocabulary:
            raise ValueError(f"{path}: a token is outside the vocabulary of {vocabulary}")
        found, done = Divergence(), 0
        for group in batches(windows, model.n_batch):
            x = read(model, with_bos(model, group))
            for one, window in zip(x, group, strict=True):
                targets = window[first + 1 :]
                rows = np.frombuffer(file.read(2 * width * len(targets)), "<u2").reshape(-1, width)
                scale, low = np.ascontiguousarray(rows[:, :4]).view("<f4").T
                parts = []
                for a, b, logits in logits_of(model, one[first : n_ctx - 1]):
                    codes = rows[:, 4 : 4 + vocabulary]
                    values = _compare(logits, *(padded_rows(v, a, b) for v in (codes, scale, low, targets)))
                    parts.append([np.asarray(v)[: b - a] for v in values])
                    checked(parts[-1][0])
                found = found.extended(*(np.concatenate(v) for v in zip(*parts, strict=True)))
                done += 1
                progress(done, found)
    return found
