"""Settings of the process. Caches are a convenience: where they cannot be kept, one warning says so and everything else goes on."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import jax
import pytest
from jax._src import compilation_cache

import jaxllama
from jaxllama import environment
from jaxllama.cli.main import main
from jaxllama.environment import cache_folder, thread_count

OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")


@pytest.fixture(autouse=True)
def _settings():
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("way", ["a file", "no such device", "no permission", "no home", "not to be read"])
def test_a_folder_that_cannot_be_made(way, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", {"a file": str(tmp_path / "file"), "no such device": "/dev/null/x"}.get(way, str(tmp_path)))
    if way == "no permission":
        monkeypatch.setattr(Path, "mkdir", refuse)
    if way == "not to be read":
        monkeypatch.setattr(Path, "iterdir", refuse)
    if way == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", no_home)
        with pytest.raises(OSError, match="XDG_CACHE_HOME names a folder"):
            cache_folder()
    before = jax.config.jax_compilation_cache_dir
    with caplog.at_level(logging.WARNING):
        assert jaxllama.use_compilation_cache() is None
    assert len(caplog.records) == 1
    assert "compiled programs are not kept on disk" in caplog.text
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_a_folder_that_can_only_be_read(error, tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with caplog.at_level(logging.WARNING):
        assert jaxllama.use_compilation_cache(tmp_path) == tmp_path
        warnings.warn("Error writing persistent compilation cache entry for 'jit_step': OSError", stacklevel=1)  # JAX's words: told already
    assert len(caplog.records) == 1
    assert f"new ones are not kept: {error}" in caplog.text
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)


def test_a_run_goes_on_without_any_cache(monkeypatch, caplog, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/x")
    monkeypatch.setenv("HOME", "/nonexistent")
    with caplog.at_level(logging.WARNING):
        assert main(["run", "-n", "1", "-c", "512", "--temp", "0"]) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert capsys.readouterr().out.startswith("Once upon a time")


@pytest.mark.filterwarnings("default")
def test_a_folder_that_fails_later(tmp_path, monkeypatch, caplog, recwarn):
    """The words that are looked for are those that JAX uses: one line for all programs, which run all the same. Other warnings are shown as before."""
    with caplog.at_level(logging.WARNING):
        jaxllama.use_compilation_cache(tmp_path / "cache")
        compilation_cache.reset_cache()  # it has opened the folder of all tests
        assert jax.jit(lambda x: x * 3 + 1)(2) == 7
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").touch()
        assert jax.jit(lambda x: x * 3 + 2)(2) == 8
        assert jax.jit(lambda x: x * 3 + 3)(2) == 9
    assert [record.args[1] for record in caplog.records] == ["new ones are not kept"]
    shown = []
    monkeypatch.setattr(environment, "_shown_before", lambda *arguments: shown.append(arguments))
    warnings.warn("something else", stacklevel=1)
    assert len(shown) == 1


@pytest.mark.filterwarnings("default")
def test_a_damaged_program_is_compiled_again_and_kept(tmp_path, caplog):
    def run():
        return jax.jit(lambda x: x * 5 - 1)(2)

    with caplog.at_level(logging.WARNING):
        jaxllama.use_compilation_cache(tmp_path)
        compilation_cache.reset_cache()
        assert run() == 9
        entries = list(tmp_path.glob("*-cache"))
        assert entries
        for path in entries:
            path.write_bytes(path.read_bytes()[:20])
        for _ in range(2):
            jax.clear_caches()
            assert run() == 9
    assert all(path.stat().st_size > 20 for path in entries)
    assert [record.args[1] for record in caplog.records] == ["one that is damaged is compiled again"]


def test_threads_are_those_of_xlas_pool(monkeypatch):
    for name in ("NPROC", "PJRT_NPROC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert thread_count() == 3
    monkeypatch.setenv("NPROC", "many")
    assert thread_count() == 3
    monkeypatch.setenv("NPROC", "7")
    assert thread_count() == 7
    monkeypatch.delenv("NPROC")
    monkeypatch.delattr(os, "sched_getaffinity")  # neither Windows nor macOS has it
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert thread_count() == 1
