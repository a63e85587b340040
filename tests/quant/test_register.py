"""A block format of the user's own: in blocks, products, rows, files and mixtures."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxllama
from jaxllama.decode import Programs
from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, TENSOR_TYPES
from jaxllama.quant import FORMATS
from jaxllama.quant.mixtures import FILE_TYPES, Choices

WEIGHTS = 32


def dequantize(parts):
    """Square roots: codes of eight bits, with their signs, of the square roots of the numbers' shares of the largest."""
    codes = parts["codes"].astype(jnp.float32)
    return parts["largest"].astype(jnp.float32) * codes * jnp.abs(codes) / 127**2


def quantize(x, importance):
    largest = jnp.maximum(jnp.abs(x).max(0, keepdims=True), 1e-6).astype(jnp.float16)
    shares = x / largest.astype(jnp.float32)
    codes = jnp.round(jnp.sign(shares) * jnp.sqrt(jnp.abs(shares)) * 127).clip(-127, 127).astype(jnp.int8)
    head = jax.lax.bitcast_convert_type(largest, jnp.uint8)[0].T
    return jnp.concatenate([head, jax.lax.bitcast_convert_type(codes, jnp.uint8)])


TABLE = {"weights": WEIGHTS, "parts": {"largest": ("f2", 1), "codes": ("i1", WEIGHTS)}, "dequantize": dequantize}


@pytest.fixture
def root(monkeypatch):
    """The format's name, for this test only."""
    for table in (FORMATS, FILE_TYPES, TENSOR_TYPES, TENSOR_TYPE_NAMES):
        before = dict(table)
        monkeypatch.setattr(f"{__name__}._tables", [*_tables, (table, before)])
    jaxllama.register_format("ROOT8", id=1008, quantize=quantize, **TABLE)
    yield "ROOT8"
    for table, before in _tables:
        table.clear()
        table.update(before)


_tables: list = []


def expected(blocks: np.ndarray) -> np.ndarray:
    """The same in numpy, for blocks uint8[..., bytes]."""
    each = blocks.reshape(*blocks.shape[:-1], -1, 34)
    largest = np.ascontiguousarray(each[..., :2]).view(np.float16).astype(np.float32)
    codes = np.ascontiguousarray(each[..., 2:]).view(np.int8).astype(np.float32)
    return (largest * codes * np.abs(codes) / 127**2).reshape(*blocks.shape[:-1], -1)


def test_blocks_products_and_rows(root):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((19, 3 * WEIGHTS)).astype(np.float32)
    blocks = jaxllama.quantize(x, "root8")
    assert blocks.shape == (19, 3 * 34)
    assert np.abs(expected(blocks) - x).max() < 0.1
    weight = jaxllama.from_blocks(blocks, root)
    np.testing.assert_array_equal(jaxllama.to_blocks(weight)[0], blocks)
    np.testing.assert_allclose(jaxllama.dequantize(weight)[0], expected(blocks), rtol=1e-6)
    np.testing.assert_allclose(jaxllama.qtake(weight, jnp.asarray([17, 3])), expected(blocks)[[17, 3]], rtol=1e-6)
    for rows in (1, 40):
        y = rng.standard_normal((rows, 3 * WEIGHTS)).astype(np.float32)
        np.testing.assert_allclose(jaxllama.qmatmul(jnp.asarray(y), weight, exact=True), y @ expected(blocks).T, atol=1e-4)
        np.testing.assert_allclose(jaxllama.qmatmul(jnp.asarray(y), weight), y @ expected(blocks).T, atol=0.2)
    gradient = jax.grad(lambda v: jaxllama.qmatmul(v, weight, exact=True).sum())(jnp.ones(3 * WEIGHTS))
    np.testing.assert_allclose(gradient, expected(blocks).sum(0), atol=1e-4)


def test_files_and_mixtures(root, tmp_path):
    """Most of a model in the format, its output in another; the file is read as it was written, by its number."""
    source = jaxllama.embedded_model()
    made = jaxllama.quantize_file(source, tmp_path / "a.gguf", root, allow_requantize=True, choices=Choices(output="Q8_0", token_embedding="Q4_0"))
    file = jaxllama.open_gguf(made)
    kinds = {name: tensor.type.name for name, tensor in file.tensors.items()}
    assert {kinds["blk.0.attn_q.weight"], kinds["blk.0.ffn_down.weight"]} == {root}
    assert kinds["token_embd.weight"] == "Q4_0"
    assert file.get("general.file_type") == 1008
    assert file.tensors["blk.0.attn_q.weight"].type.id == 1008
    other = jaxllama.quantize_file(source, tmp_path / "b.gguf", "Q8_0", allow_requantize=True, choices=Choices(patterns=(("ffn_down", root),)))
    kinds = {name: tensor.type.name for name, tensor in jaxllama.open_gguf(other).tensors.items()}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.attn_q.weight"]) == (root, "Q8_0")
    old, new = (jaxllama.open_gguf(path) for path in (source, made))
    name = "blk.0.attn_q.weight"
    blocks = new.data(name).reshape(-1, new.tensors[name].shape[-1] // WEIGHTS * 34)
    before = jaxllama.from_blocks(old.data(name).reshape(len(blocks), -1), old.tensors[name].type.name)
    np.testing.assert_allclose(expected(blocks), jaxllama.dequantize(before)[0], atol=0.1)


@pytest.mark.exhaustive
def test_a_model_runs(root, tmp_path, story_model):
    made = jaxllama.quantize_file(jaxllama.embedded_model(), tmp_path / "a.gguf", root, allow_requantize=True)
    logits = jaxllama.load(made, n_ctx=64, exact=True).logits("Once upon a time")
    assert (logits.argmax(-1) == story_model.logits("Once upon a time").argmax(-1)).all()


def test_functions_may_be_given_anew(root):
    blocks = jaxllama.quantize(np.ones(WEIGHTS, np.float32), root)
    weight = jaxllama.from_blocks(blocks, root)
    assert jaxllama.dequantize(weight).max() == pytest.approx(1)
    jaxllama.register_format(root, id=1008, **{**TABLE, "dequantize": lambda parts: 2 * dequantize(parts)})
    assert jaxllama.dequantize(weight).max() == pytest.approx(2)
    with pytest.raises(ValueError, match="was registered without a quantizer"):
        jaxllama.quantize(np.ones(WEIGHTS, np.float32), root)


def test_programs_that_were_compiled_before_use_the_new_functions(root):
    jax.clear_caches()  # of the tests before
    weight = jaxllama.from_blocks(jaxllama.quantize(np.ones(WEIGHTS, np.float32), root), root)
    programs, unpack = Programs(), jax.jit(jaxllama.dequantize)
    assert programs(unpack, weight).max() == pytest.approx(1)
    jaxllama.register_format(root, id=1008, **{**TABLE, "dequantize": lambda parts: 2 * dequantize(parts)})
    assert programs(unpack, weight).max() == pytest.approx(2)
    assert (programs(unpack, weight).max(), programs.count) == (pytest.approx(2), 2)


@pytest.mark.parametrize("changed", [{name: odd} for name in ("id", "weights", "parts", "dequantize", "quantize", "largest") for odd in ("a", True, 2j, [1])])
def test_arguments_of_other_types(root, changed):
    with pytest.raises(TypeError, match="OTHER: expected whole numbers as id and weights"):
        jaxllama.register_format("OTHER", **{"id": 1009, "quantize": quantize, **TABLE, **changed})
    assert "OTHER" not in FORMATS


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("OTHER", {"parts": {"x": 1}}, "part 'x' of OTHER has one of the types"),
        ("OTHER", {"parts": {"x": ("u1", 1.5)}}, "part 'x' of OTHER has one of the types"),
        ("OTHER", {"parts": {1: ("u1", 1)}}, "part '1' of OTHER has one of the types"),
        ("OTHER", {"dequantize": lambda parts: None}, "dequantize of OTHER makes None of 3 blocks"),
        ("Q4_0", {}, "there is a format Q4_0 with other blocks"),
        ("ROOT8", {"weights": 64}, "there is a format ROOT8 with other blocks"),
        ("OTHER", {"id": 2}, "GGUF's .*Q4_0.* has its number"),
        ("OTHER", {"id": -1}, "the number of a tensor type is from 0"),
        ("a b", {}, "a format's name has capitals"),
        ("OTHER", {"parts": {"x": ("f8", 1)}}, "part 'x' of OTHER has one of the types"),
        ("OTHER", {"parts": {}}, "OTHER needs parts"),
        ("OTHER", {"dequantize": lambda parts: parts["codes"]}, r"dequantize of OTHER makes int8\[32, 3\] of 3 blocks, expected float32\[32, 3\]"),
        ("OTHER", {"quantize": lambda x, importance: x}, r"quantize of OTHER makes float32\[32, 3\] of 3 blocks, expected uint8\[34, 3\]"),
    ],
)
def test_what_is_no_format_is_told(root, name, changed, message):
    with pytest.raises(ValueError, match=message):
        jaxllama.register_format(name, **{"id": 1009, "quantize": quantize, **TABLE, **changed})
    assert "OTHER" not in FORMATS
    assert 1009 not in TENSOR_TYPES
