"""Importance matrices: both forms come back, damaged ones are told."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, Field, GGUFError, TensorData, field_of, open_gguf, write_gguf
from jaxllama.formats.importance import Entry, ImportanceMatrix, read_importance, write_importance


def example(seed: int = 0) -> ImportanceMatrix:
    rng = np.random.default_rng(seed)
    entries = {
        "blk.0.ffn_up.weight": Entry(rng.exponential(1, (1, 8)).astype(np.float32), np.asarray([64])),
        "blk.0.ffn_up_exps.weight": Entry(rng.exponential(1, (3, 8)).astype(np.float32), np.asarray([64, 0, 32])),
    }
    return ImportanceMatrix(entries, ["text.txt"], 2, 32)


def test_gguf_form_comes_back(tmp_path):
    matrix = example()
    write_importance(matrix, tmp_path / "m.gguf")
    found = read_importance(tmp_path / "m.gguf")
    assert (found.datasets, found.chunks, found.chunk_size) == (["text.txt"], 2, 32)
    for name, entry in matrix.entries.items():
        np.testing.assert_array_equal(found.entries[name].sums, entry.sums)
        np.testing.assert_array_equal(found.entries[name].counts, entry.counts)
    assert (found.entries["blk.0.ffn_up_exps.weight"].mean()[1] == 1).all()  # an expert that nothing was routed to


def test_legacy_form_keeps_the_means(tmp_path):
    matrix = example()
    write_importance(matrix, tmp_path / "m.dat", legacy=True)
    found = read_importance(tmp_path / "m.dat", chunk_size=32)
    assert (found.datasets, found.chunks) == (["text.txt"], 2)
    for name, entry in matrix.entries.items():
        np.testing.assert_allclose(found.entries[name].mean().reshape(-1), entry.mean().reshape(-1), rtol=1e-6)


def test_merging_adds_up():
    one, other = example(0), example(1)
    merged = ImportanceMatrix(chunk_size=32)
    merged.merge(one)
    merged.merge(other)
    name = "blk.0.ffn_up_exps.weight"
    np.testing.assert_allclose(merged.entries[name].sums, one.entries[name].sums + other.entries[name].sums)
    assert merged.entries[name].counts.tolist() == [128, 0, 64]
    assert merged.chunks == 4
    assert merged.datasets == ["text.txt", "text.txt"]
    with pytest.raises(ValueError, match="of different models"):
        merged.add(name, np.ones((3, 9), np.float32), np.ones(3, np.int64))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_error_or_a_matrix(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "m.dat"
    path.write_bytes(data)
    with suppress(GGUFError):  # and no other error
        read_importance(path)


def test_every_cut_is_told(tmp_path):
    write_importance(example(), tmp_path / "m.dat", legacy=True)
    whole = (tmp_path / "m.dat").read_bytes()
    ends = len(whole) - len("text.txt") - 8, len(whole) - len("text.txt") - 4, len(whole)  # what follows the entries may be left out
    for cut in range(len(whole)):
        (tmp_path / "cut.dat").write_bytes(whole[:cut])
        if cut in ends:
            read_importance(tmp_path / "cut.dat")
        else:
            with pytest.raises(GGUFError):
                read_importance(tmp_path / "cut.dat")


def test_other_files_are_told(tmp_path):
    write_gguf(tmp_path / "model.gguf", [field_of("general.type", "model")], [])
    with pytest.raises(GGUFError, match="expected an importance matrix"):
        read_importance(tmp_path / "model.gguf")
    matrix = example()
    matrix.entries["blk.0.ffn_up.weight"].sums[0, 3] = np.nan
    write_importance(matrix, tmp_path / "nan.gguf")
    with pytest.raises(GGUFError, match=r"importance of 'blk.0.ffn_up.weight': expected finite numbers"):
        read_importance(tmp_path / "nan.gguf")


def test_means_and_defaults():
    entry = Entry(np.asarray([[3.0, 5.0], [7.0, 7.0], [4.0, 8.0]], np.float32), np.asarray([1, 0, 2]))
    assert entry.mean().tolist() == [[3, 5], [1, 1], [2, 4]]
    assert (ImportanceMatrix().chunks, ImportanceMatrix().chunk_size) == (0, 512)
    nothing = ImportanceMatrix(chunk_size=1)
    nothing.merge(ImportanceMatrix())
    assert nothing.chunks == 0


def test_one_count_for_all_experts():
    """As older files have it: it counts for each."""
    for counts, others in (([4], [1, 2, 3]), ([1, 2, 3], [4])):
        matrix = ImportanceMatrix()
        matrix.add("x", np.ones((len(counts), 6 // len(counts)), np.float32), np.asarray(counts))
        matrix.add("x", np.arange(6, dtype=np.float32).reshape(len(others), -1), np.asarray(others))
        assert matrix.entries["x"].sums.tolist() == [[1, 2], [3, 4], [5, 6]]
        assert matrix.entries["x"].counts.tolist() == [5, 6, 7]


def legacy(*, name=b"x", calls=2, values=(3.0,), entries=1, end=bytes(8)) -> bytes:
    entry = struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values)) + np.asarray(values, "<f4").tobytes()
    return struct.pack("<i", entries) + entry + end


def test_legacy_files(tmp_path):
    def read(raw: bytes, **more) -> ImportanceMatrix:
        (tmp_path / "m.dat").write_bytes(raw)
        return read_importance(str(tmp_path / "m.dat"), **more)

    found = read(legacy())
    assert (found.entries["x"].sums.tolist(), found.entries["x"].counts.tolist()) == ([[3 * 512]], [2 * 512])
    assert (found.chunks, found.datasets, found.chunk_size) == (0, [], 512)
    unseen = read(legacy(calls=0, values=(3.0, 4.0)), chunk_size=8)
    assert (unseen.entries["x"].sums.tolist(), unseen.entries["x"].counts.tolist()) == ([[3, 4]], [1])
    assert read(legacy(values=(3.0, 4.0)), chunk_size=8).entries["x"].sums.shape == (1, 2)
    assert list(read(legacy(name=b"n" * 2**16)).entries) == ["n" * 2**16]
    for bad in (
        legacy(entries=0),
        legacy(entries=-1),
        legacy(name=b""),
        legacy(name=b"n" * (2**16 + 1)),
        legacy(calls=-1),
        legacy(values=()),
        legacy(end=struct.pack("<i", -1)),
        legacy(end=struct.pack("<ii", 0, -1)),
    ):
        with pytest.raises(GGUFError, match="expected a number from"):
            read(bad)


def test_writing_the_legacy_form(tmp_path):
    matrix = example()
    matrix.datasets = ["first.txt", "last.txt"]
    matrix.entries["nothing"] = Entry(np.ones((1, 4), np.float32), np.asarray([0]))
    write_importance(matrix, str(tmp_path / "m.dat"), legacy=True)
    found = read_importance(tmp_path / "m.dat", chunk_size=32)
    assert found.datasets == ["last.txt"]  # there is room for one
    assert sorted(found.entries) == sorted(example().entries)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_importance(matrix, tmp_path / "folder", legacy=True)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f, t: (f[:-1], t), "an importance matrix"),
        (lambda f, t: (f, [x for x in t if not x.name.endswith(".in_sum2")]), "an importance matrix"),
        (lambda f, t: (f, [x for x in t if not x.name.endswith(".counts")]), "expected an F32 tensor, found none"),
        (lambda f, t: (f, [replace(x, type=TENSOR_TYPE_NAMES["I32"]) for x in t]), "expected an F32 tensor, found I32"),
        (lambda f, t: (f, [replace(x, data=(-x.data().view("<f4")).view(np.uint8)) if "counts" in x.name else x for x in t]), "a count, not negative"),
        (lambda f, t: (f, [replace(x, shape=(5,), data=np.zeros(20, np.uint8)) if "counts" in x.name else x for x in t]), "found 5 for"),
    ],
)
def test_damaged_gguf_forms_are_told(tmp_path, edit, message):
    write_importance(example(), str(tmp_path / "m.gguf"))
    file = open_gguf(tmp_path / "m.gguf")
    fields: list[Field] = list(file.fields.values())
    tensors = [TensorData(t.name, t.shape, t.type, lambda name=t.name: file.data(name).copy()) for t in file.tensors.values()]
    write_gguf(tmp_path / "bad.gguf", *edit(fields, tensors))
    with pytest.raises(GGUFError, match=message):
        read_importance(tmp_path / "bad.gguf")
