"""Looking at activations inside of the layers, and changing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import jax

Change = Callable[[jax.Array], jax.Array]
"""An activation -> what takes its place, of the same shape. Traced as a part of the program."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one layer. Layers of a kind with equal wishes are still alike.

    Attributes:
        capture: names of activations to return, without `blk.N.`.
        intervene: names, and what changes them.
    """

    capture: frozenset[str] = frozenset()
    intervene: tuple[tuple[str, Change], ...] = ()


NOTHING = Wanted()


def wanted_of(layers: int, capture: Sequence[str], intervene: Mapping[str, Change]) -> list[Wanted]:
    """The wishes for each layer.

    Args:
        capture: names such as "blk.3.attn_output".
        intervene: the same names, and functions.

    Raises:
        TypeError: what is to change an activation is no function, or the names are one text.
        ValueError: a name does not begin with the number of a layer.
    """
    if isinstance(capture, str):
        raise TypeError(f'capture takes several names: capture=("{capture}",)')
    captured: list[set[str]] = [set() for _ in range(layers)]
    changed: list[dict[str, Change]] = [{} for _ in range(layers)]
    for name in capture:
        number, rest = _split(name, layers)
        captured[number].add(rest)
    for name, change in intervene.items():
        if not callable(change):
            raise TypeError(f"intervene['{name}']: expected a function of the activation, found {change!r}")
        number, rest = _split(name, layers)
        changed[number][rest] = change
    return [Wanted(frozenset(names), tuple(sorted(changes.items(), key=lambda item: item[0]))) for names, changes in zip(captured, changed, strict=True)]


def _split(name: str, layers: int) -> tuple[int, str]:
    head, _, rest = str(name).partition(".")
    number, _, rest = rest.partition(".")
    if head != "blk" or not number.isdecimal() or not rest or int(number) >= layers:
        raise ValueError(f"'{name}' names no activation: expected blk.N.NAME, N from 0 to {layers - 1}")
    return int(number), rest


@dataclass
class Tap:
    """What passes by in one layer while it is traced.

    Attributes:
        wanted: of this layer.
        found: the activations that were asked for.
    """

    wanted: Wanted
    found: dict[str, jax.Array] = field(default_factory=dict)
    _passed: set[str] = field(default_factory=set)

    def __call__(self, name: str, x: jax.Array) -> jax.Array:
        """x, or what is wanted in its place."""
        self._passed.add(name)
        for changed, change in self.wanted.intervene:
            if changed == name:
                y = jax.numpy.asarray(change(x))
                if y.shape != x.shape:
                    raise ValueError(f"'{name}' has the shape {list(x.shape)}, what shall take its place {list(y.shape)}")
                x = y.astype(x.dtype)
        if name in self.wanted.capture:
            self.found[name] = x
        return x

    def check(self) -> None:
        """Refuse names that nothing in the layer has.

        Raises:
            ValueError: there is one.
        """
        for name in sorted({*self.wanted.capture, *(name for name, _ in self.wanted.intervene)} - self._passed):
            near = get_close_matches(name, self._passed, 1)
            advice = f"did you mean '{near[0]}'?" if near else "there are " + ", ".join(sorted(self._passed))
            raise ValueError(f"this layer has no activation '{name}'; {advice}")
