"""Ours and llama.cpp on one GGUF, in turns, as a table of ratios.

    python benchmarks/peer.py model.gguf --peer peer-env/bin/python
    python benchmarks/peer.py model.gguf --peer peer-env/bin/python -p 2048 -n 0
    python benchmarks/peer.py model.gguf --peer peer-env/bin/python -p 0 -n 32 -d 1024,4096
    python benchmarks/peer.py model.gguf --peer peer-env/bin/python --batched -npp 128 -ntg 32 -npl 1,8,16

`--peer` is an interpreter that has llama-cpp-python (environment variable JAXLLAMA_PEER; extra `reference`), this one by default. Both programs
stay open, and every round runs a test once in each, so that whatever else the machine does meets both. After a depth llama.cpp runs with and without flash
attention and its better median counts. Both use all cores the process may use.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jaxllama
from jaxllama.cli.bench import numbers
from jaxllama.evaluate.speed import SpeedTest, stopwatch

PAUSE = 0.3  # seconds between turns: threads of either side spin for a while before they sleep


class Peer:
    """The process that runs llama.cpp."""

    def __init__(self, python: str, model: str):
        self.process = subprocess.Popen([python, str(Path(__file__).with_name("peer_worker.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.model = model

    def ask(self, **question: Any) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"llama.cpp stopped with status {self.process.wait()}; its interpreter needs llama-cpp-python (--peer)")
        return json.loads(answer)

    def prepare(self, test: SpeedTest, flash: str) -> None:
        threads = len(os.sched_getaffinity(0))
        self.ask(model=self.model, threads=threads, slots=test.slots, n_ctx=-(-(test.depth + test.prompt + test.generated) // 256) * 256, flash=flash)
        self.ask(depth=test.depth)

    def run(self, test: SpeedTest) -> float:
        return self.ask(prompt=test.prompt, generated=test.generated)["seconds"]


@dataclass
class Pair:
    """Median seconds of a test on either side."""

    test: SpeedTest
    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


def compare(model: jaxllama.Model, peer: Peer, test: SpeedTest, rounds: int) -> Pair:
    """Run a test in turns."""
    ours = stopwatch(model, test)
    ours()  # compiles
    found, medians = [], []
    for flash in ("off", "on") if test.depth else ("auto",):
        peer.prepare(test, flash)
        peer.run(test)
        theirs = []
        for _ in range(rounds):
            time.sleep(PAUSE)
            found.append(ours())
            time.sleep(PAUSE)
            theirs.append(peer.run(test))
        medians.append(statistics.median(theirs))
    return Pair(test, statistics.median(found), min(medians))


def show_ratios(pairs: list[Pair], model: str) -> None:
    print(f"{'model':24} {'test':20} {'llama.cpp t/s':>14} {'ours t/s':>10} {'ratio':>7}")
    for pair in pairs:
        name = pair.test.name + (f" x{pair.test.slots}" if pair.test.slots > 1 else "")
        print(f"{model:24} {name:20} {pair.test.tokens / pair.theirs:14.2f} {pair.test.tokens / pair.ours:10.2f} {pair.ratio:7.2f}", flush=True)


def show_batched(rows: list[tuple[Pair, Pair]]) -> None:
    print("| | PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | T s | S t/s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for read, write in rows:
        pp, tg, slots = read.test.prompt, write.test.generated, read.test.slots
        for side in ("theirs", "ours"):
            t_pp, t_tg = getattr(read, side), getattr(write, side)
            total = slots * (pp + tg)
            cells = [{"theirs": "llama.cpp", "ours": "jaxllama"}[side], pp, tg, slots, total]
            cells += [
                f"{t_pp:.3f}",
                f"{slots * pp / t_pp:.2f}",
                f"{t_tg:.3f}",
                f"{slots * tg / t_tg:.2f}",
                f"{t_pp + t_tg:.3f}",
                f"{total / (t_pp + t_tg):.2f}",
            ]
            print("| " + " | ".join(map(str, cells)) + " |")
        print(f"| ratio | | | {slots} | | | {read.ratio:.2f} | | {write.ratio:.2f} | | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GGUF file")
    parser.add_argument("--peer", default=os.environ.get("JAXLLAMA_PEER", sys.executable), help="interpreter with llama-cpp-python")
    parser.add_argument("-p", type=numbers, default=[256], help="prompt lengths; 0: none")
    parser.add_argument("-n", type=numbers, default=[32], help="tokens to write; 0: none")
    parser.add_argument("-d", type=numbers, default=[0], help="tokens in the cache before")
    parser.add_argument("-b", type=numbers, default=[1], help="sequences together")
    parser.add_argument("--load-mode", default="auto", help="of our side: auto, mmap or none")
    parser.add_argument("-r", type=int, default=3, help="rounds")
    parser.add_argument("--batched", action="store_true", help="llama-batched-bench's table")
    parser.add_argument("-npp", type=numbers, default=[128], help="with --batched: prompt tokens of a sequence")
    parser.add_argument("-ntg", type=numbers, default=[32], help="with --batched: tokens that a sequence writes")
    parser.add_argument("-npl", type=numbers, default=[1, 2, 4, 8, 16], help="with --batched: sequences together")
    args = parser.parse_args()
    jaxllama.use_compilation_cache()
    if args.batched:
        batched = [(SpeedTest(p, 0, 0, b), SpeedTest(0, n, p, b)) for p in args.npp for n in args.ntg for b in args.npl]
        tests = [test for pair in batched for test in pair]
    else:
        shapes = [(p, 0) for p in args.p if p] + [(0, n) for n in args.n if n]
        tests = [SpeedTest(p, n, d, b) for p, n in shapes for d in args.d for b in args.b]
    peer = Peer(args.peer, args.model)
    model = jaxllama.load(args.model, n_ctx=max(test.room for test in tests), load_mode=args.load_mode)
    pairs = []
    for test in tests:
        pairs.append(compare(model, peer, test, args.r))
        if sys.stderr.isatty():
            print(f"{len(pairs)} of {len(tests)}: {test.name}, ratio {pairs[-1].ratio:.2f}", file=sys.stderr)
    if args.batched:
        show_batched(list(zip(pairs[::2], pairs[1::2], strict=True)))
    else:
        show_ratios(pairs, Path(args.model).stem)


if __name__ == "__main__":
    main()
