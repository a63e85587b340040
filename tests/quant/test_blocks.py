"""Block formats: packing loses nothing, dequantization equals an independent implementation bit for bit."""

from __future__ import annotations

from itertools import pairwise

import gguf as independent
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import telling

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES
from jaxllama.quant import FORMATS, dequantize, from_blocks, qtake, to_blocks
from jaxllama.quant.layout import allocate, pack_into

PACKED = [name for name, f in FORMATS.items() if not f.dense]
COLUMNS = 512
_take = jax.jit(qtake, static_argnums=2)


def random_blocks(name: str, seed: int, shape: tuple[int, int], *, finite: bool = True) -> np.ndarray:
    """uint8[stack, rows, row bytes] with any codes; f16 scales are finite unless asked otherwise."""
    rng = np.random.default_rng(seed)
    type_ = TENSOR_TYPE_NAMES[name]
    blocks = rng.integers(0, 256, (*shape, COLUMNS // type_.weights, type_.bytes), dtype=np.uint8)
    for part in FORMATS[name].parts:
        if finite and part.dtype == "f2":
            scales = rng.standard_normal((*blocks.shape[:-1], part.count)).astype(np.float16)
            blocks[..., part.offset : part.offset + part.nbytes] = scales.view(np.uint8)
    if finite and name == "MXFP4":
        blocks[..., 0] = 96 + blocks[..., 0] % 64  # far from where numbers are subnormal (XLA flushes those to zero) or infinite
    if finite and name == "NVFP4":
        blocks[..., :4][blocks[..., :4] == 127] = 126  # zero for ggml, a number for the independent implementation
    if finite and name == "IQ1_M":
        blocks[..., 55] = blocks[..., 55] & 0x3F  # the top of the scale's exponent
    if finite and FORMATS[name].dense and name[0] == "I":
        return blocks.reshape(*shape, -1)
    if finite and name == "F64":
        return (rng.standard_normal((*shape, COLUMNS)) * 10.0 ** rng.integers(-30, 30, (*shape, COLUMNS))).view(np.uint8)
    if finite and FORMATS[name].dense:
        dtype = {"F32": np.float32, "F16": np.float16}.get(name)
        x = rng.standard_normal((*shape, COLUMNS)).astype(np.float32)
        return (x.astype(dtype) if dtype else x.view(np.uint16)[..., 1::2].copy()).view(np.uint8)
    return blocks.reshape(*shape, -1)


def reference(name: str, blocks: np.ndarray) -> np.ndarray:
    flat = blocks.reshape(-1, blocks.shape[-1])
    if name in ("Q1_0", "Q2_0"):  # not in that package; written from ggml's definition
        width = int(name[1])
        per_block = flat.reshape(len(flat), -1, 18)
        d = per_block[..., :2].copy().view(np.float16).astype(np.float32)
        fields = np.unpackbits(per_block[..., 2:], axis=-1, bitorder="little").reshape(*per_block.shape[:-1], -1, width)
        codes = (fields * [1, 2][:width]).sum(-1).astype(np.float32)
        return ((2 * codes - 1 if width == 1 else codes - 1) * d).reshape(*blocks.shape[:-1], COLUMNS)
    if name == "F64" or (name[0] == "I" and FORMATS[name].dense):
        return flat.view(f"{'f' if name[0] == 'F' else 'i'}{FORMATS[name].type.bytes}").astype(np.float32).reshape(*blocks.shape[:-1], COLUMNS)
    return independent.quants.dequantize(flat, independent.GGMLQuantizationType[name]).reshape(*blocks.shape[:-1], COLUMNS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_parts_cover_the_block(name):
    covered = sorted((p.offset, p.offset + p.nbytes) for p in FORMATS[name].parts)
    assert covered[0][0] == 0
    assert covered[-1][1] == FORMATS[name].type.bytes
    assert all(a[1] == b[0] for a, b in pairwise(covered))


@pytest.mark.parametrize("name", telling(FORMATS))
@given(seed=st.integers(0, 2**32), rows=st.sampled_from([1, 15, 16, 17, 37]), stack=st.sampled_from([1, 3]))
def test_any_bytes_come_back(name, seed, rows, stack):
    blocks = random_blocks(name, seed, (stack, rows), finite=False)
    tensor = from_blocks(blocks, name)
    assert tensor.shape == (stack, rows, COLUMNS)
    np.testing.assert_array_equal(to_blocks(tensor), blocks)


@pytest.mark.parametrize("name", FORMATS)
@given(seed=st.integers(0, 2**32))
def test_dequantize_is_bit_exact(name, seed):
    blocks = random_blocks(name, seed, (2, 19))
    found = np.asarray(dequantize(from_blocks(blocks, name)))
    np.testing.assert_array_equal(found.view(np.uint32), reference(name, blocks).astype(np.float32).view(np.uint32))


@pytest.mark.parametrize("name", telling(FORMATS))
@given(seed=st.integers(0, 2**32))
def test_take_is_dequantize_of_rows(name, seed):
    blocks = random_blocks(name, seed, (2, 19))
    tensor = from_blocks(blocks, name)
    ids = np.random.default_rng(seed).integers(0, 19, (2, 3))
    found = _take(tensor, jnp.asarray(ids, jnp.int32), 1)
    np.testing.assert_array_equal(found, np.asarray(dequantize(tensor))[1][ids])


@pytest.mark.parametrize("name", FORMATS)
def test_big_endian_bytes(name):
    blocks = random_blocks(name, 3, (1, 17))
    swapped = blocks.reshape(1, 17, -1, FORMATS[name].type.bytes).copy()
    for part in FORMATS[name].parts:
        if part.dtype == "f2":
            field = swapped[..., part.offset : part.offset + part.nbytes]
            field[...] = field.reshape(*field.shape[:-1], -1, 2)[..., ::-1].reshape(field.shape)
    if FORMATS[name].dense and name != "F16":
        swapped = swapped[..., ::-1]
    found = from_blocks(swapped.reshape(blocks.shape), name, byte_order=">")
    np.testing.assert_array_equal(to_blocks(found), blocks)


def test_numbers_of_64_bits_become_the_nearest_floats():
    """Halfway between two, at both ends of the range, and what is no number."""
    floats = [0.0, np.inf, 2.0**128 - 2.0**104, 2.0**128 - 2.0**103 - 2.0**75, 2.0**128 - 2.0**103, 2.0**128, 1e300, 2.0**-126, 2.0**-127, 1e-300]
    floats += [
        (1 + n * 2.0**-24 + sign * tiny) * 2.0**e for n in (1, 2, 3, 2**24 - 1) for sign in (-1, 0, 1) for tiny in (2.0**-30, 2.0**-52) for e in (-126, 0, 100)
    ]
    wholes = [n + d for e in range(25, 63) for n in (2**e, 2**e + 2 ** (e - 24), 2**e + 3 * 2 ** (e - 24), 2 ** (e + 1) - 2 ** (e - 24)) for d in (-1, 0, 1)]
    for name, numbers in (
        ("F64", np.asarray([*floats, *np.negative(floats), np.nan])),
        ("I64", np.asarray([0, 2**63 - 1, -(2**63), *wholes, *np.negative(wholes)])),
    ):
        found = np.asarray(dequantize(from_blocks(numbers[None].view(np.uint8), name)))[0, 0]
        with np.errstate(over="ignore"):
            expected = numbers.astype(np.float32)
        np.testing.assert_array_equal(found, np.where(np.abs(expected) < 2.0**-126, np.copysign(np.float32(0), expected), expected))
        assert (np.signbit(found) == np.signbit(expected))[~np.isnan(expected)].all()


def test_padding_rows_are_zero():
    format_ = FORMATS["Q8_0"]
    arrays = allocate(format_, 1, 17, COLUMNS)
    for a in arrays:
        a.view(np.uint8)[...] = 255
    pack_into(arrays, 0, format_, random_blocks("Q8_0", 0, (1, 17))[0])
    assert all((a[0, 1, ..., 1:] == 0).all() for a in arrays)


def test_sizes_on_the_device_are_the_files():
    for name in FORMATS:
        blocks = random_blocks(name, 0, (2, 32))
        assert from_blocks(blocks, name).nbytes == blocks.nbytes


def test_errors():
    with pytest.raises(ValueError, match="no block format 'Q9'"):
        from_blocks(np.zeros((1, 1, 34), np.uint8), "Q9")
    with pytest.raises(ValueError, match="not a whole number of Q8_0 blocks"):
        from_blocks(np.zeros((1, 1, 35), np.uint8), "Q8_0")
    with pytest.raises(ValueError, match="expected 3 matrices, found 2"):
        from_blocks(iter(np.zeros((2, 1, 34), np.uint8)), "Q8_0", stack=3)
    with pytest.raises(ValueError, match="expected 2 matrices, found more"):
        from_blocks(iter(np.zeros((3, 1, 34), np.uint8)), "Q8_0", stack=2)
    for other in (np.zeros((2, 34), np.uint8), np.zeros((1, 34), np.int8)):
        with pytest.raises(ValueError, match=r"matrix 1 of the stack is .* expected uint8"):
            from_blocks(iter([np.zeros((1, 34), np.uint8), other]), "Q8_0", stack=2)


def test_nvfp4_scales():
    """Every scale byte, by ggml's definition: 127 is zero as 0 is, and the highest bit does not count."""
    blocks = np.zeros((1, 64, 36), np.uint8)
    blocks[0, :, :4] = np.arange(256, dtype=np.uint8).reshape(64, 4)
    blocks[0, :, 4:] = 0x22  # the value 2, which is one
    found = np.asarray(dequantize(from_blocks(blocks, "NVFP4"))).reshape(256, 16)
    for byte in range(256):
        exponent, mantissa = byte >> 3 & 15, byte & 7
        expected = mantissa * 2.0**-9 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
        assert (found[byte] == (0.0 if byte == 127 else expected)).all(), byte
