"""Products with packed weights against the product with the dequantized matrix."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_blocks import COLUMNS, FORMATS, PACKED, random_blocks

from jaxllama.quant import dequantize, from_blocks, qmatmul, stack_layers, stack_matmul
from jaxllama.quant.activations import quantize_activations
from jaxllama.quant.matmul import FEW_ROWS, formulation

ROWS = (1, 3, FEW_ROWS, FEW_ROWS + 1)


def setting(name: str, rows: int, outputs: int = 37):
    weight = from_blocks(random_blocks(name, rows, (2, outputs)), name)
    x = jnp.asarray(np.random.default_rng(rows).standard_normal((rows, COLUMNS)), jnp.float32)
    return x, weight, np.asarray(dequantize(weight)).astype(np.float64)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rows", ROWS)
def test_exact(name, rows):
    x, weight, matrix = setting(name, rows)
    found = np.asarray(jax.jit(partial(qmatmul, exact=True))(x, weight, 1))
    expected = np.asarray(x, np.float64) @ matrix[1].T
    size = np.abs(np.asarray(x, np.float64)) @ np.abs(matrix[1]).T  # float32 sums of COLUMNS terms err by about sqrt(COLUMNS) roundings of this
    assert (np.abs(found - expected) <= 64 * np.finfo(np.float32).eps * size).all()


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("rows", [r for r in ROWS if r <= FEW_ROWS])
def test_few_rows_multiply_rounded_activations_exactly(name, rows):
    """The int8 product is the exact product of the rounded activations: nothing is lost but that rounding."""
    x, weight, matrix = setting(name, rows)
    a = quantize_activations(x)
    rounded = (np.asarray(a.codes, np.float64) * np.asarray(a.scales, np.float64)[..., None]).reshape(x.shape)
    assert (np.abs(rounded - np.asarray(x)) <= np.repeat(np.asarray(a.scales), 32, -1) * 0.500001).all()
    found = np.asarray(jax.jit(qmatmul)(x, weight, 1))
    expected = rounded @ matrix[1].T
    size = np.abs(rounded) @ np.abs(matrix[1]).T
    assert (np.abs(found - expected) <= 64 * np.finfo(np.float32).eps * size).all()


@pytest.mark.parametrize("name", PACKED)
def test_many_rows_round_to_bf16_at_most(name):
    x, weight, matrix = setting(name, FEW_ROWS + 1)
    found = np.asarray(jax.jit(qmatmul)(x, weight, 1))
    expected = np.asarray(x, np.float64) @ matrix[1].T
    size = np.abs(np.asarray(x, np.float64)) @ np.abs(matrix[1]).T
    assert (np.abs(found - expected) <= 2 * 2.0**-8 * size).all()  # both factors rounded to 8 bits
    assert np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean()) < 5e-3


def test_large_matrices_run_in_pieces(monkeypatch):
    x, weight, _ = setting("Q4_K", FEW_ROWS + 1, outputs=16 * 7)
    whole = np.asarray(qmatmul(x, weight, 1, exact=True))
    monkeypatch.setattr("jaxllama.quant.matmul.TEMPORARY_WEIGHTS", 16 * 3 * COLUMNS)  # three tiles a piece, seven tiles: the last piece overlaps
    np.testing.assert_allclose(qmatmul(x, weight, 1, exact=True), whole, rtol=1e-6, atol=1e-4)


def test_leading_axes_and_wrong_columns():
    x, weight, _ = setting("Q8_0", 3)
    np.testing.assert_array_equal(qmatmul(x.reshape(1, 3, COLUMNS), weight)[0], qmatmul(x, weight))
    with pytest.raises(ValueError, match="x has 32 columns, the weight 512"):
        qmatmul(x[:, :32], weight)


def test_zero_activations_give_zero():
    _, weight, _ = setting("Q4_K", 1)
    np.testing.assert_array_equal(qmatmul(jnp.zeros((1, COLUMNS)), weight), 0)


def test_the_table_has_an_entry_for_everything():
    for platform in ("cpu", "gpu", "tpu"):
        for name in FORMATS:
            for rows in (1, 16, 1000):
                for exact in (False, True):
                    assert callable(formulation(platform, rows, name, exact))


def test_layers_of_different_formats():
    kinds = ["Q4_K", "Q6_K", "Q4_K", "Q8_0", "Q6_K"]
    blocks = [random_blocks(kind, i, (1, 20))[0] for i, kind in enumerate(kinds)]
    stack = stack_layers(kinds, lambda layer: blocks[layer])
    assert stack.formats == tuple(kinds)
    assert len(stack.tensors) == 3
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, COLUMNS)), jnp.float32)
    scanned = jax.lax.scan(lambda c, i: (c, stack_matmul(x, stack, i, exact=True)), 0, jnp.arange(5))[1]
    for layer, kind in enumerate(kinds):
        expected = qmatmul(x, from_blocks(blocks[layer][None], kind), exact=True)
        np.testing.assert_allclose(scanned[layer], expected, rtol=1e-5, atol=1e-4)


def test_experts_lie_beside_each_other():
    blocks = random_blocks("Q8_0", 0, (2 * 3, 20)).reshape(2, 3, 20, -1)
    stack = stack_layers(["Q8_0"] * 2, lambda layer: blocks[layer], experts=3)
    x = jnp.ones((1, COLUMNS))
    for layer in range(2):
        for expert in range(3):
            expected = qmatmul(x, from_blocks(blocks[layer, expert][None], "Q8_0"))
            np.testing.assert_allclose(stack_matmul(x, stack, layer, expert), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("rows", [1, FEW_ROWS + 1])
def test_no_full_precision_matrix_in_the_program_of_one_row(rows):
    """One row of activations never makes a full-size float matrix; many rows make one of the size of the matrix and no more."""
    name, outputs = "Q4_K", 512
    weight = from_blocks(random_blocks(name, 0, (4, outputs)), name)
    compiled = jax.jit(qmatmul).lower(jnp.ones((rows, COLUMNS)), weight, 1).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    full = 4 * outputs * COLUMNS
    assert temporary < (0.9 if rows == 1 else 3) * full
