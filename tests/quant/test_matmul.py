"""Products with packed weights against the product with the dequantized matrix."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_blocks import COLUMNS, FORMATS, PACKED, random_blocks
from tiers import FORMATS as CHOSEN
from tiers import telling

from jaxllama.kernels.assemble import kernels_run
from jaxllama.quant import dequantize, from_blocks, qmatmul, stack_layers, stack_matmul
from jaxllama.quant.activations import quantize_activations
from jaxllama.quant.integer_rows import _places, _widened
from jaxllama.quant.kernels import cpu
from jaxllama.quant.kernels.formats import KERNEL_FORMATS
from jaxllama.quant.matmul import formulation, integer_rows, unpacked

table = import_module("jaxllama.quant.matmul")
ROWS = (1, 3, 8, 9, 20)
INTEGER = [
    pytest.param(integer_rows, id="xla"),
    pytest.param(cpu.kernel_rows, id="kernel", marks=pytest.mark.skipif("not kernels_run()", reason="the kernels need AVX-512 VNNI")),
]


def setting(name: str, rows: int, outputs: int = 37):
    weight = from_blocks(random_blocks(name, rows, (2, outputs)), name)
    x = jnp.asarray(np.random.default_rng(rows).standard_normal((rows, COLUMNS)), jnp.float32)
    return x, weight, np.asarray(dequantize(weight)).astype(np.float64)


@pytest.mark.parametrize("name", telling(FORMATS))
@pytest.mark.parametrize("rows", ROWS)
def test_exact(name, rows):
    x, weight, matrix = setting(name, rows)
    expected = np.asarray(x, np.float64) @ matrix[1].T
    size = np.abs(np.asarray(x, np.float64)) @ np.abs(matrix[1]).T  # float32 sums of COLUMNS terms err by about sqrt(COLUMNS) roundings of this
    for run in (partial(qmatmul, exact=True), table.dense) if FORMATS[name].dense else (partial(qmatmul, exact=True),):
        found = np.asarray(jax.jit(run)(x, weight, 1))
        assert (np.abs(found - expected) <= 64 * np.finfo(np.float32).eps * size).all()


def rounded(x: jax.Array) -> np.ndarray:
    """The activations that an int8 product multiplies, exactly."""
    a = quantize_activations(x)
    return (np.asarray(a.codes, np.float64) * np.asarray(a.scales, np.float64)[..., None]).reshape(x.shape)


def test_rounding_moves_an_activation_by_half_a_code_at_most():
    x, _, _ = setting("Q8_0", 8)
    step = np.repeat(np.asarray(quantize_activations(x).scales), 32, -1)
    assert (np.abs(rounded(x) - np.asarray(x)) <= step * 0.500001).all()


@pytest.mark.parametrize("run", INTEGER)
@pytest.mark.parametrize("name", telling(PACKED))
@pytest.mark.parametrize(("rows", "outputs"), [(1, 37), *(pytest.param(*sizes, marks=pytest.mark.exhaustive) for sizes in ((3, 16), (20, 1)))])
def test_integer_products_lose_nothing_but_the_rounding(run, name, rows, outputs):
    """The int8 product is the product of the rounded activations, up to float32 sums."""
    if run is cpu.kernel_rows and name not in KERNEL_FORMATS:
        pytest.skip("no kernel for this format")
    x, weight, matrix = setting(name, rows, outputs)
    found = np.asarray(jax.jit(run)(x, weight, 1))
    assert found.shape == (rows, outputs)
    expected = rounded(x) @ matrix[1].T
    size = np.abs(rounded(x)) @ np.abs(matrix[1]).T
    assert (np.abs(found - expected) <= 64 * np.finfo(np.float32).eps * size).all()


@pytest.mark.parametrize("name", telling(PACKED))
def test_unpacking_rounds_to_bf16_at_most(name):
    x, weight, matrix = setting(name, 9)
    found = np.asarray(jax.jit(unpacked(jnp.dtype(jnp.bfloat16)))(x, weight, 1))
    expected = np.asarray(x, np.float64) @ matrix[1].T
    size = np.abs(np.asarray(x, np.float64)) @ np.abs(matrix[1]).T
    assert (np.abs(found - expected) <= 2 * 2.0**-8 * size).all()  # both factors rounded to 8 bits


def test_large_matrices_run_in_pieces(monkeypatch):
    x, weight, _ = setting("Q4_K", 9, outputs=16 * 7)
    whole = np.asarray(qmatmul(x, weight, 1, exact=True))
    monkeypatch.setattr(table, "TEMPORARY_WEIGHTS", 16 * 3 * COLUMNS)  # three tiles a piece, seven tiles: the last piece overlaps
    run = jax.jit(lambda x: qmatmul(x, weight, 1, exact=True)).lower(x).compile()
    np.testing.assert_allclose(run(x), whole, rtol=1e-6, atol=1e-4)
    assert run.memory_analysis().temp_size_in_bytes < 4 * 16 * 7 * COLUMNS


def test_leading_axes_and_wrong_columns():
    x, weight, _ = setting("Q8_0", 3)
    np.testing.assert_array_equal(qmatmul(x.reshape(1, 3, COLUMNS), weight)[0], qmatmul(x, weight))
    with pytest.raises(ValueError, match=r"x is float32\[3, 32\], expected real numbers \[\.\.\., 512\]"):
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


@pytest.mark.parametrize(("run", "share"), [(integer_rows, 0.9), (unpacked(jnp.dtype(jnp.float32)), 3), (cpu.kernel_rows, 0.01)])
def test_temporaries(run, share):
    """Nothing of the size of the float32 matrix is made for one row; unpacking makes one matrix, the kernel nothing."""
    if run is cpu.kernel_rows and not kernels_run():
        pytest.skip("the kernels need AVX-512 VNNI")
    outputs = 512
    weight = from_blocks(random_blocks("Q4_K", 0, (4, outputs)), "Q4_K")
    compiled = jax.jit(run).lower(jnp.ones((1, COLUMNS)), weight, 1).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < share * 4 * outputs * COLUMNS


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", telling(FORMATS))
def test_the_gradient_is_the_dequantized_matrixs(name, exact):
    """Through packed weights, for a matrix picked by a traced index."""
    x, weight, matrix = setting(name, 3)
    y = jnp.asarray(np.random.default_rng(4).standard_normal((3, 37)), jnp.float32)

    @jax.jit
    def gradient(x: jax.Array, index: jax.Array) -> jax.Array:
        return jax.grad(lambda x: (qmatmul(x, weight, index, exact=exact) * y).sum())(x)

    found = np.asarray(gradient(x, jnp.asarray(1)))
    expected = np.asarray(y, np.float64) @ matrix[1]
    size = np.abs(np.asarray(y, np.float64)) @ np.abs(matrix[1])
    assert (np.abs(found - expected) <= (1e-5 if exact else 2**-7) * size + 1e-30).all()


def test_the_gradient_of_large_matrices_is_made_in_pieces(monkeypatch):
    x, weight, matrix = setting("Q4_K", 5, outputs=16 * 7)
    monkeypatch.setattr(table, "TEMPORARY_WEIGHTS", 3 * 16 * COLUMNS)  # three tiles at a time: the last piece overlaps
    y = jnp.asarray(np.random.default_rng(4).standard_normal((5, 16 * 7)), jnp.float32)
    run = jax.jit(jax.grad(lambda x: (qmatmul(x, weight, 0, exact=True) * y).sum())).lower(x).compile()
    np.testing.assert_allclose(run(x), np.asarray(y, np.float64) @ matrix[0], rtol=1e-4, atol=1e-3)
    assert run.memory_analysis().temp_size_in_bytes < 4 * 16 * 7 * COLUMNS


@pytest.mark.parametrize(("bf16", "exact"), [(True, False), (True, True), (False, False)])
def test_temporaries_are_bf16_where_the_processor_multiplies_it(monkeypatch, bf16, exact):
    """Both ways; and no processor may round the factors of a float32 product."""
    monkeypatch.setattr(table, "has_bf16_products", lambda: bf16)
    monkeypatch.setattr(table, "kernels_run", lambda: False)
    x, weight, _ = setting("Q4_0", 9)
    for run in (lambda x: qmatmul(x, weight, exact=exact), jax.grad(lambda x: qmatmul(x, weight, exact=exact).sum())):
        text = str(jax.make_jaxpr(run)(x))
        assert ("bf16" in text) == (bf16 and not exact)
        assert ("HIGHEST" in text) == (exact or not bf16)


@pytest.mark.parametrize("name", telling(PACKED, (*CHOSEN, "TQ1_0")))
def test_words_are_read_straight_from_the_stack(name):
    """Where the codes of a format lie in words as they are: what a block needs is then read once."""
    computed = name[:3] in ("IQ1", "IQ2", "IQ3") or name in ("Q1_0", "Q2_0", "TQ1_0")
    assert (_places(name)[0][0] is None) == computed
    if name == "Q4_K":
        number, items = _places(name)[1][0]
        assert FORMATS[name].parts[number].name == "qs"
        np.testing.assert_array_equal(items, np.arange(32).reshape(4, 8))


def test_scales_are_widened_exactly():
    """Every f16 number, subnormal ones, infinities and what is no number included."""
    half = np.arange(2**16, dtype=np.uint16).view(np.float16)
    found = jax.jit(lambda x: _widened({"d": x})["d"])(jnp.asarray(half))
    np.testing.assert_array_equal(np.asarray(found).view(np.uint32)[~np.isnan(half)], half.astype(np.float32).view(np.uint32)[~np.isnan(half)])
    assert np.isnan(np.asarray(found)[np.isnan(half)]).all()
