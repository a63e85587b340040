"""What stands before the arithmetic: parts that fit, matrices that are there, rows that are clamped, sizes."""

from __future__ import annotations

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_blocks import COLUMNS, random_blocks

from jaxllama.quant import FORMATS, QTensor, dequantize, from_blocks, qmatmul, qtake, stack_layers, to_blocks
from jaxllama.quant.block import BlockFormat, Part


@pytest.fixture(scope="module")
def weight() -> QTensor:
    return from_blocks(random_blocks("Q8_0", 0, (2, 16)), "Q8_0")


def test_parts_that_do_not_fit(weight):
    d, qs = weight.parts
    for other in (
        replace(weight, parts=(d[:1], qs)),
        replace(weight, parts=(d.astype(jnp.float32), qs)),
        replace(weight, shape=(2, 17, COLUMNS)),
        replace(weight, format="Q4_0"),
    ):
        for run in (to_blocks, dequantize, lambda w: qtake(w, jnp.zeros(1, jnp.int32)), lambda w: qmatmul(jnp.ones((1, COLUMNS)), w)):
            with pytest.raises(ValueError, match=r"has the parts .*; found float"):
                run(other)
    for shape in ((16, COLUMNS), (2, 0, COLUMNS), (2, 16, COLUMNS - 8)):
        with pytest.raises(ValueError, match=r"has a shape \(stack, rows, columns\), columns in blocks of 32, not "):
            replace(weight, shape=shape).check()


@pytest.mark.parametrize("index", [-1, 2, np.int64(2)])
def test_a_matrix_that_is_not_there(weight, index):
    for run in (lambda: qtake(weight, jnp.zeros(1, jnp.int32), index), lambda: qmatmul(jnp.ones((1, COLUMNS)), weight, index)):
        with pytest.raises(IndexError, match=f"there is no matrix {index} in a stack of 2"):
            run()


@pytest.mark.parametrize("index", [0.0, np.zeros(1, np.int32)])
def test_what_is_no_number_of_a_matrix(weight, index):
    with pytest.raises(TypeError, match=r"expected the number of a matrix|numbers of matrices must be whole numbers"):
        qmatmul(jnp.ones((1, COLUMNS)), weight, index)


def test_rows_outside_of_the_matrix(weight):
    found = jax.jit(qtake)(weight, jnp.asarray([-1, 16, 0, 15]))
    np.testing.assert_array_equal(found[:2], found[2:])
    with pytest.raises(TypeError, match="ids of rows must be whole numbers, not float32"):
        qtake(weight, jnp.zeros(1))


def test_activations_that_are_none(weight):
    assert qmatmul(jnp.zeros((2, 0, COLUMNS)), weight).shape == (2, 0, 16)
    for x in (jnp.zeros(()), jnp.zeros((1, COLUMNS), jnp.complex64)):
        with pytest.raises(ValueError, match=r"expected real numbers \[\.\.\., 512\]"):
            qmatmul(x, weight)
    whole = jnp.ones((1, COLUMNS), jnp.int32)
    np.testing.assert_array_equal(qmatmul(whole, weight), qmatmul(whole.astype(jnp.float32), weight))


def test_sizes(weight):
    assert weight.nbytes == 2 * 16 * COLUMNS // 32 * 34
    assert weight.bits_per_weight == 8.5
    blocks = [random_blocks(kind, 0, (1, 16))[0] for kind in ("Q8_0", "Q4_0")]
    assert stack_layers(["Q8_0", "Q4_0"], lambda layer: blocks[layer]).nbytes == sum(b.nbytes for b in blocks)


def test_blocks_that_are_none():
    for blocks, stack, words in (
        (iter(()), 2, "expected 2 matrices, found 0"),
        (iter(np.zeros((2, 1, 34), np.uint8)), None, "from_blocks needs `stack`"),
        (np.zeros((1, 1, 34), np.int8), None, "blocks are uint8[rows, row bytes] or uint8[stack, rows, row bytes], found int8[1, 34]"),
        (np.zeros((1, 1, 1, 34), np.uint8), None, "blocks are uint8[rows, row bytes] or uint8[stack, rows, row bytes], found uint8[1, 1, 34]"),
        (np.zeros((1, 0, 34), np.uint8), None, "not a whole number of Q8_0 blocks"),
        (np.zeros((1, 1, 0), np.uint8), None, "not a whole number of Q8_0 blocks"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            from_blocks(blocks, "Q8_0", stack=stack)
    one = random_blocks("Q8_0", 0, (1, 16))
    np.testing.assert_array_equal(to_blocks(from_blocks(one[0], "Q8_0")), one)


def test_a_format_whose_parts_leave_a_gap():
    with pytest.raises(ValueError, match="Q8_0: the parts have 2 bytes, the format has 34"):
        BlockFormat("Q8_0", (Part("d", 0, "f2"),), FORMATS["Q8_0"].groups)
