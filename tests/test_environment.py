"""Settings of the process. Caches are a convenience: where they cannot be kept, one warning says so and everything else goes on."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from pathlib import Path

import jax
import pytest

import jaxllama
from jaxllama.cli.main import main
from jaxllama.environment import cache_folder, thread_count

OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")


@pytest.fixture(autouse=True)
def _settings():
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


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
    assert len(caplog.records) == 1
    assert f"new ones are not kept: {error}" in caplog.text
    warnings.warn("Error writing persistent compilation cache entry for 'jit_step': OSError", stacklevel=1)  # JAX's words: no error here
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)


def test_a_run_goes_on_without_any_cache(monkeypatch, caplog, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/x")
    monkeypatch.setenv("HOME", "/nonexistent")
    with caplog.at_level(logging.WARNING):
        assert main(["run", "-n", "1", "-c", "512", "--temp", "0"]) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert capsys.readouterr().out.startswith("Once upon a time")


def test_jax_still_speaks_of_what_it_cannot_write(tmp_path, monkeypatch):
    """The words that are silenced above are those that JAX uses, and a program runs all the same."""
    jaxllama.use_compilation_cache(tmp_path)
    from jax._src import compilation_cache

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compilation_cache, "put_executable_and_time", full)
    with pytest.warns(UserWarning, match="Error writing persistent compilation cache entry"):
        assert jax.jit(lambda x: x * 3 + 1)(2) == 7


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
