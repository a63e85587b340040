"""Record how well llama.cpp quantizes some numbers: the weighted squared error of every format, and the bytes' hash where there is nothing to search for.

python tests/reference/record_quantizers.py LIBGGML_BASE        # the path of llama-cpp-python's llama_cpp/lib/libggml-base.so
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path

import numpy as np
from arguments import only_argument

import jaxllama
from jaxllama.formats.gguf import open_gguf
from jaxllama.quant import FORMATS, dequantize, from_blocks
from jaxllama.quant.quantize_file import numbers

ROWS, COLUMNS = 16, 1024
EXACT = ("NVFP4", "Q1_0", "Q2_0")  # formats without a search that the `gguf` package cannot make


def samples() -> dict[str, np.ndarray]:
    """Random, heavy-tailed and real numbers f32[ROWS, COLUMNS]; the real ones are the embedded model's, a little off its own grid."""
    rng = np.random.default_rng(7)
    file = open_gguf(jaxllama.embedded_model())
    real = numbers(file, file.tensors["blk.1.ffn_down.weight"]).reshape(-1)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    return {
        "normal": (0.02 * rng.standard_normal((ROWS, COLUMNS))).astype(np.float32),
        "heavy": (0.02 * rng.standard_t(3, (ROWS, COLUMNS))).astype(np.float32),
        "real": (real + 0.002 * rng.uniform(-1, 1, real.shape)).astype(np.float32),
    }


def importance() -> np.ndarray:
    return (np.random.default_rng(8).exponential(1, COLUMNS) + 0.01).astype(np.float32)


def error(blocks: np.ndarray, format: str, x: np.ndarray, weight: np.ndarray | float) -> float:
    """Weighted squared error of blocks uint8[ROWS, row bytes]."""
    found = np.asarray(dequantize(from_blocks(blocks, format)))[0].astype(np.float64)
    return float((weight * (found - x) ** 2).sum())


def main() -> None:
    ggml = ctypes.CDLL(only_argument(__doc__, "LIBGGML_BASE", "llama_cpp/lib/libggml-base.so of llama-cpp-python"))
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    ggml.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    found: dict[str, float | str] = {}
    for name, format_ in FORMATS.items():
        if format_.dense:
            continue
        for sample, x in samples().items():
            for weight in (None, importance()):
                if weight is None and ggml.ggml_quantize_requires_imatrix(format_.type.id):
                    continue
                blocks = np.zeros((ROWS, COLUMNS // format_.type.weights * format_.type.bytes), np.uint8)
                ggml.ggml_quantize_init(format_.type.id)
                at = None if weight is None else weight.ctypes.data
                written = ggml.ggml_quantize_chunk(format_.type.id, x.ctypes.data, blocks.ctypes.data, 0, ROWS, COLUMNS, at)
                assert written == blocks.nbytes, name
                key = f"{name} {sample}{'' if weight is None else ' importance'}"
                found[key] = hashlib.sha256(blocks).hexdigest()[:16] if name in EXACT else error(blocks, name, x, 1.0 if weight is None else weight)
    Path(__file__).with_name("quantizers.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
