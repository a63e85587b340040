"""Prompt and decode speed of one GGUF, in tokens a second: best and median of several runs, compiling left out.

    python benchmarks/speed.py model.gguf -p 256 -n 32

Decoding goes on after the prompt, so -p is also its depth. Output is a line of JSON a test, in the form of the script that measures llama.cpp, so that the two
can be put beside each other; quote ratios from one machine and one run, never absolute figures. (`jaxllama bench` makes llama-bench's tables.)
"""

from __future__ import annotations

import argparse
import json
import statistics

import jaxllama
from jaxllama.evaluate.speed import SpeedTest, measure


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
    tests = {
        f"prompt {args.prompt}": SpeedTest(args.prompt, 0, slots=args.slots),
        f"decode {args.predict}": SpeedTest(0, args.predict, args.prompt, args.slots),
    }
    model = jaxllama.load(args.model, n_ctx=args.ctx_size or max(t.room for t in tests.values()))
    for name, test in tests.items():
        rates = measure(model, test, repeats=args.repeats).rates
        print(json.dumps({"test": name, "best": round(max(rates), 2), "median": round(statistics.median(rates), 2)}), flush=True)


if __name__ == "__main__":
    main()
