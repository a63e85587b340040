"""The few-row product on CPU: a kernel assembled at run time for each format and number of rows, called through XLA's foreign function interface.

Reads every packed weight once and multiplies in integers (AVX-512 VNNI). What runs here is the same arithmetic as `matmul.integer_rows`, which is its oracle
and its fallback on other processors.
"""

from __future__ import annotations

import ctypes
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ..activations import GROUP, quantize_activations
from ..block import LANES, Array
from ..blocks import FORMATS
from ..processor import features
from ..qtensor import QTensor
from . import frame, tiles
from .formats import KERNEL_FORMATS

BATCH = 8  # rows of activations that pass a tile together: their sums fill the registers

_keep: list[Any] = []  # compiled code must outlive every program that calls it


@cache
def available() -> bool:
    """Whether kernels can run here: the processor has the instructions, llvmlite is there, and XLA speaks the interface that `frame` knows."""
    if platform.machine() not in ("x86_64", "AMD64") or not {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"} <= features():
        return False
    try:
        import llvmlite.binding  # noqa: F401
    except ImportError:
        return False
    header = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    try:
        found = dict(re.findall(r"#define XLA_FFI_API_(MAJOR|MINOR) (\d+)", header.read_text()))
    except OSError:
        return False
    return int(found.get("MAJOR", -1)) == frame.API_VERSION[0] and int(found.get("MINOR", -1)) >= frame.API_VERSION[1]


def source(format: str, rows: int) -> str:
    """The LLVM IR of a kernel."""
    format_ = FORMATS[format]
    operands = len(format_.parts) + 4  # codes, scales, corrections, index
    return frame.module(
        _name(format, rows), [LANES * p.nbytes for p in format_.parts], operands, lambda f: tiles.product(f, format_, KERNEL_FORMATS[format], rows)
    )


def _name(format: str, rows: int) -> str:
    return f"jaxllama_{format.lower()}_{rows}"


@cache
def register(format: str, rows: int) -> str:
    """Assemble, compile and register a kernel, once; returns its name."""
    import llvmlite.binding as llvm

    name = _name(format, rows)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(source(format, rows))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address(name))
    _keep.extend((engine, handler))
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
    return name


def kernel_rows(x: Array, weight: QTensor, index: Array | int) -> Array:
    """x f32[M, columns] -> f32[M, rows] with activations rounded to int8."""
    rows = x.shape[0]
    batch = min(rows, BATCH)
    name = register(weight.format, batch)
    a = quantize_activations(jnp.pad(x, ((0, -rows % batch), (0, 0))))
    codes = a.codes.astype(jnp.int8).reshape(-1, batch, x.shape[1])
    scales = a.scales.reshape(-1, batch, a.scales.shape[-1])
    kernel = KERNEL_FORMATS[weight.format]
    sums = a.codes.reshape(-1, batch, x.shape[1] // kernel.size, kernel.size).sum(-1)
    corrections = -kernel.offset * sums if kernel.offset else -sums.astype(jnp.float32) * jnp.repeat(scales, GROUP // kernel.size, axis=-1)
    outputs = weight.parts[0].shape[1] * LANES
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct((*codes.shape[:2], outputs), jnp.float32), vmap_method="sequential")
    found = call(*weight.parts, codes, scales, corrections, jnp.asarray(index, jnp.int32))
    return found.reshape(-1, outputs)[:rows, : weight.shape[1]]
