"""Runs kernels on buffers that lie between pages which may not be touched; a step outside ends the process.

Plays XLA's part: a call frame in memory and a thread pool whose tasks run at once, in other threads, or only after the call has returned.
    python tests/kernels/guarded.py --overrun | FORMAT...       # the products of these formats, and all other kernels
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Callable

import ml_dtypes
import numpy as np

from jaxllama.decode import follow_kernel, logits_kernel
from jaxllama.decode.verdicts import GOING, LOCAL
from jaxllama.grammar.automaton import MOST_PUSHES
from jaxllama.grammar.tables import ACCEPTS, LIMIT
from jaxllama.kernels import assemble
from jaxllama.kernels.frame import Kernel
from jaxllama.layers import attention_kernel
from jaxllama.quant.blocks import FORMATS
from jaxllama.quant.kernels import cpu
from jaxllama.quant.kernels.activations import rounding
from jaxllama.quant.kernels.dense import DENSE_FORMATS, dense_product
from jaxllama.quant.kernels.formats import KERNEL_FORMATS
from jaxllama.quant.layout import device_shape, host_dtype

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def guarded(array: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy that ends, or begins, at a page which may not be touched."""
    size = -(-max(array.nbytes, 1) // PAGE) * PAGE
    start = _libc.mmap(None, size + 2 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for forbidden in (start, start + PAGE + size):
        if _libc.mprotect(forbidden, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = start + PAGE + (size - array.nbytes if at_end else 0)
    copy = np.frombuffer((ctypes.c_char * array.nbytes).from_address(offset), array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class Pool:
    """XLA's thread pool: `now`, `threads` or `late`."""

    def __init__(self, way: str):
        self.way, self.late, self.threads = way, [], []
        self.schedule, self.count = _CALLBACK(self._schedule), _CALLBACK(self._count)
        self.api = (ctypes.c_void_p * 64)()
        self.api[136 // 8] = ctypes.cast(self.schedule, ctypes.c_void_p).value
        self.api[144 // 8] = ctypes.cast(self.count, ctypes.c_void_p).value

    def _count(self, question) -> None:
        ctypes.cast(question[3], ctypes.POINTER(ctypes.c_int64))[0] = 3

    def _schedule(self, question) -> None:
        task, data = _TASK(question[3]), question[4]
        if self.way == "now":
            task(data)
        elif self.way == "late":
            self.late.append((task, data))
        else:
            self.threads.append(threading.Thread(target=task, args=(data,)))
            self.threads[-1].start()

    def close(self) -> None:
        for task, data in self.late:
            task(data)
        for thread in self.threads:
            thread.join()


def call(handler: Callable, operands: list[np.ndarray], results: list[np.ndarray], pool: Pool) -> None:
    """Call a kernel as XLA does."""
    kept = []

    def pointers(arrays: list[np.ndarray]) -> ctypes.Array:
        found = (ctypes.c_void_p * max(len(arrays), 1))()
        for i, array in enumerate(arrays):
            dims = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
            buffer = (ctypes.c_uint64 * 6)(48, 0, 0, array.ctypes.data, array.ndim, ctypes.addressof(dims))
            kept.extend((dims, buffer))
            found[i] = ctypes.addressof(buffer)
        return found

    inputs, outputs = pointers(operands), pointers(results)
    frame = (ctypes.c_uint64 * 24)()
    frame[2], frame[9], frame[14] = ctypes.addressof(pool.api), ctypes.addressof(inputs), ctypes.addressof(outputs)
    error = handler(ctypes.addressof(frame))
    pool.close()
    if error:
        raise RuntimeError("the kernel returned an error")


def check(name: str, kernel: Kernel, operands: list[np.ndarray], results: list[np.ndarray], compared: int = 1) -> None:
    """Run a kernel with buffers against either guard and every kind of pool; the first `compared` results must be the same each time."""
    instructions = assemble.instruction_set()
    assert instructions is not None
    handler = assemble.handler("guarded_" + name, kernel, instructions)
    expected = None
    for way in ("now", "threads", "late"):
        for at_end in (False, True):
            outputs = [guarded(r, at_end) for r in results]
            call(handler, [guarded(o, at_end) for o in operands], outputs, Pool(way))
            found = b"".join(o.tobytes() for o in outputs[:compared])
            expected = expected or found
            assert found == expected, f"{name}: the result depends on where buffers are or on when threads come"
    print(name, flush=True)


def main(formats: list[str]) -> None:
    rng = np.random.default_rng(0)
    instructions = assemble.instruction_set()
    assert instructions is not None
    for name in formats:
        format_, kernel = FORMATS[name], KERNEL_FORMATS[name]
        for rows, batches, height, columns in ((1, 1, 16, 256), (8, 3, 600, 512), (3, 1, 48, 256)):
            parts = [
                rng.integers(0, 60, int(np.prod(device_shape(format_, p, 2, height, columns))) * host_dtype(p).itemsize, np.uint8)
                .view(host_dtype(p))
                .reshape(device_shape(format_, p, 2, height, columns))
                for p in format_.parts
            ]
            kind = np.int32 if kernel.offset else np.float32
            x = [
                rng.integers(-127, 128, (batches, rows, columns), np.int8),
                rng.random((batches, rows, columns // 32), np.float32),
                rng.integers(-9, 9, (batches, rows, columns // kernel.size)).astype(kind),
            ]
            out = np.zeros((batches, rows, parts[0].shape[1] * 16), np.float32)
            check(f"{name}_{rows}_{height}", cpu.kernel(name, rows, instructions), [*parts, *x, np.asarray(1, np.int32)], [out])
    for kernel in (KERNEL_FORMATS[n] for n in ("Q4_K", "Q6_K", "Q2_K", "Q8_0")):
        x = rng.standard_normal((13, 96 * 4)).astype(np.float32)
        kind = np.int32 if kernel.offset else np.float32
        results = [np.zeros((16, 384), np.int8), np.zeros((16, 12), np.float32), np.zeros((16, 384 // kernel.size), kind)]
        check(f"rounding_{kernel.size}_{kernel.offset}", rounding(kernel), [x], results, 3)
    for name in DENSE_FORMATS:
        dtype = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}[name]
        for rows, batches, height in ((1, 1, 1), (4, 2, 37), (3, 1, 300)):
            weight = rng.standard_normal((2, height, 80)).astype(dtype)
            x = rng.standard_normal((batches, rows, 80)).astype(np.float32)
            out = np.zeros((batches, rows, -(-height // 16) * 16), np.float32)
            check(f"{name}_{rows}_{height}", dense_product(name, rows), [weight, x, np.asarray(1, np.int32)], [out])
    for size in (5, 4096, 10001):
        logits = rng.standard_normal((2, size)).astype(np.float32)
        stretches = -(-size // logits_kernel.STRETCH)
        results = [np.zeros((2, stretches), t) for t in (np.float32, np.int32, np.float32, np.float32)]
        check(f"logits_{size}", logits_kernel.kernel(), [logits, rng.integers(0, 2, size).astype(np.int8), np.asarray([0, 1], np.int32)], results, 4)
    for head, dtype, slots, length, groups, kv_heads, stretches, softcap in (
        (64, np.float16, 1, 1, 4, 2, 1, 0.0),
        (32, np.float32, 2, 1, 1, 1, 4, 30.0),
        (80, ml_dtypes.bfloat16, 2, 70, 3, 2, 1, 0.0),
        (128, np.float16, 1, 3, 2, 1, 3, 0.0),
    ):
        rows = length * groups
        chunk, tile = min(rows, attention_kernel.CHUNK), min(rows, attention_kernel.TILE)
        cache = (3, slots, kv_heads, 384, head)
        kernel = attention_kernel.kernel(head, np.dtype(dtype).name, chunk, tile, stretches, softcap)
        operands = [
            rng.standard_normal((slots, length, groups * kv_heads, head)).astype(np.float32),
            rng.standard_normal(cache).astype(dtype),
            rng.standard_normal(cache).astype(dtype),
            np.asarray(2, np.int32),
            np.asarray([384 - length, 5][:slots], np.int32),
            np.asarray(2**30 if softcap else 100, np.int32),
            rng.standard_normal(groups * kv_heads).astype(np.float32),
        ]
        scratch = np.zeros(slots * kv_heads * -(-rows // chunk) * chunk * stretches * attention_kernel.state_size(head), np.float32)
        check(f"attention_{head}_{stretches}", kernel, operands, [np.zeros_like(operands[0]), scratch])

    for room in (1, 8):  # frames beneath
        info = np.zeros((4, 11), np.int32)
        info[:, ACCEPTS], info[:, LIMIT] = 1, 100
        steps = rng.integers(-1, 3, (4, 256)).astype(np.int32)
        effects = np.zeros((3, 4 + MOST_PUSHES), np.int32)
        effects[1, :5] = 1, 0, 0, 1, 4
        effects[2, :3] = 2, 1, 1
        text = rng.integers(0, 256, 64).astype(np.uint8)
        frames, counts = (rng.integers(0, 6, (2, room)).astype(np.int32) for _ in range(2))
        starts = rng.integers(0, 40, (2, 5)).astype(np.int32)
        lanes = [starts, starts + 24, np.zeros_like(starts), np.zeros_like(starts), np.full_like(starts, room), np.full_like(starts, GOING)]
        results = [np.zeros_like(starts) for _ in range(5)] + [np.zeros((2, 5, LOCAL), np.int32) for _ in range(2)]
        check(f"follow_{room}", follow_kernel.kernel(), [info, steps, effects, text, frames, counts, *lanes], results)


def overrun() -> None:
    """A call that must end the process: activations of half the length."""
    x = [np.zeros((1, 1, 128), np.int8), np.zeros((1, 1, 8), np.float32), np.zeros((1, 1, 8), np.int32)]
    parts = [np.zeros(device_shape(FORMATS["Q4_0"], p, 1, 16, 256), host_dtype(p)) for p in FORMATS["Q4_0"].parts]
    instructions = assemble.instruction_set()
    assert instructions is not None
    check("overrun", cpu.kernel("Q4_0", 1, instructions), [*parts, *x, np.asarray(0, np.int32)], [np.zeros((1, 1, 16), np.float32)])


if __name__ == "__main__":
    overrun() if "--overrun" in sys.argv else main(sys.argv[1:])
