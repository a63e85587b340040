"""Packed files: weights in the device layout that several processes map."""

from __future__ import annotations

import logging
import mmap
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxllama
from jaxllama import loading
from jaxllama.models import load_packed, load_params, parameters, read_config
from jaxllama.quant import FORMATS, memory
from jaxllama.quant.layout import unpack


@pytest.fixture
def file():
    return jaxllama.open_gguf(jaxllama.embedded_model())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "jaxllama" / "packed"


def settle() -> None:
    """Wait until new files are in their place."""
    for thread in threading.enumerate():
        if thread.name == "packed file":
            thread.join()


def same(a, b) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_mapped_weights_are_the_packed_ones(file, folder):
    config = read_config(file)
    expected = load_params(file, config)
    same(load_packed(file, config, "mmap"), expected)
    settle()
    (kept,) = folder.iterdir()
    before = kept.stat().st_ino
    os.utime(kept, (1000, 1000))
    seen = []
    same(load_packed(file, config, "mmap", lambda done, total: seen.append(done / total)), expected)
    settle()
    (kept,) = folder.iterdir()
    assert kept.stat().st_ino == before
    assert kept.stat().st_mtime > 1000  # used again: those that were not make room first
    assert seen[-1] == 1


def test_small_models_are_not_kept(file, folder):
    load_packed(file, read_config(file), "auto")
    assert not folder.exists()
    with pytest.raises(ValueError, match="no load mode 'dio'"):
        load_packed(file, read_config(file), "dio")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"x" + b[1:], lambda b: b"", lambda b: b[:4096] + b[8192:]])
def test_a_damaged_file_is_made_again(file, folder, damage):
    config = read_config(file)
    expected = load_packed(file, config, "mmap")
    settle()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    other = folder / "other"  # the mapping of the first load is alive: its file may not shrink
    other.write_bytes(damage(whole))
    other.replace(kept)
    same(load_packed(file, config, "mmap"), expected)
    settle()
    (kept,) = folder.iterdir()
    assert kept.read_bytes() == whole


def test_a_copy_is_held_against_the_file_where_that_is_asked_for(file, folder, caplog):
    """One bit that is wrong, in any part of the file; without the comparison nobody notices."""
    config = read_config(file)
    expected = load_packed(file, config, "mmap")
    settle()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    written = np.flatnonzero(np.frombuffer(whole, np.uint8))
    for at in (written[written >= 4096][0], written[len(written) // 2], written[-1]):
        other = folder / "other"
        other.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        other.replace(kept)
        caplog.clear()
        same(load_packed(file, config, "mmap", compare=True), expected)
        settle()
        assert f"{kept} is damaged: it does not hold the weights of the model; packing again" in caplog.text
        assert kept.read_bytes() == whole
    caplog.clear()
    before = kept.stat().st_ino
    same(load_packed(file, config, "mmap", compare=True), expected)
    assert (caplog.text, kept.stat().st_ino) == ("", before)


def test_check_tensors_looks_at_the_copy(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(loading, "load_packed", lambda file, config, mode, progress, *, compare: asked.append(compare) or load_params(file, config))
    for check in (False, True):
        jaxllama.load(check_tensors=check)
    assert asked == [False, True]


@pytest.mark.parametrize("make", [Path.mkdir, getattr(os, "mkfifo", Path.mkdir)], ids=["folder", "pipe"])
def test_what_is_no_file_under_its_name(file, folder, caplog, make):
    folder.mkdir(parents=True)
    path = memory.packed_path(folder, [file.path])
    make(path)
    with caplog.at_level(logging.WARNING):
        same(load_packed(file, read_config(file), "mmap"), load_params(file, read_config(file)))
    assert [record.message for record in caplog.records] == [
        f"the weights are loaded without a copy in the cache folder, so processes do not share them: {path} is there, and is no file"
    ]


def test_a_folder_that_becomes_a_file_while_a_copy_is_written(tmp_path, caplog):
    folder = tmp_path / "packed"
    packed = memory.PackedFile(folder / "new.packed", size=1, limit=1)
    packed.fill(FORMATS["Q8_0"], (1, 1, 32), [np.zeros((1, 34), np.uint8)], "<")
    shutil.rmtree(folder)
    folder.touch()
    packed._finish()
    assert "the copy of the weights could not be written: " in caplog.text
    assert packed._file.closed


def test_a_changed_model_has_another_file(folder, tmp_path):
    model = tmp_path / "model.gguf"
    model.write_bytes(jaxllama.embedded_model().read_bytes())
    first = memory.packed_path(folder, [model])
    assert memory.packed_path(folder, [model]) == first
    os.utime(model, ns=(1, 1))
    changed = memory.packed_path(folder, [model])
    assert changed != first
    model.write_bytes(model.read_bytes()[::-1])  # other contents of the same length under the same time, as `cp -p` leaves them
    os.utime(model, ns=(1, 1))
    rewritten = memory.packed_path(folder, [model])
    assert rewritten != changed
    other = tmp_path / "other.gguf"
    other.write_bytes(model.read_bytes())
    os.utime(other, ns=(1, 1))
    other.replace(model)
    assert memory.packed_path(folder, [model]) not in (changed, rewritten)


def test_old_files_make_room(tmp_path, monkeypatch):
    for age, name in enumerate(("c", "b", "a")):
        path = tmp_path / f"{name}.packed"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    memory.make_room(tmp_path, 150, 350)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.packed", "c.packed"]
    for name, age in (("left", 3600), ("growing", 1)):
        path = tmp_path / f"{name}.partial"
        path.write_bytes(bytes(50))
        os.utime(path, (time.time() - age,) * 2)
    memory.make_room(tmp_path, 100, 350)  # what another process is writing counts, what a killed one has left goes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.packed", "c.packed", "growing.partial"]
    memory.make_room(tmp_path, 101, 350)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.packed", "growing.partial"]
    with pytest.raises(OSError, match=r"the weights need .* JAXLLAMA_PACKED_GB allows"):
        memory.make_room(tmp_path, 400, 350)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=149))
    with pytest.raises(OSError, match=r"the disk has 0.0 GB left, the weights need"):
        memory.make_room(tmp_path, 100, 350)


def test_files_that_come_and_go_while_room_is_made(tmp_path, monkeypatch, caplog):
    (tmp_path / "gone.packed").symlink_to(tmp_path / "nothing")  # listed, and no longer there when it is looked at
    memory.make_room(tmp_path, 100, 350)
    for age, name in enumerate(("c", "b", "a")):
        path = tmp_path / f"{name}.packed"
        path.write_bytes(bytes(100))
        os.utime(path, (1000 - age, 1000 - age))
    unlink = Path.unlink

    def held(path, **options):
        if path.name == "a.packed":
            raise PermissionError(32, "The process cannot access the file because it is being used by another process")
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", held)
    with caplog.at_level(logging.INFO):
        memory.make_room(tmp_path, 100, 350)
    assert sorted(p.name for p in tmp_path.glob("?.packed")) == ["a.packed", "c.packed"]
    assert "a.packed stays for now" in caplog.text


@pytest.mark.parametrize("failing", [None, "fsync", "replace"])
def test_a_file_has_its_name_when_it_is_whole(tmp_path, monkeypatch, caplog, failing):
    if failing:
        monkeypatch.setattr(os, failing, full)
    path, blocks = tmp_path / "new.packed", np.arange(17 * 34, dtype=np.uint8).reshape(17, 34)
    packed = memory.PackedFile(path, size=1, limit=1)
    arrays = packed.fill(FORMATS["Q8_0"], (1, 17, 32), [blocks], "<")
    np.testing.assert_array_equal(unpack(arrays, FORMATS["Q8_0"], 17)[0], blocks)
    assert not path.exists()
    with caplog.at_level(logging.WARNING):
        packed.close()
        settle()
    assert packed._file.closed
    assert [p.name for p in tmp_path.iterdir()] == ([] if failing else ["new.packed"])
    assert ("the copy of the weights could not be written: " in caplog.text) == bool(failing)
    if not failing:
        assert path.stat().st_size % 4096 == 0


def test_without_room_the_weights_are_private(file, folder, monkeypatch, caplog):
    monkeypatch.setenv("JAXLLAMA_PACKED_GB", "0")
    with caplog.at_level(logging.WARNING):
        same(load_packed(file, read_config(file), "mmap"), load_params(file, read_config(file)))
    assert "the weights are loaded without a copy in the cache folder" in caplog.text
    assert not list(folder.iterdir())
    monkeypatch.setenv("JAXLLAMA_PACKED_GB", "much")
    with pytest.raises(ValueError, match="JAXLLAMA_PACKED_GB: expected a number"):
        load_packed(file, read_config(file), "mmap")


def full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("way", ["no folder", "no home", "full disk"])
def test_without_a_place_to_write_the_weights_are_private(file, tmp_path, monkeypatch, caplog, way):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if way == "no folder":
        (tmp_path / "jaxllama").touch()
    if way == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    if way == "full disk":
        monkeypatch.setattr(os, "pwrite", full)
    with caplog.at_level(logging.WARNING):
        same(load_packed(file, read_config(file), "mmap"), load_params(file, read_config(file)))
    assert len(caplog.records) == 1
    assert "the weights are loaded without a copy in the cache folder" in caplog.text
    assert not list(tmp_path.rglob("*.p*"))


def test_a_folder_that_others_fill_is_used(file, folder, monkeypatch):
    expected = load_packed(file, read_config(file), "mmap")
    settle()
    monkeypatch.setattr(os, "utime", full)
    monkeypatch.setattr(memory, "make_room", full)  # would be called for a new file
    same(load_packed(file, read_config(file), "mmap"), expected)


@pytest.fixture
def windows(monkeypatch):
    """A system without the calls that only Unix has, where files that are open stay and keep their names."""
    for name in ("pread", "pwrite", "statvfs", "sysconf", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    for name in [name for name in vars(mmap) if name.startswith(("MADV_", "MAP_", "PROT_"))]:
        monkeypatch.delattr(mmap, name)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))  # Python's own way there
    monkeypatch.setattr(memory, "_RENAMES", False)

    def refuse(*_, **__):
        raise PermissionError(32, "The process cannot access the file because it is being used by another process")

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)


@pytest.mark.usefixtures("windows")
def test_weights_are_mapped_where_unix_calls_are_missing(file, folder, monkeypatch):
    config = read_config(file)
    expected = load_params(file, config)
    same(load_packed(file, config, "mmap"), expected)
    settle()
    monkeypatch.setattr(memory.PackedFile, "_put", full)  # nothing is packed again
    same(load_packed(file, config, "mmap"), expected)


@pytest.mark.usefixtures("windows")
def test_a_file_that_is_not_whole_yet_is_not_used(file, folder, monkeypatch, caplog):
    config = read_config(file)
    with monkeypatch.context() as patched:
        patched.setattr(memory.PackedFile, "_finish", lambda packed: packed._file.close())  # the first process is still writing
        expected = load_packed(file, config, "mmap")
    (growing,) = folder.iterdir()
    assert growing.read_bytes()[:4096] == bytes(4096)
    with caplog.at_level(logging.WARNING):
        same(load_packed(file, config, "mmap"), expected)
    assert list(folder.iterdir()) == [growing]
    assert not caplog.records


def test_nothing_is_left_when_loading_fails(file, folder, monkeypatch):
    def fail(*_):
        raise jaxllama.GGUFError(file.path, "tensor", expected="another", found="this")

    monkeypatch.setattr(parameters._Loader, "host_array", fail)
    with pytest.raises(jaxllama.GGUFError):
        load_packed(file, read_config(file), "mmap")
    assert not list(folder.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells how memory is shared")
def test_two_processes_share_the_weights(folder):
    """Of a mapped model next to nothing is private to a process: its packed pages are counted for both."""
    code = """
import sys, numpy as np, jax, jaxllama
model = jaxllama.load(load_mode="mmap", n_ctx=64)
read = [np.asarray(x).tobytes() for x in jax.tree.leaves(model.params)]  # touches the pages
print("ready", flush=True)
sys.stdin.readline()
private = shared = 0
inside = False
for line in open("/proc/self/smaps"):
    if "-" in line.split()[0]:
        inside = line.rstrip().endswith(".packed")
    elif inside and line.startswith("Private"):
        private += int(line.split()[1])
    elif inside and line.startswith("Shared"):
        shared += int(line.split()[1])
print(private, shared, flush=True)
sys.stdin.readline()
"""
    load_packed(jaxllama.open_gguf(jaxllama.embedded_model()), read_config(jaxllama.open_gguf(jaxllama.embedded_model())), "mmap")
    settle()
    both = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in both:  # one after the other, while the other one waits
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            private, shared = map(int, process.stdout.readline().split())
            assert private == 0
            assert shared > 2000  # kilobytes, of 3.7 MB
    finally:
        for process in both:
            process.communicate()
