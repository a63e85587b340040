"""What all kernels share: they are compiled for every kind of processor, run only where they can, and touch nothing but what is theirs."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import FORMATS, telling

from jaxllama.decode import logits_kernel
from jaxllama.kernels import assemble, frame
from jaxllama.kernels.frame import Buffer, Kernel, Work
from jaxllama.kernels.instructions import INSTRUCTION_SETS
from jaxllama.kernels.ir import Function
from jaxllama.kernels.kept import kept_code
from jaxllama.kernels.processor import features
from jaxllama.kernels.vectors import DECLARATIONS, VF, Vectors
from jaxllama.layers import attention_kernel
from jaxllama.quant.kernels import cpu
from jaxllama.quant.kernels.dense import dense_product
from jaxllama.quant.kernels.formats import KERNEL_FORMATS

needs_kernels = pytest.mark.skipif(assemble.instruction_set() is None, reason="kernels need a processor with AVX2 or NEON dot products, and llvmlite")

# What must, and what must not, stand in the assembly of a product.
ASSEMBLY = {
    "avx512vnni": (r"vpdpbusd\s.*zmm", r"vpmaddubsw"),
    "avxvnni": (r"vpdpbusd\s.*ymm", r"zmm"),
    "avx2": (r"vpmaddubsw\s.*ymm", r"zmm|vpdpbusd"),
    "neon": (r"sdot\s+v\d+\.4s, v\d+\.16b", r"vpdpbusd"),
}


def assembly(kernel: Kernel, instructions) -> str:
    machine = assemble.target_machine(instructions, host=False)
    return machine.emit_assembly(assemble.compiled(frame.module("kernel", kernel, instructions), machine))


@pytest.mark.parametrize("instructions", INSTRUCTION_SETS, ids=lambda i: i.tag)
@pytest.mark.parametrize("name", telling(KERNEL_FORMATS))
def test_products_use_the_instructions_of_every_processor(name, instructions):
    wanted, unwanted = ASSEMBLY[instructions.tag]
    for rows in (1, 8):
        text = assembly(cpu.kernel(name, rows, instructions), instructions)
        assert re.search(wanted, text)
        assert not re.search(unwanted, text)
        # No calls but these: not a function that would have to be found when the code is loaded.
        called = set(re.findall(r"^\s+(?:callq|bl|jmp)\s+([a-z]\w+)", text, re.M))
        assert called <= {"malloc", "free", "kernel_units", "kernel_work"}, called


@pytest.mark.parametrize("instructions", INSTRUCTION_SETS, ids=lambda i: i.tag)
def test_float_kernels_are_compiled_for_every_processor(instructions):
    fma = {"neon": "fmla"}.get(instructions.tag, "vfmadd")
    for kernel in (
        *(dense_product(name, 4) for name in ("F32", "F16", "BF16")),
        attention_kernel.kernel(64, "float16", 4, 4, 1, 0.0),
        attention_kernel.kernel(128, "bfloat16", 64, 4, 2, 30.0),
        logits_kernel.kernel(),
    ):
        text = assembly(kernel, instructions)
        assert fma in text
        called = set(re.findall(r"^\s+(?:callq|bl|jmp)\s+([a-z]\w+)", text, re.M))
        assert called <= {"malloc", "free", "memcpy", "memset", "kernel_units", "kernel_work", "kernel_finish"}, called


CHOSEN = [name for name in KERNEL_FORMATS if name in FORMATS]
OTHERS = [name for name in KERNEL_FORMATS if name not in FORMATS]


@needs_kernels
@pytest.mark.parametrize("formats", telling([CHOSEN, OTHERS], [CHOSEN]), ids=" ".join)
def test_kernels_stay_within_their_buffers(formats):
    """Every kernel, between pages that may not be touched, with threads that come at once, beside it, or too late."""
    script = [sys.executable, str(Path(__file__).with_name("guarded.py"))]
    done = subprocess.run([*script, *formats], capture_output=True, text=True)
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr}"
    assert len(done.stdout.splitlines()) == 3 * len(formats) + 4 + 9 + 3 + 4 + 2
    assert subprocess.run([*script, "--overrun"], capture_output=True).returncode < 0, "the guards do not work"


def fresh_choice(caplog) -> tuple[object, str]:
    """What `instruction_set` answers when it is asked for the first time, and what it notes."""
    with caplog.at_level(logging.WARNING):
        found = assemble.instruction_set.__wrapped__()
    return found, caplog.text


def test_a_processor_without_the_instructions(monkeypatch, caplog):
    monkeypatch.setattr(assemble, "features", lambda: frozenset({"sse2"}))
    found, note = fresh_choice(caplog)
    assert found is None
    assert "the kernels need a CPU with one of AVX-512 VNNI" in note


def test_kernels_can_be_turned_off(monkeypatch, caplog):
    monkeypatch.setenv("JAXLLAMA_KERNELS", "off")
    found, note = fresh_choice(caplog)
    assert found is None
    assert "JAXLLAMA_KERNELS=off is set" in note


def test_lesser_processors_get_lesser_instructions(monkeypatch, caplog):
    for missing, tag in (("avx512_vnni", "avx2"), ("", "avx512vnni")):
        monkeypatch.setattr(assemble, "features", lambda missing=missing: INSTRUCTION_SETS[0].features - {missing})
        assert assemble._instruction_set().tag == tag


def test_another_version_of_the_interface(monkeypatch, caplog, tmp_path):
    header = tmp_path / "xla" / "ffi" / "api" / "c_api.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define XLA_FFI_API_MAJOR 1\n#define XLA_FFI_API_MINOR 0\n")
    monkeypatch.setattr(jax.ffi, "include_dir", lambda: str(tmp_path))
    found, note = fresh_choice(caplog)
    assert found is None
    assert "has version 1.0, the kernels need 0.3" in note


@pytest.mark.usefixtures("nothing_is_kept")
def test_a_broken_compiler(monkeypatch, caplog):
    monkeypatch.setattr(assemble, "compiled", lambda *_: (_ for _ in ()).throw(OSError("libLLVM is not what it should be")))
    monkeypatch.setattr(assemble, "kept_code", lambda _, make: make())  # code that is on the disk needs no compiler
    found, note = fresh_choice(caplog)
    assert found is None
    assert "libLLVM is not what it should be" in note


CALLS = ("logits('Once')[-1].tolist()", "generate('Once', n_predict=3, temperature=0).tokens")


@pytest.mark.exhaustive  # in a process of its own
@pytest.mark.parametrize("call", CALLS)
def test_without_llvmlite_the_engine_still_works(call, default_model):
    code = f"""
import sys
sys.modules["llvmlite"] = None
import jaxllama
from jaxllama.kernels.assemble import instruction_set
assert instruction_set() is None
print(jaxllama.load(n_ctx=64).{call})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = default_model.logits("Once")[-1] if call is CALLS[0] else default_model.generate("Once", n_predict=3, temperature=0).tokens
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=1e-3, atol=1e-3)  # the same roundings, other orders of sums
    assert done.stderr.count("CPU kernels are off") == 1
    assert features() is not None


def test_code_is_kept_beside_compiled_programs(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    made = []

    def make() -> bytes:
        made.append(1)
        return b"machine code"

    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        assert kept_code("a", make) == kept_code("a", make) == b"machine code"
        assert len(made) == 1
        (path,) = (tmp_path / "kernels").iterdir()
        path.write_bytes(path.read_bytes()[:-1])  # not whole
        assert kept_code("a", make) == b"machine code"
        assert len(made) == 2
        jax.config.update("jax_compilation_cache_dir", str(path))  # no folder
        assert kept_code("b", make) == b"machine code"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def elementwise(operation) -> Kernel:
    """A kernel that applies an operation of `Vectors` to 16 floats, or to 16 vectors of them."""

    def prepare(f: Function, operands: list[Buffer], results: list[Buffer]) -> Work:
        return Work("1", "0", [("ptr", operands[0].data()), ("ptr", results[0].data())])

    def units(f: Function, first: str, last: str, values: list[str]) -> None:
        v = Vectors(f)
        f.store(VF, operation(v, lambda i: v.load("float", values[0], 64 * i)), values[1], 0, 4)

    return Kernel(1, 1, prepare, units, declarations=DECLARATIONS)


def run(name: str, operation, x: np.ndarray) -> np.ndarray:
    called = jax.ffi.ffi_call(assemble.register(f"test_{name}", lambda _: elementwise(operation)), jax.ShapeDtypeStruct((16,), jnp.float32))
    return np.asarray(called(jnp.asarray(x, jnp.float32)))


@needs_kernels
def test_exponentials():
    for x in (np.linspace(-87, 88, 16), np.linspace(-1, 1, 16), -np.logspace(-8, 1.9, 16)):
        x = x.astype(np.float32)
        np.testing.assert_allclose(run("exp", lambda v, load: v.exp(load(0)), x), np.exp(x.astype(np.float64)), rtol=3e-7)
        np.testing.assert_allclose(run("tanh", lambda v, load: v.tanh(load(0)), x), np.tanh(x.astype(np.float64)), rtol=1e-6, atol=1e-7)
    assert run("exp", lambda v, load: v.exp(load(0)), np.full(16, -1e30)).max() < 2e-38


@needs_kernels
@pytest.mark.parametrize("together", [1, 4, 16])
def test_sixteen_sums_at_once(together):
    x = np.random.default_rng(0).integers(-100, 100, (16, 16))
    found = run(f"sums_{together}", lambda v, load: v.sums(lambda places: [[load(p)] for p in places], together)[0], x)
    np.testing.assert_array_equal(found, x.sum(1))
