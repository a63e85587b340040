"""How fast packed matrices are multiplied: gigabytes of packed weights a second and 10^9 operations a second, for each format and number of rows.

    python benchmarks/products.py
    python benchmarks/products.py --formats Q4_0,Q4_K --rows 1,8,256 --plain

Every product reads another matrix of a stack larger than the caches. The last column is the share of the speed with which numbers that need no unpacking are
read (`jaxllama.evaluate.speed.reader`), measured just before and just after.
"""

from __future__ import annotations

# ruff: noqa: I001
import argparse
import statistics
import time

import jaxllama  # noqa: F401  before JAX, so that plain XLA gets wide vectors
import jax
import jax.numpy as jnp
import numpy as np

from jaxllama import QTensor, from_blocks
from jaxllama.cli.bench import numbers
from jaxllama.evaluate.speed import reader
from jaxllama.quant import FORMATS, matmul
from jaxllama.quant.kernels.dense import DENSE_FORMATS
from jaxllama.quant.kernels.formats import KERNEL_FORMATS

COLUMNS, ROWS, STACK_BYTES = 2048, 8192, 256 * 2**20


def random_stack(name: str) -> QTensor:
    """A stack of random matrices, larger than the caches."""
    type_ = FORMATS[name].type
    row_bytes = COLUMNS // type_.weights * type_.bytes
    height = -(-STACK_BYTES // (ROWS * row_bytes))
    block = np.random.default_rng(0).integers(0, 60, (ROWS, row_bytes), np.uint8)  # all f16 below 1.4
    return from_blocks((block for _ in range(height)), name, stack=height)


def seconds(run: matmul.Formulation, weight: QTensor, rows: int) -> float:
    """Of one product, the median of several scans through the stack."""

    @jax.jit
    def scan(x: jax.Array, weight: QTensor) -> jax.Array:
        def body(x: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
            return x + 1e-9 * run(x, weight, i)[:, :COLUMNS], None

        return jax.lax.scan(body, x, jnp.arange(weight.shape[0]))[0]

    x = jnp.asarray(np.random.default_rng(1).standard_normal((rows, COLUMNS)), jnp.float32)
    scan(x, weight).block_until_ready()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        scan(x, weight).block_until_ready()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / weight.shape[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default=",".join([*KERNEL_FORMATS, *DENSE_FORMATS]))
    parser.add_argument("--rows", type=numbers, default=[1, 8], help="rows of activations")
    parser.add_argument("--plain", action="store_true", help="also without kernels")
    args = parser.parse_args()
    read = reader(STACK_BYTES)
    print(f"{'format':8} {'rows':>5} {'formulation':14} {'GB/s':>7} {'GFLOP/s':>8} {'of read speed':>13}")
    for name in args.formats.split(","):
        weight = random_stack(name)
        nbytes = weight.nbytes / weight.shape[0]
        for rows in args.rows:
            chosen = matmul.formulation(jax.default_backend(), rows, name, False, COLUMNS)
            plain = matmul.dense if FORMATS[name].dense else matmul.integer_rows if rows <= matmul.FEW_ROWS else matmul.unpacked(jnp.dtype(jnp.bfloat16))
            for run in dict.fromkeys([chosen, plain] if args.plain else [chosen]):
                before, taken, after = read(), seconds(run, weight, rows), read()
                share = nbytes / taken / max(before, after)
                label = getattr(run, "__name__", "unpacked")
                print(
                    f"{name:8} {rows:5} {label:14} {nbytes / taken / 1e9:7.1f} {2 * rows * ROWS * COLUMNS / taken / 1e9:8.0f} {100 * share:11.0f} %", flush=True
                )


if __name__ == "__main__":
    main()
