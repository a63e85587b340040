"""Files to smaller files: what is in them, and that nothing half-done is left behind."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest

import jaxllama
from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, GGUFError, TensorData, ValueType, field_of, open_gguf, write_gguf, write_split
from jaxllama.formats.importance import Entry, ImportanceMatrix, write_importance
from jaxllama.quant import quantize
from jaxllama.quant.mixtures import Choices, Given, ModelFacts, choose, without_effect
from jaxllama.quant.quantize_file import check_tensor, numbers, plan_file, quantize_file, write_plan

SHAPES = {"token_embd.weight": (32, 256), "output_norm.weight": (256,)} | {
    f"blk.{i}.{name}": shape
    for i in range(3)
    for name, shape in {
        "attn_norm.weight": (256,),
        "attn_v.weight": (64, 256),
        "ffn_up.weight": (512, 256),
        "ffn_down.weight": (256, 512),
        "ffn_down_exps.weight": (2, 32, 256),
    }.items()
}


def make(path, *, dtype=np.float16, broken: str | None = None, split: bool = False, more: dict | None = None):
    """A file with a llama's tensors; `broken` names one that gets a NaN, `more` are keys of its metadata."""
    rng = np.random.default_rng(0)
    tensors = []
    for name, shape in SHAPES.items():
        x = (0.02 * rng.standard_normal(shape)).astype(np.float32 if len(shape) == 1 else dtype)
        if name == broken:
            x.reshape(-1)[300 % x.size] = np.nan
        kind = {2: "F16", 4: "F32"}[x.dtype.itemsize]
        tensors.append(TensorData(name, shape, TENSOR_TYPE_NAMES[kind], x.view(np.uint8)))
    keys = {"general.architecture": "llama", "llama.block_count": 3, "llama.attention.head_count": 4} | (more or {})
    fields = [field_of(key, value) for key, value in keys.items()]
    if split:
        return open_gguf(write_split(path, fields, tensors, max_tensors=7)[0])
    write_gguf(path, fields, tensors)
    return open_gguf(path)


def importance(columns_of=SHAPES) -> ImportanceMatrix:
    rng = np.random.default_rng(1)
    entries = {}
    for name, shape in columns_of.items():
        experts = shape[0] if len(shape) == 3 else 1
        entries[name] = Entry(rng.exponential(8, (experts, shape[-1])).astype(np.float32), np.full(experts, 8))
    return ImportanceMatrix(entries, ["text"], 4, 2)


def test_every_tensor_is_what_quantize_makes_of_it(tmp_path):
    file = make(tmp_path / "in.gguf")
    plan = plan_file(file, "Q4_K_M")
    assert write_plan(file, plan, tmp_path / "out.gguf") == [tmp_path / "out.gguf"]
    out = open_gguf(tmp_path / "out.gguf")
    assert out.require("general.file_type") == 15
    assert out.require("general.quantization_version") == 2
    assert list(out.tensors) == sorted(out.tensors, key=lambda n: (int(n.split(".")[1]) if n.startswith("blk") else -1, n))
    for step in plan.steps:
        assert out.tensors[step.name].type.name == step.format
        if step.changes:
            expected = quantize(numbers(file, step.source), step.format)
        else:
            expected = file.data(step.name)
        np.testing.assert_array_equal(out.data(step.name).reshape(expected.shape), expected)
    assert plan.new_bytes == sum(t.nbytes for t in out.tensors.values())
    assert plan.old_bytes == sum(t.nbytes for t in file.tensors.values())


@pytest.mark.parametrize(
    ("kv", "expected"),
    [(None, "Q3_K"), (1, "Q4_K"), (np.asarray([1, 1, 1], np.int32), "Q4_K"), (0, "Q3_K")],
    ids=["as many", "one", "by layer", "none"],
)
def test_the_models_heads_decide(tmp_path, kv, expected):
    """A value projection that four heads share gets more bits."""
    file = make(tmp_path / "in.gguf", more={} if kv is None else {"llama.attention.head_count_kv": kv})
    assert {s.name: s.format for s in plan_file(file, "Q2_K").steps}["blk.0.attn_v.weight"] == expected


def test_an_importance_matrix_decides_too(tmp_path):
    file = make(tmp_path / "in.gguf")
    for matrix, expected in ((None, "IQ3_S"), (importance(), "IQ3_XXS")):
        assert {s.name: s.format for s in plan_file(file, "IQ3_XXS", importance=matrix).steps}["blk.0.attn_v.weight"] == expected


def test_big_endian_files(tmp_path):
    x = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float16)
    for order in "<>":
        data = x.astype(f"{order}f2").view(np.uint8)
        tensors = [TensorData("a.weight", x.shape, TENSOR_TYPE_NAMES["F16"], data)]
        write_gguf(tmp_path / f"{ord(order)}.gguf", [field_of("general.architecture", "llama")], tensors, byte_order=order)
        file = open_gguf(tmp_path / f"{ord(order)}.gguf")
        found = numbers(file, file.tensors["a.weight"])
        np.testing.assert_array_equal(found, x)
        assert found.dtype == (np.float16 if order == "<" else np.float32)


def test_importance_reaches_every_expert(tmp_path):
    file, matrix = make(tmp_path / "in.gguf"), importance()
    plan = plan_file(file, "Q4_0", importance=matrix, importance_path="imatrix.gguf")
    write_plan(file, plan, tmp_path / "out.gguf")
    out = open_gguf(tmp_path / "out.gguf")
    name = "blk.1.ffn_down_exps.weight"
    assert out.tensors[name].type.name == "Q4_0"
    x = numbers(file, file.tensors[name]).reshape(SHAPES[name])
    expected = np.stack([quantize(x[e], "Q4_0", matrix.entries[name].mean()[e]) for e in range(2)])
    np.testing.assert_array_equal(out.data(name), expected)
    assert [out.require(f"quantize.imatrix.{key}") for key in ("file", "dataset", "entries_count", "chunks_count")] == ["imatrix.gguf", "text", len(SHAPES), 4]


def test_layers_left_out(tmp_path):
    file = make(tmp_path / "in.gguf")
    write_plan(file, plan_file(file, "Q8_0", prune=[1]), tmp_path / "out.gguf")
    out = open_gguf(tmp_path / "out.gguf")
    assert out.require("llama.block_count") == 2
    assert {n.split(".")[1] for n in out.tensors if n.startswith("blk")} == {"0", "1"}
    expected = quantize(numbers(file, file.tensors["blk.2.ffn_up.weight"]), "Q8_0")
    np.testing.assert_array_equal(out.data("blk.1.ffn_up.weight"), expected)
    with pytest.raises(GGUFError, match="--prune-layers: expected layers from 0 to 2, found 7"):
        plan_file(file, "Q8_0", prune=[7])


def test_as_many_files_as_before(tmp_path):
    file = make(tmp_path / "in", split=True, more={"general.alignment": 64})
    paths = write_plan(file, plan_file(file, "Q5_0"), str(tmp_path / "out"), keep_split=True)
    assert [p.name for p in paths] == ["out-00001-of-00003.gguf", "out-00002-of-00003.gguf", "out-00003-of-00003.gguf"]
    out = open_gguf(paths[0])
    assert set(out.tensors) == set(file.tensors)
    assert all(out.tensors[n].shard == file.tensors[n].shard for n in SHAPES)
    assert all({k for k in s.fields if not k.startswith("split.")} == {"general.alignment"} for s in out.shards[1:])
    whole = write_plan(file, plan_file(file, "Q5_0"), tmp_path / "whole.gguf")[0]
    for name in SHAPES:
        np.testing.assert_array_equal(open_gguf(whole).data(name), out.data(name))


def test_copy_changes_nothing(tmp_path):
    file = make(tmp_path / "in.gguf")
    write_plan(file, plan_file(file, "COPY", overrides=[field_of("general.name", "new")]), tmp_path / "out.gguf")
    out = open_gguf(tmp_path / "out.gguf")
    assert out.require("general.name") == "new"
    for name in SHAPES:
        np.testing.assert_array_equal(out.data(name), file.data(name))


@pytest.mark.exhaustive
def test_the_quantized_embedded_model_expects_the_same(tmp_path, story_model):
    with pytest.raises(GGUFError, match="--allow-requantize"):
        quantize_file(jaxllama.embedded_model(), tmp_path / "small.gguf", "Q4_K_M")
    with pytest.raises(GGUFError, match=r"expected an importance matrix \(--imatrix\) for IQ2_XS"):
        quantize_file(jaxllama.embedded_model(), tmp_path / "small.gguf", "IQ2_XS", allow_requantize=True)
    quantize_file(jaxllama.embedded_model(), tmp_path / "small.gguf", "q5_k", allow_requantize=True)
    text = "Once upon a time there was a brave fox named Nora. One day, Nora lost her red ball. She looked under the big tree."
    found = jaxllama.load(tmp_path / "small.gguf", n_ctx=256).logits(text).argmax(-1)
    assert (found == story_model.logits(text).argmax(-1)).mean() > 0.85


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_numbers_that_are_none(tmp_path, dtype):
    name = "blk.1.ffn_up.weight"
    file = make(tmp_path / "in.gguf", dtype=dtype, broken=name)
    before = hashlib.sha256((tmp_path / "in.gguf").read_bytes()).hexdigest()
    for kind in ("Q4_K_M", "COPY", "F32"):
        with pytest.raises(GGUFError, match=f"in.gguf: tensor '{name}'") as caught:
            write_plan(file, plan_file(file, kind), tmp_path / "out.gguf")
        assert "nan" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.gguf"]
    assert hashlib.sha256((tmp_path / "in.gguf").read_bytes()).hexdigest() == before
    with pytest.raises(GGUFError, match="row 1, column 44: expected a finite number"):
        check_tensor(file, file.tensors[name])


def test_a_number_that_is_too_large_names_its_tensor(tmp_path):
    x = np.ones((4, 256), np.float32)
    x[3, 5] = 1e30
    write_gguf(tmp_path / "in.gguf", [field_of("general.architecture", "llama")], [TensorData("a.weight", x.shape, TENSOR_TYPE_NAMES["F32"], x.view(np.uint8))])
    for kind in ("Q4_0", "F16"):
        with pytest.raises(GGUFError, match=f"tensor 'a.weight'.*number 5 of row 3 is 1.*e\\+30; {kind} holds magnitudes up to"):
            quantize_file(tmp_path / "in.gguf", tmp_path / "out.gguf", kind)
    assert not (tmp_path / "out.gguf").exists()


def test_the_plan_says_what_it_does_not_know(tmp_path):
    file, matrix = make(tmp_path / "in.gguf"), importance()
    assert plan_file(file, "Q4_0", importance=matrix, overrides=[field_of("llama.block_count", 3)]).notes == []
    plan = plan_file(file, "Q4_0", importance=importance({**SHAPES, "other.weight": (4, 256)}), overrides=[field_of("llama.blocks", 3)])
    assert plan.notes == [
        "the importance matrix has 1 entries for tensors that the model lacks: other.weight",
        "--override-kv: the file has no 'llama.blocks'; it is added",
    ]


def test_the_importance_matrix_is_a_file(tmp_path):
    make(tmp_path / "in.gguf")
    write_importance(importance(), tmp_path / "imatrix.gguf")
    found = open_gguf(quantize_file(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q4_0", importance=tmp_path / "imatrix.gguf"))
    assert found.require("quantize.imatrix.file") == str(tmp_path / "imatrix.gguf")
    assert open_gguf(quantize_file(tmp_path / "in.gguf", tmp_path / "two.gguf", "Q4_0", importance=importance())).require("quantize.imatrix.file") == ""


def test_what_has_no_effect_is_a_warning(tmp_path):
    make(tmp_path / "in.gguf")
    with pytest.warns(UserWarning, match="--tensor-type blk.7=Q8_0 has no effect: no tensor has such a name"):
        quantize_file(tmp_path / "in.gguf", tmp_path / "out.gguf", "Q4_0", choices=Choices(patterns=(("blk.7", "Q8_0"), ("ffn", "Q8_0"))))


def test_the_embeddings_take_the_outputs_place(tmp_path):
    """Where the model has no other output matrix; in all other cases its format is told to have no effect."""
    given = [Given("token_embd.weight", (64, 256), "F16"), Given("blk.0.ffn_up.weight", (64, 256), "F16")]
    model, choices = ModelFacts("llama", 1, 1, 0), Choices(output="Q8_0", keep_output=True)
    told = without_effect(given, model, "Q4_K_M", choices)
    assert told == ["--leave-output-tensor has no effect: the model has no output.weight"]
    assert choose(given, model, "Q4_K_M", choices)["token_embd.weight"] == "Q8_0"
    assert len(without_effect(given, model, "Q4_K_M", replace(choices, pure=True))) == 2
    assert len(without_effect(given, model, "F16", Choices(patterns=(("ffn", "Q8_0"),)))) == 1
    assert without_effect(given[1:], model, "Q4_0", Choices(token_embedding="Q8_0")) == [
        "--token-embedding-type has no effect: no tensor of that kind is quantized"
    ]


def test_check_tensors_when_loading(tmp_path):
    file = open_gguf(jaxllama.embedded_model())
    tensors = [TensorData(t.name, t.shape, t.type, file.data(t.name).copy()) for t in file.tensors.values()]
    broken = next(t for t in tensors if t.name == "blk.2.ffn_up.weight")
    assert isinstance(broken.data, np.ndarray)
    broken.data.reshape(-1)[:2] = np.asarray([np.inf], np.float16).view(np.uint8)
    write_gguf(tmp_path / "model.gguf", file.fields.values(), tensors)
    jaxllama.load(tmp_path / "model.gguf", n_ctx=64)
    with pytest.raises(GGUFError, match=r"tensor 'blk.2.ffn_up.weight', row 0, column 0: expected a finite number"):
        jaxllama.load(tmp_path / "model.gguf", n_ctx=64, check_tensors=True)


def test_an_importance_matrix_of_another_model(tmp_path):
    file = make(tmp_path / "in.gguf")
    other = importance({**SHAPES, "blk.0.ffn_up.weight": (512, 128)})
    with pytest.raises(GGUFError, match=r"importance of 'blk.0.ffn_up.weight': expected 256 values \(1 x 256\), found 128: .*another model"):
        plan_file(file, "Q4_0", importance=other)
    embeddings = importance({**SHAPES, "token_embd.weight": (32, 128)})  # which llama.cpp tells nothing of
    assert plan_file(file, "Q4_0", importance=embeddings).missing == ["token_embd.weight"]
    plan = plan_file(file, "IQ2_XS", importance=ImportanceMatrix())
    assert len(plan.missing) == sum(s.changes for s in plan.steps)
    assert "blk.0.ffn_up.weight" in plan.needs_importance


def test_a_format_that_does_not_fit(tmp_path):
    write_gguf(
        tmp_path / "in.gguf",
        [field_of("general.architecture", "llama")],
        [TensorData("output.weight", (4, 48), TENSOR_TYPE_NAMES["F32"], np.zeros(768, np.uint8))],
    )
    file = open_gguf(tmp_path / "in.gguf")
    assert plan_file(file, "Q4_K_M").steps[0].format == "F16"
    with pytest.raises(GGUFError, match=r"tensor 'output.weight': expected rows of a multiple of 256 numbers for Q4_K, found 48 columns"):
        plan_file(file, "Q4_K_M", Choices(output="Q4_K"))


def test_the_output_exists_or_does_not_fit(tmp_path, monkeypatch):
    file = make(tmp_path / "in.gguf")
    plan = plan_file(file, "Q4_0", Choices(pure=True))
    (tmp_path / "out.gguf").write_text("precious")
    with pytest.raises(GGUFError, match=r"out.gguf: the output: expected a file name that does not exist yet"):
        write_plan(file, plan, tmp_path / "out.gguf")
    assert (tmp_path / "out.gguf").read_text() == "precious"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: replace_free(usage, 10))
    with pytest.raises(OSError, match="the disk has 10 left"):
        write_plan(file, plan, tmp_path / "new.gguf")


def replace_free(usage, free: int):
    return type(usage)(usage.total, usage.used, free)


@pytest.mark.parametrize("keep_split", [False, True])
def test_an_error_on_the_way_leaves_nothing(tmp_path, monkeypatch, keep_split):
    file = make(tmp_path / "in", split=True)
    plan = plan_file(file, "Q4_0")
    steps = []

    def full(step) -> None:
        steps.append(step)
        if len(steps) == 10:
            raise OSError(28, "No space left on device")

    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        write_plan(file, plan, tmp_path / "out", keep_split=keep_split, progress=full)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_one_tensor_at_a_time(tmp_path):
    """A tensor is made when it is its turn, not before."""
    file = make(tmp_path / "in.gguf")
    plan = plan_file(file, "Q8_0")
    seen = []

    def watch(step) -> None:
        partial = tmp_path / "out.gguf.partial"
        seen.append((step.name, partial.exists()))

    write_plan(file, plan, tmp_path / "out.gguf", progress=watch)
    assert [name for name, _ in seen] == [s.name for s in plan.steps]
    assert all(exists for _, exists in seen)


def test_integers_are_kept(tmp_path):
    ids = np.arange(64, dtype="<i4").reshape(4, 16)
    write_gguf(
        tmp_path / "in.gguf",
        [field_of("general.architecture", "llama"), field_of("x", 1, ValueType.INT64)],
        [TensorData("map.weight", (4, 16), TENSOR_TYPE_NAMES["I32"], ids.view(np.uint8))],
    )
    file = open_gguf(tmp_path / "in.gguf")
    with pytest.raises(GGUFError, match="expected a floating-point or quantized type, found I32"):
        plan_file(file, "Q4_0")
    plan = plan_file(file, "COPY")
    assert replace(plan.steps[0]).format == "I32"
    write_plan(file, plan, tmp_path / "out.gguf")
    np.testing.assert_array_equal(open_gguf(tmp_path / "out.gguf").data("map.weight"), ids.view(np.uint8))
