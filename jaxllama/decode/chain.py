"""Choosing the next token on the device: the chain of samplers, each slot with its own parameters.

A token depends on the logits, the slot's parameters and past, the seed and the position alone: neither on the other slots nor on how the loop is cut into
dispatches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import flax.struct
import jax
import jax.numpy as jnp

from jaxllama.kernels.assemble import kernels_run

from . import logits_kernel, samplers
from .candidates import NARROW, WIDE, Candidates, argmax, first_candidates, resorted, running_sum, top
from .constraint import Constraint, masked
from .history import History, bit, dry_on
from .sampling import Chain, Custom, Sampling
from .words import Words

REPORTED = 32  # candidates whose probabilities can be asked for
_ON_ALL_LOGITS = ("penalties", "dry", "top_n_sigma")
T = TypeVar("T")


@flax.struct.dataclass
class Choice:
    """What was chosen.

    Attributes:
        tokens: int32[B].
        logprobs: f32[B], under the whole distribution, before anything changed it.
        likely, likely_logprobs: int32[B, N], f32[B, N]: the most likely tokens, before the samplers or after them; N is 0 where nobody asked.
        enough: bool[B], false where a sampler would have had to see more of the vocabulary: nothing else means anything there, and nothing was learned.
        allowed: bool[B], false where biases and samplers have left no token, or none that the slot's grammar allows. `choose` makes it false also where the
            logits are not numbers.
    """

    tokens: jax.Array
    logprobs: jax.Array
    likely: jax.Array
    likely_logprobs: jax.Array
    enough: jax.Array
    allowed: jax.Array


class _Chain:
    """One call's logits, parameters and pasts, and the chain over them."""

    def __init__(self, given: jax.Array, p: Sampling, history: History, positions: jax.Array, words: Words, samplers_after: Chain):
        self.given, self.p, self.history, self.positions, self.words, self.after = given, p, history, positions, words, samplers_after
        self.slots, self.size = given.shape
        self.row = jnp.arange(self.slots)[:, None]

    def draws(self, number: int) -> jax.Array:
        """Uniform numbers f32[B]; another stream for every `number`."""

        def draw(seed: jax.Array, position: jax.Array) -> jax.Array:
            return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), position), number))

        return jax.vmap(draw)(self.p.seed, self.positions)

    def window(self, wide: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The most likely tokens: logits and ids [B, WIDE], and how many of them there are: `WIDE` if wide bool[] holds, `NARROW` otherwise."""

        def narrow() -> tuple[jax.Array, jax.Array]:
            values, ids = top(self.given, NARROW)
            more = ((0, 0), (0, WIDE - NARROW))
            return jnp.pad(values, more, constant_values=-jnp.inf), jnp.pad(ids, more)

        values, ids = jax.lax.cond(wide, lambda: top(self.given, WIDE), narrow)
        return values, ids, jnp.where(wide, WIDE, NARROW)

    def candidates(self, values: jax.Array, ids: jax.Array, count: jax.Array | int) -> Candidates:
        """What the chain leaves of the `count` most likely tokens, the first of those given."""
        p, size = self.p, self.size

        def rest(temperature: jax.Array) -> jax.Array:
            """The log of the sum of exponentials beyond the window, at a temperature."""
            total = jax.nn.logsumexp(self.given / temperature[:, None], -1)
            within = jax.nn.logsumexp(values / temperature[:, None], -1)
            return total + jnp.log1p(-jnp.minimum(jnp.exp(within - total), 1.0))

        narrow = (p.mirostat == 0) & (p.top_k > 0) & (p.top_k <= count) if self.after[:1] == ("top_k",) else jnp.zeros(self.slots, bool)
        nothing = jnp.full(self.slots, -jnp.inf)
        beyond = nothing if values.shape[1] == size else jax.lax.cond(narrow.all(), lambda: nothing, lambda: rest(jnp.ones(self.slots)))
        c = first_candidates(values, ids, count, size, beyond)

        found = c
        for one in self.after:
            found = self._one(found, one, rest)

        def surprising() -> Candidates:
            return _where(p.mirostat > 0, samplers.mirostat(samplers.scaled(c, p.temperature, rest), p, self.history, size), found)

        return jax.lax.cond((p.mirostat > 0).any(), surprising, lambda: found)

    def _one(self, c: Candidates, sampler: str | Custom, rest: Callable[[jax.Array], jax.Array]) -> Candidates:
        p, history = self.p, self.history
        if callable(sampler):
            changed = self._own(sampler, jnp.full((self.slots, self.size), -jnp.inf).at[self.row, c.ids].set(c.shown))
            return resorted(c, lambda _, ids: jnp.take_along_axis(changed, ids, axis=1))
        match sampler:
            case "penalties":
                on = samplers.penalties_on(p)

                def change(logits: jax.Array, ids: jax.Array) -> jax.Array:
                    return samplers.penalties(logits, jnp.take_along_axis(history.counts, ids, axis=1), p)

                return jax.lax.cond(on.any(), lambda: _where(on, resorted(c, change), c), lambda: c)
            case "dry":
                on = dry_on(p)

                def lower(logits: jax.Array, ids: jax.Array) -> jax.Array:
                    return logits - jnp.take_along_axis(self._lost(), ids, axis=1)

                return jax.lax.cond(on.any(), lambda: _where(on, resorted(c, lower), c), lambda: c)
            case "top_n_sigma":
                cut = jnp.where(c.present, samplers.top_n_sigma(c.shown, p), c.logits)
                return replace(c, logits=cut, enough=c.enough & ~((p.top_n_sigma > 0) & c.beyond))
            case "xtc":
                return samplers.xtc(c, p, self.draws(1))
            case "temperature":
                return samplers.temperature(c, p, rest)
            case "infill":
                return samplers.infill(c, self.words.end, self.words.ranks, self.words.lasts, self.words.fallback)
            case "adaptive_p":
                return samplers.adaptive_p(c, p, history)
        return {"top_k": samplers.top_k, "typ_p": samplers.typical_p, "top_p": samplers.top_p, "min_p": samplers.min_p}[sampler](c, p)

    def _own(self, sampler: Custom, logits: jax.Array) -> jax.Array:
        """Logits f32[B, V] after a function of the caller's own."""
        changed = sampler(logits, self.history)
        shape, dtype = getattr(changed, "shape", None), getattr(changed, "dtype", type(changed).__name__)
        if shape != logits.shape or dtype != logits.dtype:
            found = dtype if shape is None else f"{dtype}{list(shape)}"
            name = getattr(sampler, "__name__", repr(sampler))
            raise TypeError(f"the sampler {name} returned {found}, expected the changed logits: float32{list(logits.shape)}, a row a slot")
        return jnp.asarray(changed)

    def _lost(self) -> jax.Array:
        """f32[B, V], what DRY takes from every token."""
        tokens, lost = samplers.dry_penalties(self.history, self.p)
        return jnp.zeros((self.slots, self.size)).at[self.row, tokens].max(lost, mode="drop")

    def on_all(self, sampler: str | Custom) -> jax.Array:
        """All logits f32[B, V] after a sampler that needs no order."""
        given, p = self.given, self.p
        if callable(sampler):
            return self._own(sampler, given)
        on, change = {
            "penalties": (samplers.penalties_on(p), lambda: samplers.penalties(given, self.history.counts, p)),
            "dry": (dry_on(p), lambda: given - self._lost()),
            "top_n_sigma": (p.top_n_sigma > 0, lambda: samplers.top_n_sigma(given, p)),
        }[sampler]
        return jax.lax.cond(on.any(), change, lambda: given)

    def drawn(self, c: Candidates, report: int) -> _Drawn:
        """A token from candidates."""
        count = c.ids.shape[1]
        weights = c.probabilities()
        sums = running_sum(weights)
        aim = self.draws(0) * jnp.where(c.beyond, 1.0, sums[:, -1])
        last = jnp.where(weights > 0, jnp.arange(count)[None], 0).max(-1)
        place = jnp.minimum((sums <= aim[:, None]).sum(-1), last)[:, None]
        token, probability, before = (jnp.take_along_axis(x, place, axis=1)[:, 0] for x in (c.ids, weights, c.before))
        probabilities, places = jax.lax.top_k(weights, min(report, count))
        short = ((0, 0), (0, report - probabilities.shape[1]))
        likely, logs = jnp.take_along_axis(c.ids, places, axis=1), jnp.log(probabilities)
        enough = c.enough & ~(c.beyond & (aim >= sums[:, -1]))
        return _Drawn(token, probability, before, enough, jnp.pad(likely, short), jnp.pad(logs, short, constant_values=-jnp.inf))


@flax.struct.dataclass
class _Drawn:
    """A token of each slot, its probability among the candidates and before adaptive_p, whether the window was enough, and the most likely candidates."""

    tokens: jax.Array
    probabilities: jax.Array
    before: jax.Array
    enough: jax.Array
    likely: jax.Array
    logprobs: jax.Array


def _where(condition: jax.Array, a: T, b: T) -> T:
    """Slots of `a` where a condition bool[B] holds, of `b` elsewhere. What all slots share is the same in both."""
    return jax.tree.map(lambda x, y: jnp.where(condition.reshape(-1, *[1] * (x.ndim - 1)), x, y) if x.ndim else x, a, b)


def _touched(p: Sampling, size: int) -> jax.Array:
    """bool[B], whether anything is done to logits before they are cut."""
    early = samplers.penalties_on(p) | dry_on(p) | (p.top_n_sigma > 0)
    return (p.bias_tokens < size).any(-1) | p.ignore_end | ((p.mirostat == 0) & early)


def _adjusted(logits: jax.Array, p: Sampling, words: Words, constraint: Constraint | None, chain: Callable[[jax.Array], _Chain], early: Chain) -> jax.Array:
    """All logits after what is done to them before they are cut."""
    found = logits.at[jnp.arange(logits.shape[0])[:, None], p.bias_tokens].add(p.bias, mode="drop")
    found = jnp.where(p.ignore_end[:, None] & words.end[None], -jnp.inf, found)
    plain = found = found if constraint is None else masked(found, constraint)
    for sampler in early:
        found = chain(found).on_all(sampler)
    return jnp.where((p.mirostat > 0)[:, None], plain, found)


def _prepared(logits: jax.Array, p: Sampling, history: History, positions: jax.Array, words: Words, constraint: Constraint | None) -> tuple[_Chain, jax.Array]:
    """The chain with the logits it cuts; and whether they are not the model's any more, bool[]."""
    _check_shapes(logits, p, history, positions, words, constraint)
    cut = next((n for n, s in enumerate(p.chain) if not (callable(s) or s in _ON_ALL_LOGITS)), len(p.chain))
    chain = partial(_Chain, p=p, history=history, positions=positions, words=words, samplers_after=p.chain[cut:])
    always = constraint is not None or any(callable(s) for s in p.chain[:cut])
    touched = jnp.asarray(True) if always else _touched(p, logits.shape[1]).any()
    return chain(jax.lax.cond(touched, lambda: _adjusted(logits, p, words, constraint, chain, p.chain[:cut]), lambda: logits)), touched


def _check_shapes(logits: jax.Array, p: Sampling, history: History, positions: jax.Array, words: Words, constraint: Constraint | None) -> None:
    """Hold the slots and the vocabularies of all arguments against each other: JAX would stretch arrays of one slot, and index beyond others in silence.

    Raises:
        ValueError: they do not fit.
    """
    if logits.ndim != 2 or 0 in logits.shape or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(f"logits are {logits.dtype}{list(logits.shape)}, expected f32[B, V]")
    slots, size = logits.shape
    room, biased = history.tokens.shape[-1], p.bias_tokens.shape[-1]
    expected = {
        "positions": (positions, (slots,)),
        "words.end": (words.end, (size,)),
        "temperature": (p.temperature, (slots,)),
        "bias_tokens": (p.bias_tokens, (slots, biased)),
        "bias": (p.bias, (slots, biased)),
        "history.counts": (history.counts, (slots, size)),
        "history.tokens": (history.tokens, (slots, room)),
        "history.matches": (history.matches, (slots, room)),
        "history.length": (history.length, (slots,)),
    }
    if constraint is not None:
        expected |= {"constraint.state": (constraint.state, (slots,)), "constraint.mask": (constraint.mask, (slots, -(-size // 32)))}
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape} for {slots} slots and a vocabulary of {size}")


def distribution(logits: jax.Array, p: Sampling, history: History, positions: jax.Array, words: Words, constraint: Constraint | None = None) -> jax.Array:
    """The probabilities f32[B, V] with which `sample` chooses; it sorts the whole vocabulary: for looking, not for decoding."""
    chain, _ = _prepared(logits, p, history, positions, words, constraint)
    c = chain.candidates(*top(chain.given, chain.size), chain.size)
    return jnp.zeros(logits.shape).at[chain.row, c.ids].add(c.probabilities())  # infill may put a token into two places


def sample(
    logits: jax.Array,
    p: Sampling,
    history: History,
    positions: jax.Array,
    words: Words,
    constraint: Constraint | None = None,
    *,
    report: str = "",
    whole: bool = False,
) -> tuple[Choice, History]:
    """The next token of every slot.

    Args:
        logits: f32[B, V].
        p: parameters of the B slots.
        history: their pasts. The one that comes back knows what samplers learned from this choice, but not the token: `remember` adds that.
        positions: int32[B], the position that the token will have; picks its numbers from the random stream.
        constraint: what the slots' grammars allow.
        report: "before" or "after": the most likely tokens before or after the samplers; static.
        whole: sort the whole vocabulary, which is exact for every chain; otherwise `Choice.enough` says whether a window was. Static.
    """
    slots, size = logits.shape
    reported = min(REPORTED, size) if report else 0
    chain, touched = _prepared(logits, p, history, positions, words, constraint)

    def drawn() -> _Drawn:
        if whole or size <= WIDE:
            return chain.drawn(chain.candidates(*top(chain.given, size), size), reported)

        def attempt(wide: jax.Array) -> _Drawn:
            return chain.drawn(chain.candidates(*chain.window(wide)), reported)

        # One program for both windows: the wide one is looked at only where the narrow one is not enough.
        def again(state: tuple[jax.Array, _Drawn]) -> tuple[jax.Array, _Drawn]:
            tries, found = state
            return tries + 1, _where(found.enough & (tries > 0), found, attempt(tries > 0))

        flat, several = jnp.zeros(slots), jnp.zeros((slots, reported))
        nothing = _Drawn(flat.astype(jnp.int32), flat, flat, flat > 0, several.astype(jnp.int32), several)
        return jax.lax.while_loop(lambda s: (s[0] < 2) & ~s[1].enough.all(), again, (jnp.int32(0), nothing))[1]

    if kernels_run():
        best, total = logits_kernel.best_and_total(logits, words.end, jnp.zeros(slots, bool))
    else:
        best, total = None, jax.nn.logsumexp(logits, -1)

    def greedy() -> _Drawn:
        token = argmax(chain.given) if best is None else jax.lax.cond(touched, lambda: argmax(chain.given), lambda: best)
        one, nothing = jnp.ones(slots), jnp.full((slots, reported), -jnp.inf)
        first = jnp.arange(reported)[None] == 0
        possible = jnp.take_along_axis(chain.given, token[:, None], axis=1)[:, 0] > -jnp.inf
        return _Drawn(token, jnp.where(possible, one, 0.0), one, one > 0, jnp.where(first, token[:, None], 0), jnp.where(first, 0.0, nothing))

    plain = "temperature" in p.chain and not any(callable(s) or s in ("infill", "adaptive_p") for s in chain.after)
    cold = (p.temperature <= 0) & (p.dynatemp_range <= 0) & (p.typical_p >= 1) & (p.xtc_probability <= 0) & (p.mirostat == 0)
    found = jax.lax.cond(cold.all(), greedy, drawn) if plain else drawn()
    likely, logs = found.likely, found.logprobs
    if report == "before":
        logs, likely = top(logits, reported)
        logs -= total[:, None]
    allowed = found.probabilities > 0  # false, too, where a sampler has made something that is no number
    if constraint is not None:  # where all that the grammar allows is forbidden, the token is one of those, or any
        allowed &= bit(constraint.mask, found.tokens) & (jnp.take_along_axis(chain.given, found.tokens[:, None], axis=1)[:, 0] > -jnp.inf)
    choice = Choice(found.tokens, jnp.take_along_axis(logits, found.tokens[:, None], axis=1)[:, 0] - total, likely, logs, found.enough, allowed)
    surprise = history.surprise - p.mirostat_eta * (-jnp.log2(found.probabilities) - p.mirostat_tau)
    history = replace(history, surprise=jnp.where((p.mirostat > 0) & found.enough, surprise, history.surprise))
    if "adaptive_p" in p.chain:
        on, decay = (p.mirostat == 0) & (p.adaptive_target >= 0) & found.enough, jnp.clip(p.adaptive_decay, 0.0, 0.99)
        history = replace(
            history,
            chosen=jnp.where(on, found.before + decay * history.chosen, history.chosen),
            weight=jnp.where(on, 1 + decay * history.weight, history.weight),
        )
    return choice, history
