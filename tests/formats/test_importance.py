"""Importance matrices: both forms come back, damaged ones are told."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama.formats.gguf import GGUFError, field_of, write_gguf
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
