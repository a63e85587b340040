"""Prompt and decode speed of one GGUF, in tokens a second: best and median of several runs, compiling left out.

    python benchmarks/speed.py model.gguf -p 256 -n 32

Decoding goes on after the prompt, so -p is also its depth. Output is a line of JSON a test, in the form of the script that measures llama.cpp, so that the two
can be put beside each other; quote ratios from one machine and one run, never absolute figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import jaxllama

# isort: split
import jax.numpy as jnp
import numpy as np

from jaxllama.decode import Run, Stop, jit_decode_loop, make_sampling, prefill_prompts
from jaxllama.decode.shapes import LOOP_TOKENS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="GGUF file; the model in the package by default")
    parser.add_argument("-p", "--prompt", type=int, default=256, help="prompt tokens")
    parser.add_argument("-n", "--predict", type=int, default=32, help="tokens to decode")
    parser.add_argument("-b", "--slots", type=int, default=1, help="sequences decoded together")
    parser.add_argument("-c", "--ctx-size", type=int, help="context size; just enough by default")
    parser.add_argument("-r", "--repeats", type=int, default=3)
    parser.add_argument("--compile-cache", help="keep compiled programs here")
    args = parser.parse_args()
    if args.compile_cache:
        jaxllama.use_compilation_cache(args.compile_cache)
    model = jaxllama.load(args.model, n_ctx=args.ctx_size or args.prompt + args.predict + LOOP_TOKENS)
    rng = np.random.default_rng(0)
    prompts = rng.integers(0, 256, (args.slots, args.prompt)).tolist()
    sampling = make_sampling(args.slots, temperature=0.0, ignore_end=True)
    rates: dict[str, list[float]] = {"prompt": [], "decode": []}
    for _ in range(args.repeats + 1):
        session = prefill_prompts(model.params, prompts, config=model.config, programs=model.programs, n_ctx=model.n_ctx)
        rates["prompt"].append(session.timings.prompt_rate)
        state = session.state
        run = Run(jnp.zeros(args.slots, jnp.int32), jnp.full(args.slots, Stop.RUNNING, jnp.int32), jnp.full(args.slots, 2**30, jnp.int32))
        start, done, compiled = time.perf_counter(), 0, model.programs.seconds
        while done < args.predict:
            steps = min(LOOP_TOKENS, args.predict - done)
            emitted, state, run = model.programs(jit_decode_loop, model.params, state, run, sampling, model.end, jnp.int32(steps), config=model.config)
            done += int(emitted.counts[0])
        rates["decode"].append(args.slots * args.predict / (time.perf_counter() - start - (model.programs.seconds - compiled)))
    for name, found in rates.items():
        found = found[1:]  # the first run compiles and warms up
        count = args.prompt if name == "prompt" else args.predict
        print(json.dumps({"test": f"{name} {count}", "best": round(max(found), 2), "median": round(statistics.median(found), 2)}))


if __name__ == "__main__":
    main()
