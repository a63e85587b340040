"""States as values: copy, shorten, keep on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, ZipFile

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxllama.models import CACHE_TYPES, Config, DecodeState, Memory, cache_dtype, check_held, init_state, memories_for
from jaxllama.quant import integers, saturated

_VERSION = 2
_FORM = {"version": (0, "iu"), "n_ctx": (0, "iu"), "capacity": (0, "iu"), "dtype": (0, "U"), "positions": (1, "iu")}
"""For each array that all session files have, how many axes it has, and its kinds of numbers. The others are `cache.0`, `cache.1` and so on: the leaves of the
memories, as far as they are filled."""


class SessionError(ValueError):
    """A session file does not fit: the message says what was expected and what was found."""


def fork(state: DecodeState, slots: Sequence[int] | None = None) -> DecodeState:
    """A copy of the state, which stays valid when the original is donated.

    Args:
        slots: ids of the slots to copy, in this order and with repetitions; all slots by default. `fork(state, [0, 0, 0])` makes three continuations of slot 0.
    """
    check_held(state)
    state = jax.tree.map(jnp.asarray, state)
    chosen = np.arange(state.slots) if slots is None else np.asarray(slots)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not chosen.size or (chosen < 0).any() or (chosen >= state.slots).any():
        raise ValueError(f"slots must be whole numbers from 0 to {state.slots - 1}, not {slots}")
    index = jnp.asarray(chosen, jnp.int32)
    return replace(state, positions=state.positions[index], memories=jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=1), state.memories))


def rollback(state: DecodeState, tokens: int | Sequence[int] | np.ndarray | jax.Array) -> DecodeState:
    """Forget the newest `tokens` tokens of every slot (or int32[B], of each). Costs nothing: only positions move.

    Shares its caches with `state`: donate one of the two, not both.

    Raises:
        TypeError: these are no whole numbers.
        ValueError: the model has recurrent layers, which forget no single tokens.
        ValueError: there is neither one number nor one for each slot, or, where the numbers are known, one is negative. Inside of jit those count as 0.
    """
    check_held(state)
    back = integers("the numbers of tokens", tokens)
    if back.shape not in ((), state.positions.shape):
        raise ValueError(f"expected a number of tokens, or one for each of {state.slots} slots, found shape {list(back.shape)}")
    if not isinstance(back, Tracer) and (np.asarray(back) < 0).any():
        raise ValueError(f"a state cannot be rolled forward: {back} tokens")
    if not state.shortens:
        raise ValueError(
            "this model has recurrent layers, whose state cannot forget single tokens: keep a fork from before them (a prompt can be read again, or continued)"
        )
    return replace(state, positions=jnp.maximum(jnp.asarray(state.positions) - jnp.maximum(saturated(back), 0), 0))


def _opened(path: str | Path | BinaryIO) -> AbstractContextManager[BinaryIO]:
    if isinstance(path, (str, Path)):
        return Path(path).open("rb")
    path.seek(0)
    return nullcontext(path)


def save_state(path: str | Path | BinaryIO, state: DecodeState) -> None:
    """Write a state to a file (numpy's .npz), the used part of its caches only. The file appears when it is complete.

    Args:
        path: a name, or a file that is open for writing.

    Raises:
        ValueError: a position is negative or beyond the context, or the state was given away.
    """
    check_held(state)
    positions = np.asarray(state.positions)
    if (positions < 0).any() or (positions > state.n_ctx).any():
        raise ValueError(f"the state's positions are {positions.tolist()}, expected from 0 to its context of {state.n_ctx}")
    leaves = jax.tree.leaves(_used(state))
    dtype = next((name for name, d in CACHE_TYPES.items() for memory in state.memories if memory.shortens and jax.tree.leaves(memory)[0].dtype == d), "f32")
    arrays: dict[str, Any] = {f"cache.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    arrays = {name: a.view(np.uint16) if a.dtype.itemsize == 2 else a for name, a in arrays.items()}  # .npz has no bf16
    arrays |= {"version": _VERSION, "n_ctx": state.n_ctx, "capacity": state.capacity, "dtype": dtype, "positions": positions}
    if not isinstance(path, (str, Path)):
        np.savez(path, **arrays)
        return
    partial = Path(path).with_name(Path(path).name + ".partial")
    try:
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _used(state: DecodeState) -> tuple[Memory, ...]:
    """What the tokens of a state have filled of its memories."""
    used = int(state.positions.max())
    return tuple(memory.used(used) for memory in state.memories)


def load_state(path: str | Path | BinaryIO, config: Config) -> DecodeState:
    """Read what `save_state` wrote.

    Args:
        path: a name, or a file that is open for reading and can be read anew.

    Raises:
        SessionError: the file is no session, is damaged, or belongs to a model of another shape.
        MemoryError: its caches need more memory than is free.
    """
    with _opened(path) as raw:
        try:
            with ZipFile(raw) as archive:
                if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                    raise ValueError("its arrays are compressed")  # save_state never does; a few bytes could unfold to any size
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                found = {name: file[name] for name in _FORM}
                caches = [file[f"cache.{i}"] for i in range(len(file.files) - len(_FORM))]
        except Exception as error:  # zipfile and numpy meet damaged files with errors of many kinds
            raise SessionError(f"{path}: expected a session file, found something else ({error})") from error
    for name, (axes, kinds) in _FORM.items():
        if found[name].ndim != axes or found[name].dtype.kind not in kinds:
            raise SessionError(f"{path}: {name} is {found[name].dtype}{list(found[name].shape)}, which no session has")
    if found["version"] != _VERSION:
        raise SessionError(f"{path}: expected session version {_VERSION}, found {found['version']}")
    positions, dtype = found["positions"], str(found["dtype"])
    if dtype not in CACHE_TYPES:
        raise SessionError(f"{path}: expected a cache type among {', '.join(CACHE_TYPES)}, found {dtype}")
    used = int(positions.max(initial=0))
    n_ctx, capacity = int(found["n_ctx"]), int(found["capacity"])
    if not 0 <= positions.min(initial=0) <= used <= n_ctx <= capacity <= 2**24:
        raise SessionError(f"{path}: expected positions within the context, found {used} of {n_ctx} (room for {capacity})")
    wanted = jax.tree.leaves(jax.eval_shape(lambda: tuple(m.used(used) for m in memories_for(config, len(positions), capacity, cache_dtype(dtype)))))
    for i, (cache, leaf) in enumerate(zip_longest(caches, wanted)):
        if cache is None or leaf is None or cache.shape != leaf.shape:
            raise SessionError(f"{path}: cache {i}: expected shape {getattr(leaf, 'shape', None)} for this model, found {getattr(cache, 'shape', None)}")
        if cache.dtype != (np.float32 if leaf.dtype == np.float32 else np.uint16):
            raise SessionError(f"{path}: cache {i}: expected type {leaf.dtype}, found {cache.dtype}")
    empty = init_state(config, len(positions), n_ctx=n_ctx, padding=capacity - n_ctx, cache_type=dtype)
    filled = [
        jax.lax.dynamic_update_slice(leaf, jnp.asarray(cache.view(leaf.dtype)), (0,) * leaf.ndim)
        for leaf, cache in zip(jax.tree.leaves(empty.memories), caches, strict=True)
    ]
    memories = jax.tree.unflatten(jax.tree.structure(empty.memories), filled)
    return replace(empty, positions=jnp.asarray(positions, jnp.int32), memories=memories)
