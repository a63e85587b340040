"""What a request says about sampling: parameters as arrays, each slot with its own, so that no value of theirs recompiles anything.

Names, defaults and order are llama.cpp's (`common_params_sampling`). Only the order of the samplers is part of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from ..names import refuse_unknown
from ..numeric import real, whole_of

Custom = Callable[[jax.Array, Any], jax.Array]  # (logits f32[B, V], history) -> logits
Chain = tuple[str | Custom, ...]

# Name, letter for --sampler-seq, other spellings.
SAMPLERS = {
    "penalties": ("e", ()),
    "dry": ("d", ()),
    "top_n_sigma": ("s", ()),
    "top_k": ("k", ()),
    "typ_p": ("y", ("typical_p", "typ", "typical")),
    "top_p": ("p", ("nucleus",)),
    "min_p": ("m", ()),
    "xtc": ("x", ()),
    "temperature": ("t", ("temp",)),
    "infill": ("i", ()),
    "adaptive_p": ("a", ()),
}
DEFAULT_CHAIN: Chain = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")
DEFAULT_BREAKERS = ("\n", ":", '"', "*")
MOST_TAIL = 20  # tokens of a sequence breaker after its first
_SLOTS_OF_BIAS = (32, 1024)  # how many biases there is room for; more of them are another program
_SLOTS_OF_TAILS = (0, 8, 64)

# Per slot, with llama.cpp's defaults.
FLOATS = {
    "temperature": 0.8,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "top_p": 0.95,
    "min_p": 0.05,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "repeat_penalty": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "adaptive_target": -1.0,
    "adaptive_decay": 0.9,
}
INTEGERS = {"top_k": 40, "min_keep": 0, "repeat_last_n": 64, "dry_allowed_length": 2, "dry_penalty_last_n": 64, "mirostat": 0}


@flax.struct.dataclass
class Sampling:
    """Sampling parameters of B slots; a pytree.

    Attributes:
        temperature: 0 or less takes the most likely token.
        dynatemp_range, dynatemp_exponent: let the temperature follow the entropy, by as much as the range up and down.
        top_k: keep the k most likely; 0 or less keeps all.
        top_p: keep the fewest most likely tokens whose probabilities sum to at least this; 1 keeps all.
        min_p: keep tokens at least this fraction as likely as the most likely one; 0 keeps all.
        typical_p: keep the tokens whose surprise is nearest to the entropy, up to this probability; 1 keeps all.
        top_n_sigma: keep logits within so many standard deviations of the highest; 0 or less keeps all.
        xtc_probability, xtc_threshold: how often all but the last of the tokens at least this likely are left out.
        min_keep: tokens that top_p, min_p, typical_p and xtc leave at least.
        repeat_penalty, frequency_penalty, presence_penalty: for tokens among the last `repeat_last_n` (-1: all of the context).
        dry_multiplier, dry_base, dry_allowed_length: a token that would go on with a repetition of `n` tokens loses multiplier * base^(n - allowed); looked for
            among the last `dry_penalty_last_n` (-1: all), back to the last sequence breaker.
        mirostat: 0 off; 1 and 2 keep the surprise at `mirostat_tau` bits with a learning rate of `mirostat_eta`, instead of all other samplers.
        adaptive_target, adaptive_decay: of adaptive_p, where it is in the chain.
        seed: of the random stream, uint32.
        ignore_end: never choose a token that ends the generation.
        bias_tokens, bias: int32[B, N], f32[B, N], added to logits; tokens beyond the vocabulary mean nothing.
        breakers: uint32[B, W], a bit for each token that is or contains a sequence breaker.
        tails, tail_heads: int32[B, T, MOST_TAIL] (-1 at their ends), uint32[B, T, W]: breakers that begin in one token and end with others.
        chain: static: the samplers in their order.
    """

    temperature: jax.Array
    dynatemp_range: jax.Array
    dynatemp_exponent: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    min_p: jax.Array
    typical_p: jax.Array
    top_n_sigma: jax.Array
    xtc_probability: jax.Array
    xtc_threshold: jax.Array
    min_keep: jax.Array
    repeat_last_n: jax.Array
    repeat_penalty: jax.Array
    frequency_penalty: jax.Array
    presence_penalty: jax.Array
    dry_multiplier: jax.Array
    dry_base: jax.Array
    dry_allowed_length: jax.Array
    dry_penalty_last_n: jax.Array
    mirostat: jax.Array
    mirostat_tau: jax.Array
    mirostat_eta: jax.Array
    adaptive_target: jax.Array
    adaptive_decay: jax.Array
    seed: jax.Array
    ignore_end: jax.Array
    bias_tokens: jax.Array
    bias: jax.Array
    breakers: jax.Array
    tails: jax.Array
    tail_heads: jax.Array
    chain: Chain = flax.struct.field(pytree_node=False, default=DEFAULT_CHAIN)


def chain_of(samplers: str | Sequence[str | Custom]) -> Chain:
    """The samplers of a chain.

    Args:
        samplers: names in llama.cpp's spellings, one after the other or in one text with semicolons; functions of (logits, history) among them. A function is
            part of the program, which is compiled for that object: pass the same one every time, not a new lambda.

    Raises:
        ValueError: there is no such sampler.
    """
    names = {spelling: name for name, (_, others) in SAMPLERS.items() for spelling in (name, *others)}
    names |= {spelling.replace("_", ""): name for spelling, name in names.items()}
    given = [s for s in samplers.split(";") if s.strip()] if isinstance(samplers, str) else samplers
    if not isinstance(given, Sequence) or not all(callable(s) or isinstance(s, str) for s in given):
        raise ValueError(f"samplers: expected names or functions of (logits, history), found {samplers!r}")
    found: list[str | Custom] = []
    for one in given:
        name = one if callable(one) else names.get(one.strip().lower().replace("-", "_"))
        if name is None:
            raise ValueError(f"samplers: there is no sampler '{one}'; there are {', '.join(SAMPLERS)}")
        found.append(name)
    return tuple(found)


def chain_of_letters(letters: str) -> Chain:
    """The samplers of llama.cpp's short notation (`edskypmxt` is the default)."""
    names = {letter: name for name, (letter, _) in SAMPLERS.items()}
    if unknown := [c for c in letters if c not in names]:
        raise ValueError(f"there is no sampler '{unknown[0]}'; there are {', '.join(f'{c} ({n})' for c, n in names.items())}")
    return tuple(names[c] for c in letters)


_LIMITS = {np.int32: np.iinfo(np.int32), np.float32: np.finfo(np.float32)}


def make_sampling(
    slots: int = 1,
    *,
    seed: int | Sequence[int] = 0,
    ignore_end: bool | Sequence[bool] = False,
    logit_bias: Mapping[int, float] | Sequence[Mapping[int, float]] = {},
    samplers: str | Sequence[str | Custom] | None = None,
    breakers: Breakers | None = None,
    **parameters: float | Sequence[float] | None,
) -> Sampling:
    """Parameters for `slots` sequences, each value one for all or a sequence of one for each; the defaults are llama.cpp's.

    Args:
        logit_bias: numbers to add to tokens' logits; minus infinity forbids a token.
        samplers: see `chain_of`; None for llama.cpp's default chain.
        breakers: sequence breakers, as tokens; see `make_breakers`.
        **parameters: see `Sampling`; None for the default.

    Raises:
        TypeError: there is no such parameter.
        ValueError: a value is not one that the parameter can have.
    """
    if not isinstance(slots, (int, np.integer)) or slots < 1:
        raise ValueError(f"slots must be a whole number of at least 1, not {slots!r}")
    refuse_unknown("sampling", parameters, [*FLOATS, *INTEGERS])
    parameters = {name: value for name, value in parameters.items() if value is not None}

    def spread(name: str, value: object, dtype: type) -> jax.Array:
        array = np.asarray(value)
        if array.ndim > 1 or (array.ndim == 1 and array.shape[0] != slots):
            raise ValueError(f"{name} has shape {array.shape}, expected one value or {slots}")
        whole, limits = dtype is np.int32, _LIMITS.get(dtype)
        fits = array.dtype.kind in "bifu" and (limits is None or bool(((array >= limits.min) & (array <= limits.max)).all()))
        if not fits or (whole and (array % 1).any()):
            raise ValueError(f"{name} must be {'a whole number of 32 bits' if whole else 'a finite number (float32)'}, not {value!r}")
        return jnp.asarray(np.broadcast_to(array, slots).astype(dtype))

    values = {name: spread(name, parameters.get(name, default), np.float32) for name, default in FLOATS.items()}
    values |= {name: spread(name, parameters.get(name, default), np.int32) for name, default in INTEGERS.items()}
    for name, least, most in (("repeat_last_n", -1, None), ("dry_penalty_last_n", -1, None), ("mirostat", 0, 2), ("min_keep", 0, None)):
        array = np.asarray(values[name])
        if (array < least).any() or (most is not None and (array > most).any()):
            raise ValueError(f"{name} must be at least {least}{'' if most is None else f' and at most {most}'}, not {parameters[name]}")
    if (np.asarray(values["repeat_penalty"]) <= 0).any():
        raise ValueError(f"repeat_penalty must be above 0, not {parameters['repeat_penalty']}")
    if not isinstance(logit_bias, (Mapping, Sequence)) or not all(isinstance(one, Mapping) for one in logit_bias if not isinstance(logit_bias, Mapping)):
        raise ValueError(f"logit_bias: expected a mapping from tokens to numbers, or one for each sequence, found {logit_bias!r}")
    given = [logit_bias] * slots if isinstance(logit_bias, Mapping) else list(logit_bias)
    if len(given) != slots:
        raise ValueError(f"logit_bias has {len(given)} mappings, expected one or {slots}")
    most = max(map(len, given))
    room = next((n for n in _SLOTS_OF_BIAS if n >= most), most)
    tokens, bias = np.full((slots, room), 2**31 - 1, np.int32), np.zeros((slots, room), np.float32)
    for slot, mapping in enumerate(given):
        for n, (token, value) in enumerate(mapping.items()):
            number = real(value)
            if number is None or np.isnan(number) or number > float(_LIMITS[np.float32].max):
                raise ValueError(f"logit_bias of token {token} must be a number (float32) or minus infinity, not {value!r}")
            tokens[slot, n] = whole_of("logit_bias: a token", token, 0, 2**31 - 1)
            bias[slot, n] = -np.inf if number < float(_LIMITS[np.float32].min) else number
    sets = breakers if breakers is not None else Breakers.none()
    return Sampling(
        **values,
        seed=spread("seed", _seeds(seed) % 2**32, np.uint32),
        ignore_end=spread("ignore_end", ignore_end, np.bool_),
        bias_tokens=jnp.asarray(tokens),
        bias=jnp.asarray(bias),
        breakers=jnp.broadcast_to(jnp.asarray(sets.single), (slots, *sets.single.shape)),
        tails=jnp.broadcast_to(jnp.asarray(sets.tails), (slots, *sets.tails.shape)),
        tail_heads=jnp.broadcast_to(jnp.asarray(sets.heads), (slots, *sets.heads.shape)),
        chain=DEFAULT_CHAIN if samplers is None else chain_of(samplers),
    )


def _seeds(seed: int | Sequence[int]) -> np.ndarray:
    found = np.asarray(seed)
    if found.dtype.kind not in "iu":
        raise ValueError(f"seed must be a whole number, or one for each sequence, not {seed!r}")
    return found.astype(np.int64)


@flax.struct.dataclass
class Breakers:
    """Sequence breakers of DRY, as tokens: see `Sampling`."""

    single: np.ndarray
    tails: np.ndarray
    heads: np.ndarray

    @classmethod
    def none(cls) -> Breakers:
        return cls(np.zeros(1, np.uint32), np.zeros((0, MOST_TAIL), np.int32), np.zeros((0, 1), np.uint32))


def make_breakers(texts: Sequence[str], pieces: Sequence[bytes], encode: Callable[[str], list[int]]) -> Breakers:
    """The tokens that break sequences: those with the whole text in them, and those at whose end it begins, with what is then missing.

    Args:
        texts: the breakers; of longer ones the first 40 bytes count.
        pieces: all tokens' texts.
        encode: ids of a text without special tokens.
    """
    words = -(-len(pieces) // 32)
    single = np.zeros(words * 32, np.uint8)
    tails: dict[tuple[int, ...], np.ndarray] = {}
    for text in (t.encode()[:40] for t in texts if t):
        missing = {n: tuple(encode(text[n:].decode("utf-8", "replace"))[:MOST_TAIL]) for n in range(1, len(text))}
        for token, piece in enumerate(pieces):
            if text in piece:
                single[token] = 1
                continue
            for n, tail in missing.items():
                if piece.endswith(text[:n]):
                    tails.setdefault(tail, np.zeros(words * 32, np.uint8))[token] = 1
    room = next((n for n in _SLOTS_OF_TAILS if n >= len(tails)), None)
    if room is None:
        raise ValueError(
            f"dry_sequence_breakers can be split over tokens in {len(tails)} ways: at most {_SLOTS_OF_TAILS[-1]} are supported; give fewer or shorter ones"
        )
    padded, heads = np.full((room, MOST_TAIL), -1, np.int32), np.zeros((room, words), np.uint32)
    for n, (tail, bits) in enumerate(tails.items()):
        padded[n, : len(tail)] = tail
        heads[n] = np.packbits(bits, bitorder="little").view(np.uint32)
    return Breakers(np.packbits(single, bitorder="little").view(np.uint32), padded, heads)
