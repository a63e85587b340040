"""From file to parameters: what is stored comes in whole, what does not fit is refused by name."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import telling

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, Field, GGUFError, TensorData, ValueType, field_of, open_gguf, write_gguf, write_split
from jaxllama.models import forward, init_state, load_params, read_config
from jaxllama.models.parameters import leaves
from jaxllama.quant import FORMATS, LayerStack

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))
from models import TOKENS, write_model  # type: ignore[import-not-found]


def parts(path: Path) -> tuple[list[Field], list[TensorData]]:
    file = open_gguf(path)
    return list(file.fields.values()), [TensorData(t.name, t.shape, t.type, file.data(t.name)) for t in file.tensors.values()]


def logits(path: Path) -> np.ndarray:
    file = open_gguf(path)
    config = replace(read_config(file), exact=True)
    params = load_params(file, config)
    state = init_state(config, n_ctx=64, padding=32, cache_type="f32")
    found, _ = jax.jit(partial(forward, config=config))(params, state, jnp.asarray([TOKENS], jnp.int32))
    return np.asarray(found[0])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "llama.gguf"
    write_model("llama", path)
    return path


def test_big_endian_files_and_split_files_are_the_same_model(tiny, tmp_path):
    fields, tensors = parts(tiny)
    expected = logits(tiny)
    swapped = [replace(t, data=np.ascontiguousarray(t.data).view("<u4").byteswap().view(np.uint8)) for t in tensors]
    write_gguf(tmp_path / "big.gguf", fields, swapped, byte_order=">")
    np.testing.assert_array_equal(logits(tmp_path / "big.gguf"), expected)
    first, *rest = write_split(tmp_path / "split", fields, tensors, max_tensors=10)
    assert len(rest) > 2
    np.testing.assert_array_equal(logits(first), expected)


def test_half_precision_files(tiny, tmp_path):
    """Every matrix stored as F16 or BF16 gives nearly the same logits."""
    fields, tensors = parts(tiny)
    expected = logits(tiny)
    for kind, limit in (("F16", 1e-5), ("BF16", 1e-3)):
        halves = []
        for t in tensors:
            x = np.ascontiguousarray(t.data).view(np.float32)
            half = x.astype(np.float16) if kind == "F16" else (x.view(np.uint32) + 0x8000 >> 16).astype(np.uint16)
            halves.append(replace(t, type=TENSOR_TYPE_NAMES[kind], data=half.view(np.uint8)) if len(t.shape) == 2 else t)
        write_gguf(tmp_path / "half.gguf", fields, halves)
        found = logits(tmp_path / "half.gguf")
        assert ((found - expected) ** 2).sum() / (expected**2).sum() < limit


def test_weights_stay_packed_and_small(story_model):
    for name, leaf in leaves(story_model.params):
        if name != "output_norm" and "norm" not in name:
            assert leaf.format == "Q8_0", name
    resident = sum(leaf.nbytes for leaf in jax.tree.leaves(story_model.params))
    assert resident < 1.05 * sum(t.nbytes for t in story_model.file.tensors.values())


def test_formats_may_differ_between_layers(tmp_path, tiny):
    """A role stored as F32 in some layers and F16 in others becomes two stacks."""
    fields, tensors = parts(tiny)
    mixed = []
    for t in tensors:
        if t.name in ("blk.1.ffn_down.weight", "blk.3.ffn_down.weight"):
            t = replace(t, type=TENSOR_TYPE_NAMES["F16"], data=np.ascontiguousarray(t.data).view(np.float32).astype(np.float16).view(np.uint8))
        mixed.append(t)
    write_gguf(tmp_path / "mixed.gguf", fields, mixed)
    file = open_gguf(tmp_path / "mixed.gguf")
    stack = load_params(file, read_config(file))["blocks"][0]["ffn_down"]
    assert isinstance(stack, LayerStack)
    assert stack.formats == ("F32", "F16", "F32", "F16")
    found, expected = logits(tmp_path / "mixed.gguf"), logits(tiny)
    assert ((found - expected) ** 2).sum() / (expected**2).sum() < 1e-5


def test_progress_reaches_the_end(tiny):
    file = open_gguf(tiny)
    seen = []
    load_params(file, read_config(file), lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == sum(t.nbytes for t in file.tensors.values())
    assert seen == sorted(seen)


def changed(tiny: Path, tmp_path: Path, edit) -> Path:
    fields, tensors = parts(tiny)
    write_gguf(tmp_path / "changed.gguf", *edit(fields, tensors))
    return tmp_path / "changed.gguf"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f, t: (f, t[:-1]), r"tensor 'blk\.3\.ffn_down\.weight': expected shape \(64, 96\), found no such tensor"),
        (lambda f, t: (f, [*t, replace(t[0], name="mystery.weight")]), r"tensor 'mystery\.weight'.*1 it does not have"),
        (lambda f, t: (f, [replace(x, shape=x.shape[::-1]) if "ffn_up" in x.name else x for x in t]), r"shape \(96, 64\), found shape \(64, 96\)"),
        (
            lambda f, t: (
                f,
                [replace(x, type=TENSOR_TYPE_NAMES["Q8_1"], data=np.zeros(x.shape[0] * 72, np.uint8)) if x.name == "token_embd.weight" else x for x in t],
            ),
            r"tensor 'token_embd\.weight': expected a format among F32.*found Q8_1",
        ),
    ],
)
def test_tensors_that_do_not_fit(tiny, tmp_path, edit, message):
    with pytest.raises(GGUFError, match=message):
        logits(changed(tiny, tmp_path, edit))


def test_unknown_architectures_are_named(tiny, tmp_path):
    path = changed(tiny, tmp_path, lambda f, t: ([field_of("general.architecture", "lama"), *f[1:]], t))
    with pytest.raises(GGUFError, match=r"a supported architecture .*gemma2, .*llama, .*qwen2, qwen3.*found lama; do you mean llama\?"):
        logits(path)


KEYS = (
    "embedding_length block_count feed_forward_length attention.head_count attention.head_count_kv attention.layer_norm_rms_epsilon "
    "rope.dimension_count rope.freq_base rope.scaling.type rope.scaling.factor context_length expert_count expert_used_count attention.key_length "
    "attention.sliding_window vocab_size rope.scaling.original_context_length attention.scale"
).split()
VALUES = (0, 1, 3, 64, -1, 2**31, 2**63 - 1, 0.0, -1.5, float("inf"), float("nan"), 1e300, True, "", "yarn", [1, 2], ["a"], [])


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), min_size=1, max_size=3))
def test_hostile_metadata(tiny, values):
    """Any values: a sound configuration, or one exception; nothing hangs, and nothing large is made."""

    def typed(value):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return field_of("x", value)
        return field_of("x", value, ValueType.INT64 if isinstance(value, int) else ValueType.FLOAT64)

    overrides = [replace(typed(value), key=f"llama.{key}") for key, value in values.items()]
    file = open_gguf(tiny, overrides=overrides)
    try:
        config = read_config(file)
        load_params(file, config)
        rope = config.layers[0].mixer.rope
        assert rope is not None
        frequencies, growth = rope.frequencies()
    except GGUFError:
        return
    assert len(frequencies) == rope.dims // 2
    assert isinstance(growth, float)


def test_the_scale_of_the_output_matrix_scales_logits(tmp_path):
    write_model("llama-untied-bias", tmp_path / "plain.gguf")
    fields, tensors = parts(tmp_path / "plain.gguf")
    scale = TensorData("output.scale", (1,), TENSOR_TYPE_NAMES["F32"], np.asarray([2.5], np.float32).view(np.uint8))
    unread = replace(scale, name="blk.0.attn_q.input_scale", data=np.asarray([np.nan], np.float32).view(np.uint8))
    write_gguf(tmp_path / "scaled.gguf", fields, [*tensors, scale, unread])
    np.testing.assert_allclose(logits(tmp_path / "scaled.gguf"), 2.5 * logits(tmp_path / "plain.gguf"), rtol=1e-6)


@pytest.mark.parametrize("name", telling([name for name, format_ in FORMATS.items() if not format_.dense], ("Q4_0", "Q4_K", "IQ2_XS")))
def test_every_format_loads_in_a_model(name, tmp_path):
    """A model whose matrices are random blocks of a format runs, with finite logits, in the default and in the exact mode alike."""
    rng = np.random.default_rng(0)
    width, forward_width, format_ = 256, 512, FORMATS[name]

    def matrix(tensor: str, rows: int, columns: int) -> TensorData:
        count = columns // format_.type.weights
        blocks = rng.integers(0, 256, (rows, count, format_.type.bytes), dtype=np.uint8)
        for part in format_.parts:
            if part.dtype == "f2":
                scale = (rng.random((rows, count)) * 2e-4).astype(np.float16)
                blocks[..., part.offset : part.offset + 2] = scale[..., None].view(np.uint8)
        if name == "MXFP4":
            blocks[..., 0] = 120  # 2^-8
        if name == "NVFP4":
            blocks[..., :4] = 1  # 2^-9
        if name == "IQ1_M":  # the upper half of d, an f16 of about 2e-4, lies in two nibbles
            blocks[..., 53] = blocks[..., 53] & 15 | 0xA0
            blocks[..., 55] = blocks[..., 55] & 15
        return TensorData(tensor, (rows, columns), format_.type, blocks.reshape(rows, -1))

    def vector(tensor: str, size: int) -> TensorData:
        return TensorData(tensor, (size,), TENSOR_TYPE_NAMES["F32"], np.ones(size, np.float32).view(np.uint8))

    tensors = [matrix("token_embd.weight", 40, width), vector("output_norm.weight", width)]
    for role, rows, columns in (
        ("attn_q", width, width), ("attn_k", width, width), ("attn_v", width, width), ("attn_output", width, width),
        ("ffn_gate", forward_width, width), ("ffn_up", forward_width, width), ("ffn_down", width, forward_width),
    ):  # fmt: skip
        tensors.append(matrix(f"blk.0.{role}.weight", rows, columns))
    tensors += [vector("blk.0.attn_norm.weight", width), vector("blk.0.ffn_norm.weight", width)]
    metadata = {
        "general.architecture": "llama", "llama.embedding_length": width, "llama.block_count": 1, "llama.feed_forward_length": forward_width,
        "llama.attention.head_count": 4, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": 40,
    }  # fmt: skip
    write_gguf(tmp_path / "model.gguf", [field_of(k, v) for k, v in metadata.items()], tensors)
    file = open_gguf(tmp_path / "model.gguf")
    config = read_config(file)
    params = load_params(file, config)
    found = []
    for exact in (False, True):
        config = replace(config, exact=exact)
        state = init_state(config, n_ctx=64, padding=32)
        logits, _ = jax.jit(partial(forward, config=config))(params, state, jnp.asarray([[1, 5, 7]], jnp.int32))
        found.append(np.asarray(logits))
    assert np.isfinite(found[1]).all()
    assert ((found[0] - found[1]) ** 2).sum() / (found[1] ** 2).sum() < 1e-2
