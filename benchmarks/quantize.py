"""How fast files and matrices are quantized, beside llama.cpp where its tools are at hand.

    python benchmarks/quantize.py file model-f16.gguf Q4_K_M --peer path/to/llama-quantize
    python benchmarks/quantize.py formats                            # millions of weights a second, with and without importance

Quote ratios from one machine and one run, never absolute figures.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import jaxllama

# isort: split
import numpy as np

from jaxllama.quant import FORMATS, quantize


def seconds_of_peer(tool: str, source: str, kind: str, threads: int) -> float:
    with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
        start = time.perf_counter()
        subprocess.run([tool, source, f"{folder}/peer.gguf", kind, str(threads)], check=True, capture_output=True)
        return time.perf_counter() - start


def seconds_of_ours(source: str, kind: str) -> float:
    with tempfile.TemporaryDirectory(dir=Path(source).parent) as folder:
        start = time.perf_counter()
        jaxllama.quantize_file(source, f"{folder}/ours.gguf", kind)
        return time.perf_counter() - start


def rate(name: str, rows: int, importance: np.ndarray | None) -> float:
    """Millions of weights a second, compiling left out."""
    x = (0.02 * np.random.default_rng(0).standard_normal((rows, 2048))).astype(np.float16)
    quantize(x, name, importance)
    start = time.perf_counter()
    quantize(x, name, importance)
    return x.size / (time.perf_counter() - start) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    whole = commands.add_parser("file")
    whole.add_argument("model")
    whole.add_argument("kind")
    whole.add_argument("--peer", help="llama.cpp's llama-quantize")
    whole.add_argument("-t", "--threads", type=int, default=2, help="of the peer")
    commands.add_parser("formats")
    args = parser.parse_args()
    if args.what == "file":
        ours = seconds_of_ours(args.model, args.kind)
        print(f"jaxllama {ours:.1f} s")
        if args.peer:
            peer = seconds_of_peer(args.peer, args.model, args.kind, args.threads)
            print(f"llama.cpp {peer:.1f} s: {peer / ours:.2f} times as long")
        return
    importance = np.random.default_rng(1).exponential(1, 2048).astype(np.float32)
    for name, format_ in FORMATS.items():
        if not format_.dense:
            rows = 128 if name.startswith(("IQ1", "IQ2", "IQ3")) else 2048
            print(f"{name:8} {rate(name, rows, None):8.2f} {rate(name, rows, importance):8.2f} Mw/s", flush=True)


if __name__ == "__main__":
    main()
