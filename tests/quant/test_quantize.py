"""Quantizers: the reference's bytes where there is nothing to search for, llama.cpp's errors where there is, and what holds for all of them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import gguf as independent
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiers import FORMATS as CHOSEN
from tiers import telling

from jaxllama.quant import FORMATS, dequantize, from_blocks, quantize

REFERENCE = Path(__file__).parent.parent / "reference"
sys.path.insert(0, str(REFERENCE))
from record_quantizers import EXACT, error, importance, samples  # noqa: E402

RECORDED = json.loads((REFERENCE / "quantizers.json").read_text())
PACKED = [name for name, f in FORMATS.items() if not f.dense]
SAME_BYTES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4")
ROWS, COLUMNS = 4, 512
# The largest error of a number, as a share of the largest magnitude in its block (for formats whose points are spread evenly, half a step).
BOUND = {
    "Q4_0": 1 / 8,
    "Q4_1": 1 / 15,
    "Q5_0": 1 / 16,
    "Q5_1": 1 / 31,
    "Q8_0": 0.52 / 127,
    "MXFP4": 0.26,
    "NVFP4": 0.26,
    "TQ1_0": 0.51,
    "TQ2_0": 0.51,
    "Q2_0": 0.51,
    "Q1_0": 1.0,
    "Q2_K": 0.45,
    "Q3_K": 0.28,
    "Q4_K": 0.14,
    "Q5_K": 0.07,
    "Q6_K": 0.035,
    "IQ4_NL": 0.16,
    "IQ4_XS": 0.16,
}


quantizing = import_module("jaxllama.quant.quantize")  # the package's name for it is the function's
PIECE = quantizing._INNER


@pytest.fixture(scope="module", autouse=True)
def _small_pieces() -> Iterator[None]:
    """Pieces as small as the tests' numbers: what is missing in a piece is filled up with zeros."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizing, "_INNER", 2**12)
        yield


def numbers_of(blocks: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(dequantize(from_blocks(blocks, name)))[0]


def random_rows(seed: int, scale: float, kind: str) -> np.ndarray:
    """f32[ROWS, COLUMNS] that all formats can hold; "coarse" numbers have many equals, also with opposite signs."""
    rng = np.random.default_rng(seed)
    if kind == "coarse":
        return (rng.integers(-3, 4, (ROWS, COLUMNS)) * scale).astype(np.float32)
    x = rng.standard_normal((ROWS, COLUMNS)) if kind == "normal" else rng.standard_t(2, (ROWS, COLUMNS))
    return np.clip(x * scale, -65504, 65504).astype(np.float32)


SCALES = (1e-4, 0.02, 1.0, 300.0)  # with the first some scales are subnormal numbers of 16 bits, and imprecise


def rows_of(scales: tuple[float, ...]) -> st.SearchStrategy[np.ndarray]:
    return st.builds(random_rows, st.integers(0, 2**32), st.sampled_from(scales), st.sampled_from(["normal", "heavy", "coarse"]))


rows = rows_of(SCALES)


@pytest.mark.parametrize("name", SAME_BYTES)
@given(x=rows)
def test_bytes_are_the_references(name, x):
    np.testing.assert_array_equal(quantize(x, name), independent.quants.quantize(x, independent.GGMLQuantizationType[name]))


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
@given(x=rows)
def test_dense_bytes_are_the_references(name, x):
    np.testing.assert_array_equal(quantize(x, name), independent.quants.quantize(x, independent.GGMLQuantizationType[name]).view(np.uint8))


def test_mxfp4_just_below_a_power_of_two():
    """Where the reference's logarithm is rounded up to a whole number."""
    x = np.zeros((64, 32), np.float32)
    x[:, 0] = [np.nextafter(np.float32(2.0**e), np.float32(0)) for e in range(-32, 32)]
    np.testing.assert_array_equal(quantize(x, "MXFP4"), independent.quants.quantize(x, independent.GGMLQuantizationType.MXFP4))


@pytest.mark.parametrize("key", telling(RECORDED, [key for key in RECORDED if key.split()[0] in (*CHOSEN, *EXACT) or key == "IQ1_S normal importance"]))
def test_errors_are_at_most_llama_cpps(key):
    name, sample, *weighted = key.split()
    x, weight = samples()[sample], importance() if weighted else None
    blocks = quantize(x, name, weight)
    if name in EXACT:
        assert hashlib.sha256(blocks).hexdigest()[:16] == RECORDED[key]
    else:
        assert error(blocks, name, x, 1.0 if weight is None else weight) <= 1.01 * RECORDED[key]


@pytest.mark.parametrize("name", telling(BOUND))
@given(x=rows_of(SCALES[1:3]))
def test_no_number_is_far_off(name, x):
    block = FORMATS[name].type.weights
    off = np.abs(numbers_of(quantize(x, name), name) - x).reshape(-1, block)
    largest = np.abs(x).reshape(-1, block).max(-1, keepdims=True)
    span = np.ptp(x.reshape(-1, block), axis=-1)[:, None] if name in ("Q4_1", "Q5_1") else largest
    assert (off <= BOUND[name] * span + 2e-3 * largest + 1e-7).all()


@pytest.mark.parametrize("name", telling([n for n in PACKED if n.startswith("IQ") and n not in BOUND]))
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["normal", "heavy"]))
def test_points_of_a_grid_explain_most_of_the_numbers(name, seed, kind):
    """A group shares points, so that a single number may be far off; all together are not. (No point is zero: beside one far number the others suffer.)"""
    x = random_rows(seed, 0.02, kind)
    left = ((numbers_of(quantize(x, name), name) - x) ** 2).sum() / (x**2).sum()
    limits = {"IQ1": 0.4, "IQ2": 0.2, "IQ3": 0.08} if kind == "normal" else {"IQ1": 0.95, "IQ2": 0.95, "IQ3": 0.25}
    assert left <= limits[name[:3]]


def test_points_of_a_grid_shrink_the_numbers_half_as_much_as_least_squares():
    x = (0.02 * np.random.default_rng(0).standard_normal((32, 512))).astype(np.float32)
    found = numbers_of(quantize(x, "IQ2_XS"), "IQ2_XS")
    assert ((x - found) * x).sum() < 0.33 * ((x - found) ** 2).sum()  # 0.41 without stretching


@pytest.mark.parametrize("name", telling(PACKED))
@given(seed=st.integers(0, 2**32), power=st.integers(-4, 4))
def test_twice_the_numbers_are_twice_the_result(name, seed, power):
    """Powers of two change nothing but scales, as long as those are neither huge nor tiny."""
    if name == "NVFP4":  # whose scales are small floats themselves
        power = abs(power)
    x = random_rows(seed, 16.0, "normal")
    one, other = (numbers_of(quantize(v, name), name) for v in (x, x * np.float32(2.0**power)))
    np.testing.assert_array_equal(other, one * np.float32(2.0**power))


@pytest.mark.parametrize("name", telling(PACKED))
@given(seed=st.integers(0, 2**32))
def test_numbers_on_the_grid_stay_there(name, seed):
    """What a format can hold exactly changes little when it is quantized again: searches weigh errors, and may find another grid nearly as good."""
    x = random_rows(seed, 0.02, "normal")
    once = numbers_of(quantize(x, name), name)
    twice = numbers_of(quantize(once, name), name)
    if name in SAME_BYTES:
        np.testing.assert_array_equal(twice, once)
    else:
        assert ((twice - once) ** 2).sum() <= 0.35 * ((once - x) ** 2).sum()


@pytest.mark.parametrize("name", telling(PACKED))
def test_zeros_stay_zeros(name):
    x = np.zeros((3, 512), np.float32)
    x[1] = 1.0
    for weight in (None, np.ones(512, np.float32)):
        found = numbers_of(quantize(x, name, weight), name)
        assert (found[[0, 2]] == 0).all()
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", telling(PACKED))
def test_rows_do_not_know_of_each_other(name):
    """One row or many, one thread or two, f16 or f32: the same bytes."""
    x = random_rows(5, 0.02, "heavy").astype(np.float16)
    weight = np.random.default_rng(6).exponential(1, COLUMNS).astype(np.float32)
    whole = quantize(x, name, weight)
    np.testing.assert_array_equal(quantize(x.astype(np.float32), name, weight, threads=1), whole)
    np.testing.assert_array_equal(quantize(x[2:3], name, weight)[0], whole[2])
    np.testing.assert_array_equal(quantize(x.reshape(2, 2, COLUMNS), name, weight), whole.reshape(2, 2, -1))
    each = np.broadcast_to(weight, x.shape)
    np.testing.assert_array_equal(quantize(x, name, each), whole)


def test_many_rows_at_once(monkeypatch):
    """In pieces of the usual size, and few of them in small ones: the same bytes."""
    x = np.random.default_rng(9).standard_normal((700, 512)).astype(np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(quantizing, "_INNER", PIECE)
        found = quantize(x, "Q4_K")
    np.testing.assert_array_equal(found[[0, 333, 699]], quantize(x[[0, 333, 699]], "Q4_K"))


def test_bfloat16_numbers():
    x = random_rows(1, 1.0, "normal").astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(quantize(x, "Q5_0"), quantize(x.astype(np.float32), "Q5_0"))


@pytest.mark.parametrize("name", telling(["Q4_0", "Q4_K", "Q6_K", "IQ3_S", "IQ4_XS"]))
def test_importance_spares_what_matters(name):
    x = random_rows(3, 0.02, "normal")
    weight = np.where(np.arange(COLUMNS) % 8 == 0, 50.0, 0.1).astype(np.float32)
    plain, careful = (((numbers_of(quantize(x, name, w), name) - x) ** 2 * weight).sum() for w in (None, weight))
    assert careful < plain


@pytest.mark.parametrize("name", telling(PACKED))
def test_an_importance_of_zero_is_a_small_one(name):
    """Numbers that do not count are rounded all the same, as well as their neighbours let them: evenly where none of a block counts."""
    x = random_rows(4, 0.02, "normal")
    even, group = np.ones(COLUMNS, np.float32), slice(64, 96)
    expected = quantize(x, name, even)
    np.testing.assert_array_equal(quantize(x, name, 0 * even), expected)
    np.testing.assert_array_equal(quantize(x, name, np.where(np.arange(COLUMNS) < 256, 0, even)), expected)
    even[group] = 0
    before, after = (((numbers_of(blocks, name) - x)[:, group] ** 2).sum() for blocks in (expected, quantize(x, name, even)))
    assert after < 1.6 * before


def shape_of_rows(seed: int, kind: str) -> np.ndarray:
    """f32[ROWS, COLUMNS], the largest magnitude of which is 1."""
    rng = np.random.default_rng(seed)
    x = {
        "normal": lambda: rng.standard_normal((ROWS, COLUMNS)),
        "heavy": lambda: rng.standard_cauchy((ROWS, COLUMNS)),
        "equal": lambda: np.broadcast_to(rng.choice([-1.0, 1.0], (ROWS, 1)), (ROWS, COLUMNS)),
        "few": lambda: np.where(rng.random((ROWS, COLUMNS)) < 0.02, 1.0, 0.0),
        "positive": lambda: rng.random((ROWS, COLUMNS)),
    }[kind]()
    return (x / max(np.abs(x).max(), 1e-9)).astype(np.float32)


@pytest.mark.parametrize("name", telling(PACKED))
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["normal", "heavy", "equal", "few", "positive"]),
    power=st.floats(-45, 38.53),
    weighted=st.sampled_from([None, -45, -30, 0, 30, 38]),
)
@example(seed=0, kind="normal", power=-40.0, weighted=None)
@example(seed=0, kind="heavy", power=30.0, weighted=None)
@example(seed=0, kind="normal", power=0.0, weighted=38)
def test_any_finite_numbers_are_held_or_refused(name, seed, kind, power, weighted):
    """However large or small they are, and their importance too."""
    x = (shape_of_rows(seed, kind) * 10.0**power).astype(np.float32)
    weight = None if weighted is None else (np.random.default_rng(seed).random(COLUMNS) * 10.0**weighted).astype(np.float32)
    if np.abs(x).max() > FORMATS[name].largest:
        with pytest.raises(ValueError, match="holds magnitudes up to"):
            quantize(x, name, weight)
        x = np.clip(x, -FORMATS[name].largest, FORMATS[name].largest).astype(np.float32)
    assert np.isfinite(numbers_of(quantize(x, name, weight), name)).all()


@pytest.mark.parametrize("name", telling(n for n in FORMATS if not n.startswith("I") or n in PACKED))
def test_the_largest_number_is_held(name):
    """As well as the same number divided by a power of two; a larger one is refused."""
    largest = np.float32(min(FORMATS[name].largest, np.finfo(np.float32).max))
    x = np.full((ROWS, COLUMNS), largest, np.float32)
    x[1:] *= np.float32(-1)
    less = np.float32(0.5 ** (5 if name == "NVFP4" else np.floor(np.log2(largest))))  # NVFP4's scales are small floats themselves
    for weight in (None, np.ones(COLUMNS, np.float32)):
        whole, small = (numbers_of(quantize(v, name, weight), name) for v in (x, x * less))
        np.testing.assert_allclose(whole * less, small, rtol=1e-3)
    if FORMATS[name].largest < np.finfo(np.float32).max:
        x[2, 7] *= np.float32(1.0001)
        with pytest.raises(ValueError, match=f"number 7 of row 2 is -.*; {name} holds magnitudes up to"):
            quantize(x, name)


def test_doubles_that_are_no_floats():
    x = np.full((1, 256), 1e300)
    for name in ("F32", "MXFP4", "Q4_0"):
        with pytest.raises(ValueError, match="number 0 of row 0 is 1e\\+300"):
            quantize(x, name)
    assert (quantize(x, "F64").view("<f8") == x).all()


def test_whole_numbers():
    x = np.arange(512).reshape(1, 512) % 17 - 8
    np.testing.assert_array_equal(quantize(x, "Q4_0"), quantize(x.astype(np.float32), "Q4_0"))


def test_arrays_of_any_kind():
    x, weight = random_rows(1, 1.0, "normal"), np.arange(1, COLUMNS + 1)
    np.testing.assert_array_equal(quantize(jnp.asarray(x), "Q4_0", weight.tolist()), quantize(x, "Q4_0", weight.astype(np.float32)))  # pyright: ignore[reportArgumentType]


def test_no_numbers():
    for name, shape, expected in (("Q4_0", (0, 64), (0, 36)), ("Q4_K", (3, 0), (3, 0)), ("F16", (2, 0, 4), (2, 0, 8))):
        assert quantize(np.zeros(shape, np.float32), name, np.ones(shape, np.float32)).shape == expected


def test_errors():
    x = np.ones((3, 512), np.float32)
    with pytest.raises(ValueError, match="no block format 'Q9'"):
        quantize(x, "Q9")
    with pytest.raises(ValueError, match="Q4_K needs rows of a multiple of 256 numbers, found shape \\(3, 300\\)"):
        quantize(x[:, :300], "Q4_K")
    with pytest.raises(ValueError, match="I32 is an integer type"):
        quantize(x, "I32")
    for kind in (np.complex64, np.object_, np.str_):
        with pytest.raises(ValueError, match="quantize rounds an array of real numbers, not of "):
            quantize(x.astype(kind), "F16")
        with pytest.raises(ValueError, match="importance is an array of real numbers, not of "):
            quantize(x, "Q4_K", x[0].astype(kind))
    for bad, word in ((np.nan, "nan"), (np.inf, "inf")):
        broken = x.copy()
        broken[2, 7] = bad
        for name in ("Q4_0", "Q4_K", "F16"):
            with pytest.raises(ValueError, match=f"number 7 of row 2 is {word}"):
                quantize(broken, name)
    for weight in (np.ones(511, np.float32), np.ones((2, 1, 512), np.float32), -np.ones(512, np.float32), np.full(512, np.nan, np.float32)):
        with pytest.raises(ValueError, match="importance"):
            quantize(x, "Q4_K", weight)
