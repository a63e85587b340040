"""GGUF: what is read is what was written, in every version and byte order; what is damaged is refused with one exception."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import gguf as independent
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxllama.formats.gguf import (
    TENSOR_TYPE_NAMES,
    Field,
    GGUFError,
    TensorData,
    ValueType,
    field_of,
    open_gguf,
    parse_overrides,
    rewrite,
    write_gguf,
    write_split,
)

RNG = np.random.default_rng(0)
SCALARS = {
    ValueType.UINT8: 200,
    ValueType.INT8: -100,
    ValueType.UINT16: 60000,
    ValueType.INT16: -30000,
    ValueType.UINT32: 4_000_000_000,
    ValueType.INT32: -2_000_000_000,
    ValueType.FLOAT32: 1.5,
    ValueType.BOOL: True,
    ValueType.STRING: "wörld ✓",
    ValueType.UINT64: 2**63 + 1,
    ValueType.INT64: -(2**62),
    ValueType.FLOAT64: 0.1,
}


def every_field() -> list[Field]:
    fields = [field_of("general.architecture", "test")]
    for kind, value in SCALARS.items():
        fields.append(Field(f"one.{kind.name}", kind, value))
        fields.append(field_of(f"many.{kind.name}", [value] * 3, kind))
    return [*fields, field_of("empty", [], ValueType.INT32)]


def some_tensors(order: str = "<") -> list[TensorData]:
    f32 = RNG.standard_normal((3, 5)).astype(f"{order}f4")
    q8 = RNG.integers(0, 256, (2, 4, 68), dtype=np.uint8)
    return [
        TensorData("a.weight", (3, 5), TENSOR_TYPE_NAMES["F32"], f32.view(np.uint8)),
        TensorData("b.weight", (2, 4, 64), TENSOR_TYPE_NAMES["Q8_0"], q8),
        TensorData("c", (7,), TENSOR_TYPE_NAMES["F16"], RNG.integers(0, 256, 14, dtype=np.uint8)),
    ]


def assert_same(file, fields, tensors):
    assert list(file.fields) == [f.key for f in fields]
    for f in fields:
        found = file.fields[f.key]
        assert (found.type, found.item) == (f.type, f.item)
        np.testing.assert_array_equal(found.value, f.value)
        assert type(found.value) is type(f.value)
        assert f.type is not ValueType.ARRAY or f.item is ValueType.STRING or found.value.dtype.kind == f.value.dtype.kind
    assert list(file.tensors) == [t.name for t in tensors]
    for t in tensors:
        assert file.tensors[t.name].shape == t.shape
        np.testing.assert_array_equal(file.data(t.name).reshape(-1), t.data.reshape(-1))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("alignment", [None, 1, 64])
def test_written_is_read(tmp_path, version, order, alignment):
    fields = every_field() + ([field_of("general.alignment", alignment)] if alignment else [])
    tensors = some_tensors(order)
    write_gguf(tmp_path / "a.gguf", fields, tensors, version=version, byte_order=order)
    file = open_gguf(tmp_path / "a.gguf")
    assert (file.shards[0].version, file.shards[0].byte_order) == (version, order)
    assert_same(file, fields, tensors)
    rewrite(file, tmp_path / "b.gguf")
    assert (tmp_path / "b.gguf").read_bytes() == (tmp_path / "a.gguf").read_bytes()


def test_an_independent_reader_agrees(tmp_path):
    fields, tensors = every_field(), some_tensors()
    write_gguf(tmp_path / "a.gguf", fields, tensors)
    reader = independent.GGUFReader(tmp_path / "a.gguf")
    for f in fields:
        np.testing.assert_array_equal(reader.fields[f.key].contents(), f.value)
    for ours, theirs in zip(tensors, reader.tensors, strict=True):
        assert (theirs.name, tuple(reversed(theirs.shape.tolist()))) == (ours.name, ours.shape)
        np.testing.assert_array_equal(np.asarray(theirs.data).view(np.uint8).reshape(-1), ours.data.reshape(-1))


def test_version_1_has_short_lengths(tmp_path):
    def string(s: bytes) -> bytes:
        return struct.pack("<I", len(s)) + s

    header = b"GGUF" + struct.pack("<III", 1, 1, 2) + string(b"general.architecture") + struct.pack("<I", 8) + string(b"llama")
    header += string(b"ids") + struct.pack("<III", 9, 5, 2) + struct.pack("<ii", 7, -7)
    header += string(b"x") + struct.pack("<IIIIQ", 2, 3, 2, 0, 0)
    header += bytes(-len(header) % 32)
    (tmp_path / "v1.gguf").write_bytes(header + np.arange(6, dtype="<f4").tobytes())
    file = open_gguf(tmp_path / "v1.gguf")
    assert file.get("general.architecture") == "llama"
    assert file.get("ids").tolist() == [7, -7]
    assert file.data("x").view("<f4").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_tensors_are_views(tmp_path):
    write_gguf(tmp_path / "a.gguf", every_field(), some_tensors())
    file = open_gguf(tmp_path / "a.gguf")
    assert np.shares_memory(file.data("b.weight"), file.shards[0].buffer)
    assert not file.data("b.weight").flags.writeable


def test_real_files_come_back_identical(shared_data, tmp_path):
    for path in [*(shared_data / "vocab").glob("*.gguf"), shared_data / "models" / "stories260K.gguf"]:
        rewrite(open_gguf(path), tmp_path / "copy.gguf")
        assert (tmp_path / "copy.gguf").read_bytes() == path.read_bytes(), path.name


def test_split_files_read_as_one(tmp_path):
    fields, tensors = every_field(), some_tensors()
    paths = write_split(tmp_path / "model", fields, tensors, max_tensors=1)
    assert [p.name for p in paths] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    file = open_gguf(paths[0])
    assert len(file.shards) == 3
    for t in tensors:
        np.testing.assert_array_equal(file.data(t.name).reshape(-1), t.data.reshape(-1))
    assert file.get("one.STRING") == SCALARS[ValueType.STRING]
    with pytest.raises(GGUFError, match=r"split\.no.*first"):
        open_gguf(paths[1])
    paths[2].unlink()
    with pytest.raises(GGUFError, match="no file model-00003-of-00003"):
        open_gguf(paths[0])


def test_what_llama_cpp_reads_comes_back_identical(tmp_path):
    """Text that is not UTF-8, in keys, values, lists and names, and booleans other than 0 and 1: their bytes are kept."""
    texts = s(b"t") + struct.pack("<IIQ", 9, 8, 2) + s(b"ok") + s(b"\xffx\xc3\x28")
    fields = [
        s(b"\xc3\x28") + struct.pack("<I", 8) + s(b"\xff\xfe"),
        texts,
        s(b"b") + struct.pack("<IB", 7, 2),
        s(b"l") + struct.pack("<IIQBBB", 9, 7, 3, 1, 0, 200),
    ]
    head = header(2, len(fields), b"".join(fields) + tensor(b"\xfe", [8], 0, 0) + tensor(b"none", [32, 0, 3], 8, 32))
    raw = head + bytes(-len(head) % 32) + bytes(range(32))
    file = read_bytes(tmp_path / "odd.gguf", raw)
    assert [key.encode("utf-8", "surrogateescape") for key in file.fields] == [b"\xc3\x28", b"t", b"b", b"l"]
    assert file.get("b") is True
    assert file.get("l").tolist() == [True, False, True]
    assert file.data("none").shape == (3, 0, 34)
    rewrite(file, tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == raw
    write_gguf(tmp_path / "changed.gguf", [replace(file.fields["b"], value=False), replace(file.fields["l"], value=np.asarray([True, True, False]))], [])
    changed = open_gguf(tmp_path / "changed.gguf")
    assert changed.get("b") is False
    assert changed.get("l").tolist() == [True, True, False]


def test_what_cannot_be_read_is_not_written(tmp_path):
    data = TensorData("x" * 64, (8,), TENSOR_TYPE_NAMES["F32"], np.zeros(32, np.uint8))
    with pytest.raises(GGUFError, match="less than 64 bytes, found 64"):
        write_gguf(tmp_path / "a.gguf", [], [data])
    write_gguf(tmp_path / "a.gguf", [], [replace(data, name="x" * 63)])
    assert list(open_gguf(tmp_path / "a.gguf").tensors) == ["x" * 63]
    for bad, message in ((field_of("general.alignment", 32, ValueType.UINT64), "UINT32"), (field_of("general.alignment", 48), "power of two")):
        with pytest.raises(GGUFError, match=message):
            write_gguf(tmp_path / "b.gguf", [bad], [])
    assert not (tmp_path / "b.gguf").exists()


def test_the_header_alone(tmp_path):
    """A file whose download is under way: its header can be read as soon as it is there; what is missing is told, by name where it is asked for."""
    raw = small_file(tmp_path)
    whole = open_gguf(tmp_path / "small.gguf", header_only=True)
    assert whole.missing == []
    start, end = whole.shards[0].data_start, whole.shards[0].data_end
    header_end = raw.index(b"x", raw.index(struct.pack("<f", 0.5))) + 1 + 4 + 2 * 8 + 4 + 8
    for length in range(header_end - 8, end):
        (tmp_path / "part.gguf").write_bytes(raw[:length])
        if length < header_end:
            with pytest.raises(GGUFError, match="end of file"):
                open_gguf(tmp_path / "part.gguf", header_only=True)
            continue
        with pytest.raises(GGUFError, match="tensor 'x': expected 34 bytes at offset 0"):
            open_gguf(tmp_path / "part.gguf")
        part = open_gguf(tmp_path / "part.gguf", header_only=True)
        assert list(part.fields) == list(whole.fields)
        assert part.tensors == whole.tensors
        assert part.missing == [f"part.gguf has {length} of {end} bytes"]
        with pytest.raises(GGUFError, match=f"tensor 'x': expected {start + 34} bytes in the file, found {length}"):
            part.data("x")


def test_the_header_of_a_split_file_alone(tmp_path):
    first, _, last = tensors = some_tensors()
    paths = write_split(tmp_path / "model", every_field(), tensors, max_tensors=1)
    paths[1].unlink()
    file = open_gguf(paths[0], header_only=True)
    assert file.missing == [f"{paths[1].name} is not there"]
    assert list(file.tensors) == [first.name, last.name]
    np.testing.assert_array_equal(file.data(last.name).reshape(-1), last.data.reshape(-1))


def test_split_by_size(tmp_path):
    assert len(write_split(tmp_path / "m", every_field(), some_tensors(), max_bytes=600)) == 2


def test_overrides():
    found = {f.key: f.value for f in parse_overrides("a.b=int:0x10,c=float:0.5,d=bool:true,e=str:x\\,y:z")}
    assert found == {"a.b": 16, "c": 0.5, "d": True, "e": "x,y:z"}
    for bad in ("a", "a=int", "a=int:x", "a=long:1", "=int:1", "a=bool:maybe"):
        with pytest.raises(GGUFError, match="override-kv"):
            parse_overrides(bad)


def test_overrides_win(tmp_path):
    write_gguf(tmp_path / "a.gguf", every_field(), [])
    file = open_gguf(tmp_path / "a.gguf", overrides=parse_overrides("one.UINT8=int:5,new=bool:false"))
    assert (file.get("one.UINT8"), file.get("new")) == (5, False)


def test_a_failed_write_leaves_nothing(tmp_path):
    bad = TensorData("x", (4,), TENSOR_TYPE_NAMES["F32"], np.zeros(3, np.uint8))
    with pytest.raises(GGUFError, match="16 bytes"):
        write_gguf(tmp_path / "a.gguf", every_field(), [bad])
    assert list(tmp_path.iterdir()) == []


# --- files from strangers ---


def small_file(tmp_path: Path) -> bytes:
    fields = [field_of("general.architecture", "llama"), field_of("s", ["a", "bc"]), field_of("n", [1, 2, 3]), field_of("f", 0.5)]
    tensor = TensorData("x", (1, 32), TENSOR_TYPE_NAMES["Q8_0"], np.zeros((1, 34), np.uint8))
    write_gguf(tmp_path / "small.gguf", fields, [tensor])
    return (tmp_path / "small.gguf").read_bytes()


def read_bytes(path: Path, raw: bytes):
    path.write_bytes(raw)
    file = open_gguf(path)
    for name in file.tensors:
        file.data(name).sum()
    return file


def test_truncated_at_every_byte(tmp_path):
    raw = small_file(tmp_path)
    path = tmp_path / "cut.gguf"
    end_of_data = len(raw) - (-34 % 32)
    for length in range(end_of_data):
        with pytest.raises(GGUFError, match=r"cut\.gguf: .*expected .*, found "):
            read_bytes(path, raw[:length])
    for length in range(end_of_data, len(raw) + 1):  # only the last padding is missing: readable
        read_bytes(path, raw[:length])


def test_two_thousand_mutated_headers(tmp_path):
    raw = small_file(tmp_path)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(2000):
        changed = bytearray(raw)
        for at in rng.integers(0, len(raw) - 64, rng.integers(1, 5)):
            changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)])
        try:
            read_bytes(tmp_path / "mutated.gguf", bytes(changed))
        except GGUFError:
            refused += 1
    assert 1000 < refused < 2000  # some mutations (of a name, a number) leave a sound file


@given(st.binary(max_size=200))
def test_random_bytes_after_the_magic(tmp_path_factory, tail):
    with pytest.raises(GGUFError):
        read_bytes(tmp_path_factory.getbasetemp() / "random.gguf", b"GGUF\x03\0\0\0" + tail + b"\xff")


def header(n_tensors: int, n_fields: int, rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_fields) + rest


def s(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def tensor(name: bytes, dims: list[int], kind: int, offset: int) -> bytes:
    return s(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


HOSTILE = {
    "nothing": (b"", "empty file"),
    "another format": (b"PK\x03\x04" + bytes(60), "magic"),
    "version 9": (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version"),
    "absurd tensor count": (header(2**62, 0, b""), "n_tensors"),
    "absurd field count": (header(0, 2**63, b""), "n_kv"),
    "absurd string": (header(0, 1, struct.pack("<Q", 2**60) + bytes(40)), "key 0"),
    "absurd array": (header(0, 1, s(b"a") + struct.pack("<IIQ", 9, 4, 2**61) + bytes(40)), "length of 'a'"),
    "absurd string array": (header(0, 1, s(b"a") + struct.pack("<IIQ", 9, 8, 2**40) + bytes(40)), "length of 'a'"),
    "string beyond the end in an array": (header(0, 1, s(b"a") + struct.pack("<IIQQ", 9, 8, 1, 2**50) + bytes(40)), "string 0 of 'a'"),
    "nested arrays": (header(0, 1, s(b"a") + struct.pack("<IIQ", 9, 9, 1) + bytes(40)), "do not nest"),
    "unknown value type": (header(0, 1, s(b"a") + struct.pack("<I", 99) + bytes(40)), "value type"),
    "repeated key": (header(0, 2, (s(b"a") + struct.pack("<Ib", 7, 1)) * 2 + bytes(40)), "used once"),
    "cut in a length of an array": (header(0, 1, s(b"a") + struct.pack("<IIQ", 9, 8, 2) + s(b"0123456789abc") + bytes(3)), "string 1 of 'a'.*a length"),
    "alignment of nothing": (header(0, 1, s(b"general.alignment") + struct.pack("<II", 4, 0) + bytes(40)), "power of two"),
    "bad alignment": (header(0, 1, s(b"general.alignment") + struct.pack("<II", 4, 24) + bytes(40)), "power of two"),
    "alignment of text": (header(0, 1, s(b"general.alignment") + struct.pack("<I", 8) + s(b"x") + bytes(40)), "UINT32, found STRING"),
    "alignment of 64 bits": (header(0, 1, s(b"general.alignment") + struct.pack("<IQ", 10, 32) + bytes(40)), "UINT32, found UINT64"),
    "long name": (header(1, 0, tensor(b"x" * 64, [8], 0, 0) + bytes(200)), "less than 64 bytes, found 64"),
    "long name of two bytes each": (header(1, 0, tensor("é".encode() * 32, [8], 0, 0) + bytes(200)), "less than 64 bytes, found 64"),
    "gap": (header(2, 0, tensor(b"x", [8], 0, 0) + tensor(b"y", [8], 0, 64) + bytes(200)), "tensor 'y' offset: expected 32,"),
    "other order": (header(2, 0, tensor(b"x", [8], 0, 32) + tensor(b"y", [8], 0, 0) + bytes(200)), "tensor 'x' offset: expected 0,"),
    "repeated tensor": (header(2, 0, tensor(b"x", [1], 0, 0) + tensor(b"x", [1], 0, 32) + bytes(200)), "used once"),
    "overlap": (header(2, 0, tensor(b"x", [16], 0, 0) + tensor(b"y", [16], 0, 32) + bytes(200)), "offset: expected 64,"),
    "out of the file": (header(1, 0, tensor(b"x", [2**40], 0, 0) + bytes(200)), "bytes of data"),
    "offset near 2**64": (header(1, 0, tensor(b"x", [32], 0, 2**64 - 32) + bytes(200)), "offset: expected 0,"),
    "unaligned": (header(1, 0, tensor(b"x", [1], 0, 4) + bytes(200)), "offset: expected 0,"),
    "five dimensions": (header(1, 0, tensor(b"x", [1] * 5, 0, 0) + bytes(200)), "at most 4"),
    "overflowing dimensions": (header(1, 0, tensor(b"x", [2**40] * 4, 0, 0) + bytes(200)), "less than 2\\^63"),
    "overflowing dimensions, one of them zero": (header(1, 0, tensor(b"x", [0, 2**40, 2**40], 0, 0) + bytes(200)), "less than 2\\^63"),
    "unknown tensor type": (header(1, 0, tensor(b"x", [32], 77, 0) + bytes(200)), "ggml type"),
    "half a block": (header(1, 0, tensor(b"x", [33], 8, 0) + bytes(200)), "multiple of 32"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(tmp_path, name):
    raw, message = HOSTILE[name]
    with pytest.raises(GGUFError, match=message) as caught:
        read_bytes(tmp_path / "hostile.gguf", raw)
    assert caught.value.path.endswith("hostile.gguf")
    assert caught.value.field
    assert caught.value.expected
