"""How cost grows: decoding with tokens in the cache and with the context's size, reading with a prompt's length, memory with context and slots.

    python benchmarks/scale.py model.gguf
    python benchmarks/scale.py model.gguf --depths 100,1000 --prompts 128,512 --contexts 512,4096 --slots 1,4 --plot scale.png

One line of JSON a measurement, milliseconds a token or megabytes; with --plot (needs matplotlib) also five curves. A step that grew faster than its work would
bend a curve upwards: reading n tokens does attention over n^2 / 2 pairs, so milliseconds a prompt token grow in a straight line, as do all the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import jax

import jaxllama
from jaxllama.cli.bench import numbers
from jaxllama.decode.shapes import bucket_for
from jaxllama.evaluate.speed import SpeedTest, measure
from jaxllama.models import init_state

Curve = list[tuple[int, float]]


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def show(kind: str, at: int, value: float, unit: str) -> tuple[int, float]:
    print(json.dumps({"test": kind, "at": at, unit: round(value, 3)}), flush=True)
    return at, value


def milliseconds(model: jaxllama.Model, test: SpeedTest, repeats: int) -> float:
    return 1000 / statistics.median(measure(model, test, repeats=repeats).rates)


def memory_of(path: str | None, n_ctx: int, slots: int) -> float:
    """Megabytes that a state adds to a process that has loaded the model."""
    model = jaxllama.load(path, n_ctx=n_ctx)
    before = resident()
    state = init_state(model.config, slots, n_ctx=n_ctx, padding=bucket_for(n_ctx, model.n_batch), cache_type=model.cache_type)
    jax.block_until_ready(state)
    return resident() - before


def memory(path: str | None, n_ctx: int, slots: int) -> float:
    """The same, of a process of its own: this one has freed memory that a state would use again."""
    command = [sys.executable, __file__, *([path] if path else []), "--memory-of", f"{n_ctx},{slots}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="GGUF file; the model in the package by default")
    parser.add_argument("--depths", type=numbers, default=[100, 1024, 4096, 16384], help="tokens in the cache")
    parser.add_argument("--contexts", type=numbers, default=[512, 4096, 32768], help="sizes of the context, with 100 tokens in it")
    parser.add_argument("--prompts", type=numbers, default=[256, 1024, 2048, 4096, 8192], help="prompt lengths")
    parser.add_argument("--slots", type=numbers, default=[1, 2, 4, 8], help="sequences, with the smallest context")
    parser.add_argument("-r", type=int, default=3, help="repeats")
    parser.add_argument("--plot", metavar="FILE", help="draw the curves into this file")
    parser.add_argument("--memory-of", type=numbers, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(memory_of(args.model, *args.memory_of))
        return
    jaxllama.use_compilation_cache()
    curves: dict[tuple[str, str, str], Curve] = {}  # title, x, y
    longest = max(*args.depths, *args.prompts) + 128
    model = jaxllama.load(args.model, n_ctx=longest)
    curves["decoding, by depth", "tokens in the KV cache", "ms a token"] = [
        show("depth", d, milliseconds(model, SpeedTest(0, 16, d), args.r), "ms") for d in args.depths
    ]
    curves["prefill, by length", "tokens of the prompt", "ms a token"] = [
        show("prompt", p, milliseconds(model, SpeedTest(p, 0), max(1, args.r // 2)), "ms") for p in args.prompts
    ]
    by_context = curves["decoding, by context size", "n_ctx", "ms a token"] = []
    for n_ctx in args.contexts:
        model.n_ctx = n_ctx
        by_context.append(show("context", n_ctx, milliseconds(model, SpeedTest(0, 16, 100), args.r), "ms"))
    curves["memory of a state of one slot", "n_ctx", "MB"] = [show("memory_context", c, memory(args.model, c, 1), "MB") for c in args.contexts]
    curves[f"memory of a state, n_ctx {min(args.contexts)}", "slots", "MB"] = [
        show("memory_slots", s, memory(args.model, min(args.contexts), s), "MB") for s in args.slots
    ]
    if args.plot:
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, len(curves), figsize=(4 * len(curves), 3), layout="constrained")
        for axis, ((title, x, y), curve) in zip(axes, curves.items(), strict=True):
            axis.plot(*zip(*curve, strict=True), "o-")
            axis.set(title=title, xlabel=x, ylabel=y, ylim=(0, 1.1 * max(value for _, value in curve)), xlim=(0, None))
            axis.locator_params(axis="x", integer=True, nbins=6)
        figure.savefig(args.plot)


if __name__ == "__main__":
    main()
