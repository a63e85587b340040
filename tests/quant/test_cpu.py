"""Products as kernels assembled at run time: when they run, and that they compute what the plain forms do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_blocks import COLUMNS, random_blocks
from tiers import telling

from jaxllama.kernels import assemble
from jaxllama.kernels.instructions import INSTRUCTION_SETS
from jaxllama.kernels.processor import features
from jaxllama.quant import FORMATS, QTensor, from_blocks, matmul
from jaxllama.quant.kernels import cpu
from jaxllama.quant.kernels.dense import DENSE_FORMATS
from jaxllama.quant.kernels.formats import KERNEL_FORMATS

needs_kernels = pytest.mark.usefixtures("kernels")


@needs_kernels
def test_the_table_prefers_kernels_on_cpu():
    for name in KERNEL_FORMATS:
        assert matmul.formulation("cpu", 1, name, exact=False) is cpu.kernel_rows
        assert matmul.formulation("cpu", 1, name, exact=True) is not cpu.kernel_rows
        assert matmul.formulation("tpu", 1, name, exact=False) is not cpu.kernel_rows
    for name in DENSE_FORMATS:
        assert matmul.formulation("cpu", 1, name, exact=True) is cpu.dense_rows
        assert matmul.formulation("cpu", 1, name, exact=True, columns=24) is matmul.dense


def test_other_processors_fall_back(monkeypatch):
    monkeypatch.setattr(matmul, "kernels_run", lambda: False)
    assert matmul.formulation("cpu", 1, "Q4_K", exact=False) is matmul.integer_rows
    assert matmul.formulation("cpu", 1, "F16", exact=False) is matmul.dense


@pytest.mark.parametrize(("name", "kernel"), [("Q4_K", cpu.kernel_rows), ("F16", cpu.dense_rows)])
def test_matrix_units_take_many_rows(monkeypatch, name, kernel):
    monkeypatch.setattr(matmul, "kernels_run", lambda: True)
    for units in (False, True):
        monkeypatch.setattr(matmul, "has_matrix_units", lambda units=units: units)
        assert matmul.formulation("cpu", 16, name, exact=False) is kernel
        assert (matmul.formulation("cpu", 17, name, exact=False) is kernel) != units


@pytest.fixture(params=[i for i in INSTRUCTION_SETS if i.features <= features()], ids=lambda i: i.tag)
def instructions(request, monkeypatch):
    """Every set of instructions that this processor has."""
    monkeypatch.setattr(assemble, "instruction_set", lambda: request.param)
    return request.param


@needs_kernels
@pytest.mark.parametrize("rows", telling([1, 3, 8, 16], [1, 3]))
@pytest.mark.parametrize("name", telling(KERNEL_FORMATS))
def test_integer_sums_are_exact(name, rows, instructions):
    """With powers of two for all scales every number of the product is exact in float32, so both forms must agree to the last bit."""
    format_ = FORMATS[name]
    weight = from_blocks(random_blocks(name, 0, (1, 40)), name)
    scales = {"d": 0.5, "m": 0.5, "dmin": 0.5, "e": 127}
    parts = [jnp.full(a.shape, scales[p.name], a.dtype) if p.name in scales else a for p, a in zip(format_.parts, weight.parts, strict=True)]
    weight = QTensor(tuple(parts), name, weight.shape)
    codes = np.random.default_rng(rows).integers(-7, 8, (rows, COLUMNS))
    codes[:, ::32] = 127  # the largest of each group of 32 sets the scale to one
    x = jnp.asarray(codes, jnp.float32)
    np.testing.assert_array_equal(cpu.kernel_rows(x, weight, 0), jax.jit(matmul.integer_rows)(x, weight, 0))


@needs_kernels
@pytest.mark.parametrize("name", DENSE_FORMATS)
def test_dense_products(name, instructions):
    dtype = {"F32": jnp.float32, "F16": jnp.float16, "BF16": jnp.bfloat16}[name]
    rng = np.random.default_rng(0)
    for height, columns in ((1, 16), (37, 80), (160, 1024)):
        weight = QTensor((jnp.asarray(rng.standard_normal((3, height, columns)), dtype),), name, (3, height, columns))
        for rows in (1, 3, 4, 9):
            x = jnp.asarray(rng.standard_normal((rows, columns)), jnp.float32)
            expected = np.asarray(x, np.float64) @ np.asarray(weight.parts[0][1], np.float64).T
            np.testing.assert_allclose(cpu.dense_rows(x, weight, 1), expected, atol=2e-6 * columns**0.5)


@needs_kernels
def test_what_is_not_a_number_stays_so():
    weight = from_blocks(random_blocks("Q4_K", 0, (1, 32)), "Q4_K")
    x = jnp.zeros((2, COLUMNS), jnp.float32).at[0, 5].set(jnp.nan)
    found = np.asarray(cpu.kernel_rows(x, weight, 0))
    assert np.isnan(found[0]).all()
    assert not np.isnan(found[1]).any()


@needs_kernels
@pytest.mark.parametrize("name", telling(KERNEL_FORMATS))
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
