"""Kernels assembled at run time: where they run, and that they touch nothing but what is theirs."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_blocks import COLUMNS, random_blocks

from jaxllama.quant import from_blocks, matmul
from jaxllama.quant.kernels import cpu
from jaxllama.quant.kernels.formats import KERNEL_FORMATS
from jaxllama.quant.processor import features

needs_kernels = pytest.mark.skipif(not cpu.available(), reason="the kernels need AVX-512 VNNI")


@pytest.mark.parametrize("name", KERNEL_FORMATS)
@pytest.mark.parametrize("rows", [1, 8])
def test_the_ir_is_well_formed_everywhere(name, rows):
    import llvmlite.binding as llvm

    llvm.parse_assembly(cpu.source(name, rows)).verify()


@needs_kernels
def test_the_table_prefers_kernels_on_cpu():
    for name in KERNEL_FORMATS:
        assert matmul.formulation("cpu", 1, name, exact=False) is cpu.kernel_rows
        assert matmul.formulation("cpu", 1, name, exact=True) is not cpu.kernel_rows
        assert matmul.formulation("tpu", 1, name, exact=False) is not cpu.kernel_rows


def test_other_processors_fall_back(monkeypatch):
    monkeypatch.setattr(cpu, "available", lambda: False)
    assert matmul.formulation("cpu", 1, "Q4_K", exact=False) is matmul.integer_rows


def test_availability_follows_the_processor(monkeypatch):
    monkeypatch.setattr(cpu, "features", lambda: features() - {"avx512_vnni"})
    assert not cpu.available.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr(cpu.platform, "machine", lambda: "riscv64")
    assert not cpu.available.__wrapped__()


@needs_kernels
def test_without_llvmlite_the_engine_still_works():
    code = """
import sys
sys.modules["llvmlite"] = None
import jaxllama
from jaxllama.quant.kernels import cpu
assert not cpu.available()
print(jaxllama.load(n_ctx=64).generate("Once upon a time", n_predict=3, temperature=0).tokens)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[")


@needs_kernels
@pytest.mark.parametrize("name", KERNEL_FORMATS)
def test_large_products_are_shared_among_threads(name):
    """Enough tiles for every thread to claim some, many calls at once, and the same numbers as from the plain form."""
    weight = from_blocks(np.repeat(random_blocks(name, 0, (1, 256)), 16, axis=1), name)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, COLUMNS)), jnp.float32)
    expected = np.asarray(jax.jit(matmul.integer_rows)(x, weight, 0))
    many = jax.jit(lambda x, w: jnp.stack([cpu.kernel_rows(x * 2.0**i, w, 0) for i in range(8)]))(x, weight)
    for i in range(8):
        np.testing.assert_allclose(np.asarray(many[i]) / 2.0**i, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@needs_kernels
def test_nothing_beyond_the_buffers_is_used():
    """Neighbours of a matrix in its stack do not matter, whatever they hold."""
    blocks = random_blocks("Q4_K", 0, (3, 32))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, COLUMNS)), jnp.float32)
    alone = cpu.kernel_rows(x, from_blocks(blocks[1:2], "Q4_K"), 0)
    blocks[0], blocks[2] = 0xFF, 0xFF
    np.testing.assert_array_equal(cpu.kernel_rows(x, from_blocks(blocks, "Q4_K"), 1), alone)


@needs_kernels
def test_vmap_over_activations():
    weight = from_blocks(random_blocks("Q8_0", 0, (1, 32)), "Q8_0")
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2, COLUMNS)), jnp.float32)
    found = jax.vmap(lambda x: cpu.kernel_rows(x, weight, 0))(x)
    for i in range(4):
        np.testing.assert_array_equal(found[i], cpu.kernel_rows(x[i], weight, 0))
