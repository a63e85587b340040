"""llama.cpp's samplers, each a function of candidates and parameters. A sampler that is off changes nothing.

Source: llama.cpp's llama-sampler.cpp. A token on the very edge of a cut may fall on either side of it: sums are made in another order than there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from .candidates import Candidates, running_sum
from .history import History, bit, dry_on
from .sampling import Sampling

_LOG_OF_LARGEST = 88.7228391
MIROSTAT_TOKENS = 100  # from which mirostat 1 estimates how fast probabilities fall
_INFILL = 0.2  # least probability in infill
_WIDTH, _PEAK, _SHARPNESS = 0.3, 5.0, 10.0  # of adaptive_p's transform


def top_k(c: Candidates, p: Sampling) -> Candidates:
    """The k most likely."""
    on = p.top_k > 0
    kept = (c.rank < p.top_k[:, None]) | ~on[:, None]
    return c.keep(kept, beyond=~on, enough=~(on & c.beyond & (c.present.sum(-1) < p.top_k)))


def top_p(c: Candidates, p: Sampling) -> Candidates:
    """The fewest with a probability of p together."""
    on = p.top_p < 1
    probabilities, rank = c.probabilities(), c.rank
    sums = running_sum(probabilities)
    kept = (sums - probabilities < p.top_p[:, None]) | (rank < jnp.maximum(p.min_keep, 1)[:, None]) | ~on[:, None]
    complete = (sums[:, -1] >= p.top_p) & (c.present.sum(-1) >= p.min_keep)
    return c.keep(kept, beyond=~on, enough=~(on & c.beyond & ~complete))


def min_p(c: Candidates, p: Sampling) -> Candidates:
    """Those at least a fraction as likely as the most likely one."""
    on = p.min_p > 0
    least = c.shown.max(-1) + jnp.log(jnp.where(on, p.min_p, 1.0))
    kept = (c.logits >= least[:, None]) | (c.rank < jnp.maximum(p.min_keep, 1)[:, None]) | ~on[:, None]
    complete = (c.edge < least) & (c.present.sum(-1) >= p.min_keep)
    return c.keep(kept, beyond=~on, enough=~(on & c.beyond & ~complete))


def typical_p(c: Candidates, p: Sampling) -> Candidates:
    """Those whose surprise is nearest to the entropy, up to a probability."""
    on = p.typical_p < 1

    def cut() -> jax.Array:
        probabilities = c.probabilities()
        surprise = -jnp.log(probabilities)
        entropy = jnp.where(probabilities > 0, probabilities * surprise, 0.0).sum(-1, keepdims=True)
        order = jnp.argsort(jnp.where(c.present, jnp.abs(surprise - entropy), jnp.inf), axis=-1)
        sums = running_sum(jnp.take_along_axis(probabilities, order, axis=1))
        before = jnp.pad(sums[:, :-1], ((0, 0), (1, 0)))
        kept = (before <= p.typical_p[:, None]) | (jnp.arange(sums.shape[1])[None] < p.min_keep[:, None])
        kept = kept.at[:, 0].set(True)
        return jnp.zeros_like(kept).at[jnp.arange(kept.shape[0])[:, None], order].set(kept)

    kept = jax.lax.cond(on.any(), cut, lambda: jnp.ones_like(c.present)) | ~on[:, None]
    return c.keep(kept, beyond=~on, enough=~(on & c.beyond))


def xtc(c: Candidates, p: Sampling, chance: jax.Array) -> Candidates:
    """Now and then all but the last of the likely ones are left out. `chance` f32[B], a uniform number."""
    on = (p.xtc_probability > 0) & (p.xtc_threshold <= 0.5) & (c.size >= 2) & (chance <= p.xtc_probability)
    probabilities = c.probabilities()
    likely = (c.present & (probabilities >= p.xtc_threshold[:, None])).sum(-1, dtype=jnp.int32)
    last = jnp.maximum(likely - 1, 0)
    out = on & (last > 0) & (c.size - last >= p.min_keep)
    kept = (c.rank >= last[:, None]) | ~out[:, None]
    return c.keep(kept, beyond=jnp.ones_like(on), enough=~(on & c.beyond & (jnp.exp(c.edge - c.total()) >= p.xtc_threshold)))


def scaled(c: Candidates, temperature: jax.Array, rest: Callable[[jax.Array], jax.Array]) -> Candidates:
    """Logits divided by a temperature f32[B]; at 0 and below all but the most likely get -inf.

    Args:
        rest: of a temperature, `Candidates.rest` of logits divided by that.
    """
    cold = temperature <= 0
    divisor = jnp.where(cold, 1.0, temperature)
    first = c.rank == 0
    logits = jnp.where(cold[:, None] & ~(first & c.present), -jnp.inf, c.logits / divisor[:, None])
    beyond = c.beyond & ~cold
    rested = jax.lax.cond(beyond.any(), lambda: rest(divisor), lambda: c.rest)
    return replace(c, logits=logits, beyond=beyond, rest=jnp.where(beyond, rested, -jnp.inf))


def temperature(c: Candidates, p: Sampling, rest: Callable[[jax.Array], jax.Array]) -> Candidates:
    """The temperature, which may follow the entropy."""
    moving = p.dynatemp_range > 0
    probabilities = c.probabilities()
    entropy = -jnp.where(probabilities > 0, probabilities * jnp.log(jnp.where(probabilities > 0, probabilities, 1.0)), 0.0).sum(-1)
    share = jnp.clip(entropy / jnp.log(jnp.maximum(c.size, 2).astype(jnp.float32)), 0.0, 1.0)
    low, high = jnp.maximum(p.temperature - p.dynatemp_range, 0.0), p.temperature + p.dynatemp_range
    following = jnp.where(c.size > 1, low + (high - low) * share**p.dynatemp_exponent, 1.0)
    return scaled(replace(c, enough=c.enough & ~(moving & c.beyond)), jnp.where(moving, following, p.temperature), rest)


def top_n_sigma(logits: jax.Array, p: Sampling) -> jax.Array:
    """Logits f32[B, N] with -inf where they are too far below the highest, in standard deviations."""
    finite = logits > -jnp.inf
    count = jnp.maximum(finite.sum(-1, keepdims=True, dtype=jnp.float32), 1)
    mean = jnp.where(finite, logits, 0.0).sum(-1, keepdims=True) / count
    deviation = jnp.sqrt(jnp.where(finite, (logits - mean) ** 2, 0.0).sum(-1, keepdims=True) / count)
    least = logits.max(-1, keepdims=True) - p.top_n_sigma[:, None] * deviation
    return jnp.where((p.top_n_sigma[:, None] > 0) & (logits < least), -jnp.inf, logits)


def penalties_on(p: Sampling) -> jax.Array:
    """bool[B], whether any of the penalties does something."""
    return (p.repeat_last_n != 0) & ((p.repeat_penalty != 1) | (p.frequency_penalty != 0) | (p.presence_penalty != 0))


def penalties(logits: jax.Array, counts: jax.Array, p: Sampling) -> jax.Array:
    """Logits [B, N] of tokens that were there `counts` int32[B, N] times lately."""
    repeated = jnp.where(logits <= 0, logits * p.repeat_penalty[:, None], logits / p.repeat_penalty[:, None])
    lowered = repeated - counts.astype(jnp.float32) * p.frequency_penalty[:, None] - p.presence_penalty[:, None]
    return jnp.where((counts > 0) & penalties_on(p)[:, None], lowered, logits)


def dry_penalties(history: History, p: Sampling) -> tuple[jax.Array, jax.Array]:
    """Tokens int32[B, H] that would go on with a repetition (beyond the vocabulary: none), and what each loses, f32[B, H]. One may be there several times."""
    room = history.tokens.shape[1]
    place, length = jnp.arange(room)[None], history.length[:, None]
    window = jnp.minimum(length, jnp.where(p.dry_penalty_last_n < 0, room, p.dry_penalty_last_n)[:, None])
    start = length - window
    limit = jnp.where(history.breaker[:, None] >= start, length - history.after_breaker[:, None], window)
    # A repetition ends at `place`; it neither begins before the window nor before the last breaker.
    repeated = jnp.minimum(jnp.minimum(history.matches, place - start + 1), limit)
    allowed = p.dry_allowed_length[:, None]
    following = jnp.roll(history.tokens, -1, axis=1)
    counts = (place >= start) & (place < length - 1) & (repeated >= allowed) & (window > allowed) & (limit >= allowed)
    counts &= dry_on(p)[:, None] & ~bit(jnp.broadcast_to(p.breakers[:, None], (*following.shape, p.breakers.shape[1])), following)
    most = jnp.where(p.dry_base > 1.000001, jnp.floor(_LOG_OF_LARGEST / jnp.log(jnp.maximum(p.dry_base, 1.0000011))), 2.0**30)
    exponent = jnp.minimum((repeated - allowed).astype(jnp.float32), most[:, None])
    lost = p.dry_multiplier[:, None] * p.dry_base[:, None] ** jnp.where(counts, exponent, 0.0)
    return jnp.where(counts, following, 2**31 - 1), lost


def infill(c: Candidates, end: jax.Array, ranks: jax.Array, lasts: jax.Array, fallback: jax.Array) -> Candidates:
    """Fill in the middle: end where that is likely enough; tokens that begin alike count as one; then only likely ones are left.

    At most the window's candidates are looked at.

    Args:
        end: bool[V], tokens that end a generation.
        ranks, lasts: int32[V], each token's place in the order of texts, and that of the last one which begins with its text; -1 where it has none.
        fallback: int32[], the token to end with where nothing is left.
    """
    probabilities = c.probabilities()
    ends = end[c.ids] & c.present
    of_end, of_text = jnp.where(ends, probabilities, 0.0).sum(-1), jnp.where(ends, 0.0, probabilities).sum(-1)
    only_end = 3 * of_end * c.size.astype(jnp.float32) > of_text
    rank, last = ranks[c.ids], lasts[c.ids]
    count = c.ids.shape[1]

    def merge(i: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        mass, there = state
        mine = there[:, i]
        begins = (rank >= rank[:, i, None]) & (rank <= last[:, i, None]) & (rank[:, i, None] >= 0) & there & (jnp.arange(count)[None] != i)
        given = jnp.where(begins, mass, 0.0)
        before = mass[:, i, None] + running_sum(given) - given
        larger = begins & (mass > before)  # the first of these takes all instead
        taker = jnp.where(larger.any(-1), larger.argmax(-1), count)
        merged = begins & (jnp.arange(count)[None] < taker[:, None]) & mine[:, None]
        own = mass[:, i] + jnp.where(merged, mass, 0.0).sum(-1)
        gives = mine & (taker < count)
        place = jnp.arange(count)[None]
        mass = jnp.where(merged, 0.0, mass)
        mass = jnp.where(place == i, jnp.where(gives, 0.0, jnp.where(mine, own, mass[:, i]))[:, None], mass)
        mass = jnp.where((place == taker[:, None]) & gives[:, None], mass + own[:, None], mass)
        return mass, there & ~merged & ~((place == i) & gives[:, None])

    mass, there = jax.lax.fori_loop(0, count, merge, (probabilities, c.present & (c.logits > -jnp.inf)))
    kept = c.present & (ends | (mass >= _INFILL))
    texts = (kept & ~ends).sum(-1, dtype=jnp.float32)
    total = jnp.where(kept, mass, 0.0).sum(-1, keepdims=True)
    kept &= ends | (mass / total >= 1 / (texts[:, None] + 1.0))
    nothing = ~only_end & (texts == 0)
    first = jnp.arange(count)[None] == 0
    kept = jnp.where(only_end[:, None], ends, jnp.where(nothing[:, None], first, kept))
    logits = jnp.where(nothing[:, None] & first, 1.0, jnp.where(there | only_end[:, None], c.logits, -jnp.inf))
    ids = jnp.where(nothing[:, None] & first, fallback, c.ids)
    present = jnp.where(nothing[:, None], first, c.present)
    return replace(c, logits=logits, ids=ids, present=present).keep(kept, beyond=jnp.zeros_like(only_end))


def adaptive_p(c: Candidates, p: Sampling, history: History) -> Candidates:
    """Logits that are highest for tokens of a target probability, which makes up for what was chosen before."""
    on = p.adaptive_target >= 0
    target = jnp.clip(p.adaptive_target, 0.0, 1.0)
    mean = history.chosen / jnp.where(history.weight == 0, 1.0, history.weight)
    adapted = jnp.clip(jnp.where(history.weight == 0, target, 2 * target - mean), 0.0, 1.0)
    before = c.probabilities()
    distance = jnp.abs(before - adapted[:, None]) / _WIDTH
    moved = jnp.where(c.logits > -jnp.inf, _PEAK - _SHARPNESS * distance**2 / (1 + distance), -jnp.inf)
    logits = jnp.where(on[:, None], moved, c.logits)
    return replace(c, logits=logits, before=before, enough=c.enough & ~(on & c.beyond))


def mirostat(c: Candidates, p: Sampling, history: History, n_vocab: int) -> Candidates:
    """The cut of mirostat 1 or 2, whichever is on."""
    probabilities = c.probabilities()
    surprise = -jnp.log2(probabilities)
    second = (surprise <= history.surprise[:, None]) | (c.rank == 0)
    complete = (c.total() - c.edge) / jnp.log(2.0) > history.surprise
    count = min(MIROSTAT_TOKENS, probabilities.shape[1])
    number = jnp.arange(1.0, count)[None]
    steps = jnp.log((number + 1) / number)
    possible = probabilities[:, 1:count] > 0  # what a grammar or a bias forbids says nothing about how probabilities fall
    falls = jnp.log(probabilities[:, : count - 1]) - jnp.log(jnp.where(possible, probabilities[:, 1:count], 1.0))
    s = jnp.where(possible, steps * falls, 0.0).sum(-1) / jnp.where(possible, steps**2, 0.0).sum(-1)
    epsilon = s - 1
    k = ((epsilon * 2.0**history.surprise) / (1 - n_vocab ** (-epsilon))) ** (1 / s)
    k = jnp.maximum(jnp.nan_to_num(k, nan=1.0, posinf=2.0**30).astype(jnp.int32), 1)
    first = c.rank < k[:, None]
    enough = jnp.where(p.mirostat == 2, complete, (c.known >= MIROSTAT_TOKENS) & (k <= c.known))
    return c.keep(jnp.where((p.mirostat == 2)[:, None], second, first), beyond=jnp.zeros_like(c.beyond), enough=~c.beyond | enough)
