"""GGUF in its details: types guessed, pages released, shards that do not fit together, what writing calls and checks."""

from __future__ import annotations

import mmap
import re

import gguf as independent
import numpy as np
import pytest

from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, GGUFError, TensorData, ValueType, field_of, open_gguf, rewrite, write_gguf, write_split
from jaxllama.formats.gguf.types import DTYPES, TENSOR_TYPES, TensorType, add_tensor_type

F32 = TENSOR_TYPE_NAMES["F32"]


def tensor_of(name: str, count: int = 8, **more) -> TensorData:
    return TensorData(name, (count,), F32, np.arange(4 * count, dtype=np.uint8), **more)


@pytest.mark.parametrize(
    ("value", "type_", "item"),
    [
        (True, ValueType.BOOL, None),
        (np.bool_(False), ValueType.BOOL, None),
        (0, ValueType.UINT32, None),
        (np.int64(1), ValueType.UINT32, None),
        (-1, ValueType.INT32, None),
        (0.5, ValueType.FLOAT32, None),
        ("a", ValueType.STRING, None),
        ([-1], ValueType.ARRAY, ValueType.INT32),
        ((1, 2), ValueType.ARRAY, ValueType.UINT32),
        ([True], ValueType.ARRAY, ValueType.BOOL),
        (np.asarray([True]), ValueType.ARRAY, ValueType.BOOL),
        (["a"], ValueType.ARRAY, ValueType.STRING),
        ([], ValueType.ARRAY, ValueType.STRING),
        *((np.zeros(2, order + dtype), ValueType.ARRAY, t) for t, dtype in DTYPES.items() if t is not ValueType.BOOL for order in "<>"),
    ],
)
def test_types_are_guessed_from_values(value, type_, item):
    field = field_of("k", value)
    assert (field.type, field.item) == (type_, item)
    if item not in (None, ValueType.STRING):
        assert field.value.dtype == (bool if item is ValueType.BOOL else DTYPES[item])


def test_the_tables_are_ggmls():
    """Numbers and sizes of every type, against the gguf package's, as far as it knows them."""
    assert {t.name: int(t) for t in ValueType} == {t.name: int(t) for t in independent.GGUFValueType}
    theirs = {t.name: (int(t), *sizes) for t, sizes in independent.GGML_QUANT_SIZES.items()}
    theirs["Q8_1"] = (9, 32, 36)  # two halves and 32 bytes in ggml-common.h; the package counts two floats
    ours = {t.name: (t.id, t.weights, t.bytes) for t in TENSOR_TYPE_NAMES.values()}
    assert len(ours.keys() & theirs.keys()) >= 30
    assert {name: ours[name] for name in ours.keys() & theirs.keys()} == {name: theirs[name] for name in ours.keys() & theirs.keys()}
    assert ours.keys() - theirs.keys() <= {"Q2_0"}


def test_what_metadata_cannot_hold():
    for value in (None, {}, [None]):
        with pytest.raises(TypeError, match="cannot hold"):
            field_of("k", value)


def test_long_findings_are_cut_in_messages():
    assert str(GGUFError("f", "x", expected="e", found="y" * 200)) == "f: x: expected e, found " + "y" * 200
    assert str(GGUFError("f", "x", expected="e", found="y" * 201)) == "f: x: expected e, found " + "y" * 200 + "..."


def test_an_open_file(tmp_path):
    scalar = TensorData("scalar", (), F32, np.arange(4, dtype=np.uint8))
    write_gguf(str(tmp_path / "a.gguf"), [field_of("n", 5), field_of("last", ["ab", "c"])], [scalar, tensor_of("x")])
    file = open_gguf(str(tmp_path / "a.gguf"))
    assert file.metadata == {"n": 5, "last": ["ab", "c"]}
    assert file.nbytes == (tmp_path / "a.gguf").stat().st_size
    assert file.nbytes % 32 == 0
    assert file.require("n") == file.get("n", 6) == 5
    assert (file.get("m"), file.get("m", 6)) == (None, 6)
    with pytest.raises(GGUFError, match="override-kv can supply it"):
        file.require("m")
    assert (file.tensors["x"].size, file.tensors["scalar"].size) == (8, 1)
    assert file.data("scalar").tolist() == [0, 1, 2, 3]
    assert TENSOR_TYPE_NAMES["Q8_0"].bits_per_weight == 8.5
    write_gguf(tmp_path / "fields.gguf", [field_of("last", ["ab", "c"])], [])
    raw = (tmp_path / "fields.gguf").read_bytes().rstrip(b"\0")
    (tmp_path / "fields.gguf").write_bytes(raw)  # it ends with its last string
    assert open_gguf(tmp_path / "fields.gguf").get("last") == ["ab", "c"]


def test_only_whole_pages_of_a_tensor_are_released(tmp_path, monkeypatch):
    page = mmap.PAGESIZE
    counts = [page // 4 - 100, page // 4, page // 2, 8, 3 * page // 4]  # smaller than a page, across one border, and more
    write_gguf(tmp_path / "a.gguf", [], [TensorData(f"t{i}", (n,), F32, np.full(4 * n, i, np.uint8)) for i, n in enumerate(counts)])
    file = open_gguf(tmp_path / "a.gguf")
    (shard,) = file.shards
    released = []

    class Map:
        def madvise(self, advice, start, length):
            assert advice == mmap.MADV_DONTNEED
            released.append((start, start + length))

    real, shard.map = shard.map, Map()
    for name, tensor in file.tensors.items():
        released.clear()
        file.release(name)
        begin = shard.data_start + tensor.offset
        whole = [p for p in range(0, file.nbytes, page) if begin <= p and p + page <= begin + tensor.nbytes]
        assert released == ([(whole[0], whole[-1] + page)] if whole else []), name
    assert released
    shard.map = real
    file.release("t4")
    assert (file.data("t4") == 4).all()
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)  # as on Windows
    file.release("t4")


def shards(folder, *extra, names=("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")) -> None:
    """Two files with the given metadata of splitting."""
    for name, fields, tensor in zip(names, extra, "ab", strict=True):
        write_gguf(folder / name, [field_of(f"split.{k}", v) for k, v in fields.items()], [tensor_of(tensor)])


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"no": 0, "count": 2, "tensors.count": 2}, {"no": 1, "count": 2}, ""),
        ({"no": 0, "count": 2}, {"no": 1, "count": 2}, ""),
        ({"count": 2}, {"no": 1, "count": 2}, ""),
        ({"count": "2"}, {"no": 1, "count": 2}, r"split\.count: expected an integer, found STRING"),
        ({"no": 0, "count": 2}, {"no": 0, "count": 2}, "expected shard 1 of 2, found shard 0"),
        ({"no": 0, "count": 2}, {"no": 1, "count": 3}, "expected shard 1 of 2"),
        ({"no": 0, "count": 2}, {}, "expected shard 1 of 2"),
        ({"no": 0, "count": 2, "tensors.count": 3}, {"no": 1, "count": 2}, "expected 3 tensors in all shards, found 2"),
    ],
)
def test_shards_fit_together_or_not(tmp_path, first, second, message):
    shards(tmp_path, first, second)
    if message:
        with pytest.raises(GGUFError, match=message):
            open_gguf(tmp_path / "m-00001-of-00002.gguf")
    else:
        file = open_gguf(tmp_path / "m-00001-of-00002.gguf")
        assert list(file.tensors) == ["a", "b"]
        with pytest.raises(GGUFError, match="write_split writes several"):
            rewrite(file, tmp_path / "whole.gguf")


@pytest.mark.parametrize("name", ["m.gguf", "m-00002-of-00002.gguf", "m-00001-of-00003.gguf"])
def test_the_first_shard_has_the_first_name(tmp_path, name):
    shards(tmp_path, {"no": 0, "count": 2}, {"no": 1, "count": 2}, names=(name, "other.gguf"))
    with pytest.raises(GGUFError, match=r"file name: expected NAME-00001-of-00002\.gguf"):
        open_gguf(tmp_path / name)


def test_a_name_in_two_shards_is_refused(tmp_path):
    paths = write_split(tmp_path / "m", [], [tensor_of("a"), tensor_of("a")], max_tensors=1)
    with pytest.raises(GGUFError, match="used once in all shards"):
        open_gguf(paths[0])


def test_split_limits_and_metadata(tmp_path):
    """As many tensors and bytes as allowed, none more; the alignment is in every file, old metadata of splitting in none."""
    fields = [field_of("general.alignment", 64), field_of("split.count", 9), field_of("n", 1)]
    for limits, wanted in (
        ({"max_tensors": 2}, [2, 2, 1]),
        ({"max_bytes": 64}, [2, 2, 1]),
        ({"max_bytes": 63}, [1] * 5),
        ({"max_bytes": 1}, [1] * 5),
        ({}, [5]),
    ):
        paths = write_split(tmp_path / "m", fields, [tensor_of(name) for name in "abcde"], **limits)
        file = open_gguf(paths[0])
        assert [len(s.tensors) for s in file.shards] == wanted
        assert {s.alignment for s in file.shards} == {64}
        assert [("n" in s.fields) for s in file.shards] == [True] + [False] * (len(wanted) - 1)
        assert file.get("split.count") == len(wanted)
        assert file.get("split.tensors.count") == 5


def test_writing_checks_first_and_says_what_is_done(tmp_path):
    events = []

    def make():
        events.append("made")
        return np.zeros(32, np.uint8)

    write_gguf(tmp_path / "a.gguf", [], [TensorData("x", (8,), F32, make, done=lambda: events.append("done"))])
    assert events == ["made", "done"]
    assert (tmp_path / "a.gguf").stat().st_size % 32 == 0
    for tensors in ([TensorData("x", (8,), F32, make), TensorData("y", (9,), F32, np.zeros(32, np.uint8))], [TensorData("x", (9,), F32, make)]):
        events.clear()
        with pytest.raises(GGUFError, match="expected 36 bytes"):
            write_gguf(tmp_path / "b.gguf", [], tensors)
        assert events == (["made"] if len(tensors) == 1 else [])  # what is known to be wrong is told before anything is made
    with pytest.raises(GGUFError, match="version: expected 2 or 3, found 1"):
        write_gguf(tmp_path / "b.gguf", [], [], version=1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gguf"]


@pytest.mark.parametrize("path", [None, "", 5, b"model.gguf"])
def test_what_is_no_path(path):
    with pytest.raises(TypeError, match=f"expected the path of a GGUF file, found {re.escape(repr(path))}"):
        open_gguf(path)


def test_places_that_hold_no_file(tmp_path):
    with pytest.raises(GGUFError, match="expected a file that is stored somewhere, found a folder"):
        open_gguf(tmp_path)
    with pytest.raises(GGUFError, match="expected a file that is stored somewhere, found a device or a pipe"):
        open_gguf("/dev/null")
    with pytest.raises(FileNotFoundError):
        open_gguf(tmp_path / "none.gguf")


@pytest.mark.parametrize(("number", "name"), [(2, "NEW"), (900, "Q4_0"), (2, "Q4_0")])
def test_types_whose_number_or_name_is_taken(number, name):
    before = dict(TENSOR_TYPES)
    with pytest.raises(ValueError, match=rf"tensor type {number} '{name}': GGUF's .*Q4_0.* has its number or its name"):
        add_tensor_type(TensorType(number, name, 32, 18))
    assert before == TENSOR_TYPES


@pytest.mark.parametrize("number", [-1, 2**31])
def test_numbers_that_no_type_has(number):
    with pytest.raises(ValueError, match=f"the number of a tensor type is from 0 to 2147483647, not {number}"):
        add_tensor_type(TensorType(number, "NEW", 32, 18))
