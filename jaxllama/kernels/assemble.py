"""Compiling kernels and handing them to XLA; and whether that can be done here."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax

from . import frame
from .instructions import INSTRUCTION_SETS, InstructionSet
from .ir import Function
from .kept import kept_code
from .processor import features

_log = logging.getLogger(__name__)
_keep: list[Any] = []  # compiled code must outlive every program that calls it
compiling = threading.RLock()  # LLVM's state is the process's, and XLA takes a name once: one thread at a time makes kernels


@cache
def instruction_set() -> InstructionSet | None:
    """What kernels are made of here; None, with a note, where they cannot run: then everything goes through plain XLA."""
    try:
        found = _instruction_set()
        _engine("define i32 @jaxllama_trial() {\n  ret i32 42\n}", found)
    except Exception as error:  # whatever is wrong with a compiler that works elsewhere, plain XLA does the work
        _log.warning("CPU kernels are off, plain XLA runs instead (slower): %s", error)
        return None
    return found


def kernels_run() -> bool:
    """Whether programs for the default device may call kernels."""
    return jax.default_backend() == "cpu" and instruction_set() is not None


def _instruction_set() -> InstructionSet:
    """The best set that the processor has.

    Raises:
        RuntimeError: there is none, or XLA's interface is another one than `frame` knows.
        ImportError: there is no llvmlite.
    """
    if os.environ.get("JAXLLAMA_KERNELS", "").lower() in ("0", "off"):
        raise RuntimeError("JAXLLAMA_KERNELS=off is set")
    import llvmlite.binding  # noqa: F401

    header = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    version = dict(re.findall(r"#define XLA_FFI_API_(MAJOR|MINOR) (\d+)", header.read_text(encoding="utf-8")))
    major, minor = int(version.get("MAJOR", -1)), int(version.get("MINOR", -1))
    if major != frame.API_VERSION[0] or minor < frame.API_VERSION[1]:
        raise RuntimeError(f"XLA's foreign function interface has version {major}.{minor}, the kernels need {'.'.join(map(str, frame.API_VERSION))}")
    for instructions in INSTRUCTION_SETS:
        if instructions.features <= features():
            return instructions
    raise RuntimeError(f"the kernels need a CPU with one of {', '.join(i.name for i in INSTRUCTION_SETS)}")


def target_machine(instructions: InstructionSet, *, host: bool = True) -> Any:
    """LLVM's compiler for this processor, or for the one that the instruction set names."""
    import llvmlite.binding as llvm

    if not host:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        return llvm.Target.from_triple(instructions.triple).create_target_machine(cpu=instructions.cpu, features=instructions.llvm_features, opt=3)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3)


def compiled(source: str, machine: Any) -> Any:
    """LLVM's module of a kernel, checked and optimised for a machine."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(source)
    module.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    return module


def _engine(source: str, instructions: InstructionSet) -> Any:
    """The code of some source, loaded."""
    import llvmlite.binding as llvm

    with compiling:
        machine = target_machine(instructions)
        key = repr((source, llvm.llvm_version_info, machine.triple, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()))
        code = kept_code(key, lambda: machine.emit_object(compiled(source, machine)))
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
    return engine


_registered: set[str] = set()


def register(name: str, kernel: Callable[[InstructionSet], frame.Kernel]) -> str:
    """Assemble, compile and register a kernel where that has not been done; returns the name by which `jax.ffi.ffi_call` calls it."""
    instructions = instruction_set()
    assert instructions is not None
    name = f"{name}_{instructions.tag}"
    with compiling:
        if name not in _registered:
            jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler(name, kernel(instructions), instructions)), platform="cpu")
            _registered.add(name)
    return name


def function(f: Function, *argument_types: Any) -> Any:
    """A compiled function of its own, for ctypes; it runs without Python's lock."""
    instructions = instruction_set()
    assert instructions is not None
    engine = _engine(f.text(), instructions)
    _keep.append(engine)
    return ctypes.CFUNCTYPE(None, *argument_types)(engine.get_function_address(f.name))


def handler(name: str, kernel: frame.Kernel, instructions: InstructionSet) -> Any:
    """The compiled function of a kernel, which takes XLA's call frame."""
    engine = _engine(frame.module(name, kernel, instructions), instructions)
    found = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address(name))
    _keep.extend((engine, found))
    return found
