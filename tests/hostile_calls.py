"""Throws wrong shapes, types and values at the public functions: each call returns or raises an exception, and none may end the process.

    python tests/hostile_calls.py --seconds 600 --seed 7 --note last.txt

Runs as a process of its own (see test_hostile_calls.py). `--note` names a file that always holds the call that is being made, for when it is the last.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings

import jaxllama
from jaxllama.decode import begin, start_history

ALLOWED = (Exception,)  # a crash is no exception
NUMBERS = (-1, 0, 1, 2, 3, 7, 8, 99, 2**31 - 1, -(2**31), 1e30, -0.5, float("nan"), float("inf"))
THINGS = (None, "", "a text", b"\xff", [], [1, 2], (), {}, {"a": 1}, object(), True, 2.5, -1, 2**70, np.zeros((0, 3)), np.asarray(["x"]))
DTYPES = ("bool", "int8", "uint8", "int32", "uint32", "float16", "bfloat16", "float32", "complex64")

Call = tuple[Callable[..., Any], list[Any], dict[str, Any]]


def calls(folder: Path) -> dict[str, Call]:
    """By name: a public function with arguments that are right."""
    model = jaxllama.load(n_ctx=16)
    config, params = model.config, model.params
    slots = 2
    state = jaxllama.init_state(config, slots, n_ctx=16, padding=8)
    sampling = jaxllama.make_sampling(slots, seed=1, temperature=[0.0, 0.8])
    history = start_history([[1, 2], [3]], sampling, n_vocab=config.n_vocab, room=17)
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((slots, config.n_vocab)), jnp.float32)
    run = begin(logits, history, jnp.asarray([4, 5], jnp.int32))
    weights = {name: jaxllama.from_blocks(blocks_of(name), name) for name in ("Q4_0", "Q4_K", "Q6_K", "IQ2_XS", "F16", "F32")}
    session = folder / "session.npz"
    jaxllama.save_state(session, state)
    x = jnp.ones((3, 256), jnp.float32)
    ids = jnp.asarray([[1, 2, 3], [4, 5, 6]], jnp.int32)
    loop = [params, state, run, sampling, model.words, None, jnp.int32(2)]
    found: dict[str, Call] = {
        "forward": (jaxllama.forward, [params, state, ids], {"config": config}),
        "prefill": (jaxllama.prefill, [params, state, ids, jnp.asarray([3, 1], jnp.int32)], {"config": config}),
        "step": (jaxllama.step, [params, state, ids[:, 0], jnp.asarray([True, False])], {"config": config}),
        "decode_loop": (jaxllama.decode_loop, loop, {"config": config}),
        "sample": (jaxllama.sample, [logits, sampling, history, state.positions, model.words], {}),
        "distribution": (jaxllama.distribution, [logits, sampling, history, state.positions, model.words], {}),
        "fork": (jaxllama.fork, [state, [0, 1, 1]], {}),
        "rollback": (jaxllama.rollback, [state, jnp.asarray([1, 0], jnp.int32)], {}),
        "save_state": (jaxllama.save_state, [folder / "other.npz", state], {}),
        "load_state": (jaxllama.load_state, [session, config], {}),
        "init_state": (jaxllama.init_state, [config, 1], {"n_ctx": 8, "padding": 8}),
        "make_sampling": (jaxllama.make_sampling, [2], {"seed": 1, "temperature": [0.5, 1.0], "top_k": 3, "logit_bias": {3: 1.0}}),
        "logits": (model.logits, [[1, 2, 3]], {}),
        "embed": (model.embed, [[1, 2, 3]], {"pooling": "mean"}),
        "encode": (model.encode, [[1, 2, 3]], {}),
        "generate": (
            model.generate,
            [
                "Once",
            ],
            {"n_predict": 2, "temperature": 0.0, "stop": ["x"]},
        ),
        "from_blocks": (jaxllama.from_blocks, [blocks_of("Q4_K"), "Q4_K"], {}),
        "from_blocks, one by one": (lambda *a, **k: jaxllama.from_blocks(iter(a), "Q4_K", **k), list(blocks_of("Q4_K")), {"stack": 5}),
        "open_gguf": (jaxllama.open_gguf, [str(jaxllama.embedded_model())], {}),
        "read_importance": (jaxllama.read_importance, [str(jaxllama.embedded_model())], {}),
        "parse_overrides": (jaxllama.parse_overrides, [["a.b=int:3"]], {}),
        "Grammar": (jaxllama.Grammar.from_gbnf, ['root ::= "a"'], {}),
        "quantize_file": (jaxllama.quantize_file, [str(jaxllama.embedded_model()), str(folder / "out.gguf"), "COPY"], {"pure": True}),
        "importance_matrix": (jaxllama.importance_matrix, [model, [1, 2, 3] * 8], {"n_ctx": 8}),
        "write_importance": (jaxllama.write_importance, [jaxllama.ImportanceMatrix(), str(folder / "imatrix.gguf")], {}),
        "load": (jaxllama.load, [None], {"n_ctx": 16, "n_batch": 8, "cache_type": "f16", "load_mode": "none"}),
        "load_params": (jaxllama.load_params, [model.file, config], {}),
        "read_config": (jaxllama.read_config, [model.file], {}),
        "use_compilation_cache": (jaxllama.use_compilation_cache, [str(folder / "cache")], {}),
        "Tokenizer": (lambda *a: jaxllama.Tokenizer.from_metadata(model.file.metadata, "here").encode(*a), ["a text"], {}),
        "TokenGrammar": (jaxllama.TokenGrammar, [jaxllama.Grammar.from_gbnf('root ::= "a"'), model.grammars.tables.trie], {}),
        "perplexity": (jaxllama.perplexity, [model, [1, 2, 3] * 8], {"n_ctx": 8}),
    }
    for name, weight in weights.items():
        found[f"qmatmul {name}"] = (jaxllama.qmatmul, [x, weight, jnp.int32(1)], {})
        found[f"qtake {name}"] = (jaxllama.qtake, [weight, ids], {})
        found[f"dequantize {name}"] = (jaxllama.dequantize, [weight], {})
        found[f"to_blocks {name}"] = (jaxllama.to_blocks, [weight], {})
        found[f"quantize {name}"] = (jaxllama.quantize, [np.ones((2, 256), np.float32), name], {})
    return found


def blocks_of(name: str) -> np.ndarray:
    return jaxllama.quantize(np.random.default_rng(0).standard_normal((5, 20, 256)).astype(np.float32), name)


NOT_CALLED = {"embedded_model", "register_format"}  # takes no arguments; changes the tables that all other calls use
JITTED = ("forward", "prefill", "step", "decode_loop", "sample", "qmatmul", "qtake", "rollback")  # their values are looked at on the device


def arrays(tree: Any) -> Iterator[tuple[int, Any]]:
    return ((n, leaf) for n, leaf in enumerate(jax.tree.leaves(tree, is_leaf=lambda x: x is None)))


def damaged(data: st.DataObject, leaf: Any, *, value_only: bool) -> tuple[str, Any]:
    """A description, and something that is not what `leaf` is."""
    if not hasattr(leaf, "shape") or leaf.dtype.kind not in "biufV":
        other = data.draw(st.sampled_from((*THINGS, *NUMBERS)))
        return f"{other!r}", other
    array = np.asarray(leaf)
    kind = "values" if value_only else data.draw(st.sampled_from(("values", "axis", "axes", "type", "thing")))
    if kind == "values":
        value = data.draw(st.sampled_from(NUMBERS))
        with np.errstate(all="ignore"):
            filled = np.full(array.shape, value, np.float64).astype(array.dtype) if data.draw(st.booleans()) or not array.size else array.copy()
            if array.size:
                filled.reshape(-1)[data.draw(st.integers(0, array.size - 1))] = np.asarray(value, np.float64).astype(array.dtype)
        return f"values {value}", jnp.asarray(filled)
    if kind == "axis" and array.ndim:
        axis, length = data.draw(st.integers(0, array.ndim - 1)), data.draw(st.sampled_from((0, 1, 2, 3, 5, 17, 300)))
        return f"axis {axis} of {array.shape} has length {length}", jnp.asarray(np.resize(array, (*array.shape[:axis], length, *array.shape[axis + 1 :])))
    if kind == "axes":
        form = data.draw(st.sampled_from(((), (1,), (1, *array.shape), array.shape[:-1], array.shape[::-1])))
        return f"shape {form}", jnp.asarray(np.resize(array, form))
    if kind == "type":
        dtype = data.draw(st.sampled_from(DTYPES))
        with np.errstate(all="ignore"):
            return f"type {dtype}", jnp.asarray(array.astype(np.float32)).astype(dtype)
    thing = data.draw(st.sampled_from(THINGS))
    return f"{thing!r} for an array", thing


class Trial:
    """One run over all functions.

    Attributes:
        outcomes: how many calls returned, and how many ended in which exception.
    """

    def __init__(self, folder: Path, note: Path):
        self.note, self.outcomes = note, Counter[str]()
        self.calls = calls(folder)
        self.jitted = {name: jax.jit(call[0], static_argnames=tuple(call[2])) for name, call in self.calls.items() if name.split()[0] in JITTED}

    def once(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.calls)))
        function, args, options = self.calls[name]
        jitted = name in self.jitted and data.draw(st.booleans())
        leaves, tree = jax.tree.flatten((args, options), is_leaf=lambda x: x is None)
        wrong = data.draw(st.lists(st.integers(0, len(leaves) - 1), min_size=1, max_size=2, unique=True))
        said = [name, "jitted" if jitted else "plain"]
        for n in wrong:
            what, leaves[n] = damaged(data, leaves[n], value_only=jitted)
            said.append(f"leaf {n}: {what}")
        self.note.write_text("; ".join(said))
        try:
            args, options = jax.tree.unflatten(tree, leaves)
            jax.block_until_ready((self.jitted[name] if jitted else function)(*args, **options))
            self.outcomes["returned"] += 1
        except ALLOWED as error:
            self.outcomes[type(error).__name__] += 1


def _mappings() -> int:
    """Regions of memory that this process has. Every compiled program takes some, Linux allows 65,530, and LLVM ends the process that wants more."""
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", type=Path, default=Path("last.txt"))
    options = parser.parse_args()
    note = options.note.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # some of the calls write files
        trial = Trial(Path(folder), note)
        end, number = time.monotonic() + options.seconds, options.seed
        quick = settings(max_examples=50, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
        while time.monotonic() < end:
            quick(seed(number)(given(st.data())(lambda data: trial.once(data))))()
            number += 1
            if _mappings() > 30_000:
                jax.clear_caches()
                gc.collect()
        os.chdir(note.parent)  # Windows deletes no folder that a process is in
    print(sum(trial.outcomes.values()), "calls:", ", ".join(f"{n} {what}" for what, n in trial.outcomes.most_common()), flush=True)


if __name__ == "__main__":
    main()
