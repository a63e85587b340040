"""Settings and fixtures for all tests: strict promotion, warnings as errors, two devices, no download, a cache of compiled programs for one run."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Workers, and whatever tests start, inherit this: a program is compiled once a run, nothing is left from the run before, and the user's caches are not touched.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="jaxllama-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = _cache
    os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{_cache}/jaxllama/xla"  # `use_compilation_cache` with the line above means the same
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jaxllama
from jaxllama.kernels.assemble import kernels_run
from jaxllama.llama import Llama
from jaxllama.llama import llama as llama_module

# isort: split
# jaxllama came first, so that its XLA flags count.
import jax
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every run tries other examples, and one that fails is kept in .hypothesis and printed; in CI they are the same every time.
settings.register_profile("explore", deadline=None, max_examples=25, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("explore"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "explore")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real vocabularies and a real small model, which lie beside the repository and not in it."""
    if not _SHARED.exists():
        pytest.skip("needs ../shared/data (real vocabularies and a small model), which is not part of the repository")
    return _SHARED


@pytest.fixture(scope="session")
def kernels() -> None:
    """Not a mark with a condition: asking starts XLA's threads, and tests/mutation forks when the tests are collected."""
    if not kernels_run():
        pytest.skip("kernels need a processor with AVX2 or NEON dot products, and llvmlite")


@pytest.fixture(scope="session")
def story_model() -> jaxllama.Model:
    """The model in the package, computed in float32 throughout."""
    return jaxllama.load(n_ctx=256, exact=True)


@pytest.fixture(scope="session")
def default_model() -> jaxllama.Model:
    """The model in the package as users load it, in a small context."""
    return jaxllama.load(n_ctx=512)


@pytest.fixture
def llama(default_model: jaxllama.Model, monkeypatch: pytest.MonkeyPatch) -> Llama:
    """llama-cpp-python's class over the model that all tests share, which has compiled everything."""
    monkeypatch.setattr(llama_module, "load", lambda path, **_: default_model)
    return Llama(jaxllama.embedded_model(), seed=3)


_LINUX = sys.platform.startswith("linux")
_settled = 0  # bytes of this process when programs were last dropped


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if _LINUX else 0


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """After every half gigabyte compiled programs are dropped and freed memory is given back: what is needed again is on the disk."""
    global _settled
    if _resident() > _settled + 2**29:
        jax.clear_caches()
        gc.collect()
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)  # XLA's threads compile in arenas that glibc keeps
        _settled = _resident()


@pytest.fixture
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels are compiled in this test, whatever other tests have compiled."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)
