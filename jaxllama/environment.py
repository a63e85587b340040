"""Settings of the process: XLA flags and the compilation cache, which must be made before JAX starts, and folders for what is kept between runs."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import TextIO

_log = logging.getLogger(__name__)
_VECTOR_FLAG = "--xla_cpu_prefer_vector_width"
_CACHE_ERROR = r"Error (reading|writing) persistent compilation cache entry for '([^']*)': (.*)"  # JAX's words, one warning for each program


def prefer_wide_vectors() -> bool:
    """Let XLA use 512-bit vectors where the processor has them; returns whether the flag was set.

    XLA's default of 256 bits costs 25 to 100 % of the speed of packed products. The flag counts only if JAX is not imported yet, and what the user has set
    stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "jax" in sys.modules or _VECTOR_FLAG in flags:
        return False
    try:
        wide = "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    if wide:
        os.environ["XLA_FLAGS"] = f"{flags} {_VECTOR_FLAG}=512".strip()
    return wide


def thread_count() -> int:
    """Threads of XLA's pool, which kernels share: NPROC or PJRT_NPROC where one is set, else the CPUs that the process may use."""
    for name in ("NPROC", "PJRT_NPROC"):
        if (text := os.environ.get(name, "")).isascii() and text.isdigit():
            return max(1, int(text))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Give XLA's pool, which kernels share, this many threads; 0 and below: one for each CPU that the process may use.

    Once JAX has started its backend, this changes nothing.
    """
    bridge = sys.modules.get("jax._src.xla_bridge")  # JAX has no public word for it
    if count > 0 and not (bridge is not None and bridge.backends_are_initialized()):
        os.environ["NPROC"] = str(count)


def quiet_interrupt() -> None:
    """Let Ctrl-C end the command `jaxllama` without a traceback while its imports run, which take a second. `main` brings the usual handler back.

    Where Ctrl-C is ignored, as under `nohup` and in background jobs of scripts, it stays so.
    """
    command = Path(sys.argv[0]).stem == "jaxllama" or sys.orig_argv[1:3] in (["-m", "jaxllama"], ["-m", "jaxllama.cli.main"])
    main = threading.current_thread() is threading.main_thread()
    if command and main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def available_memory() -> int | None:
    """Bytes of memory that the system could still give; None where it does not say (only Linux does)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "jaxllama"
    except RuntimeError as error:
        raise OSError(f"there is no home folder ({error}); XDG_CACHE_HOME names a folder for caches") from None


def cache_folder() -> Path:
    """The user's own cache folder for compiled programs.

    Raises:
        OSError: the user has no home folder.
    """
    return _user_cache() / "xla"


def packed_folder() -> Path:
    """Where copies of models in the device's layout are kept; beside the compiled programs.

    Raises:
        OSError: the user has no home folder.
    """
    return _user_cache() / "packed"


def packed_limit() -> int:
    """Bytes that those copies may take together: JAXLLAMA_PACKED_GB, by default 32 (0 keeps none).

    Raises:
        ValueError: the variable is no number.
    """
    text = os.environ.get("JAXLLAMA_PACKED_GB", "32")
    try:
        if not text.isascii() or "_" in text:  # which Python would read
            raise ValueError(text)
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise ValueError(f"JAXLLAMA_PACKED_GB: expected a number of gigabytes, found {text!r}") from None


def use_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs on disk, so that a second start does not compile. Where that cannot be done, one warning says so, and everything works without.
    A program on the disk that is damaged is removed and compiled again.

    Call it before the first array exists. The folder holds code that will be run: keep it where only you can write.

    Args:
        folder: where to; the user's cache folder by default.

    Returns:
        The folder; None where there is none.
    """
    import jax

    if not isinstance(folder, (str, os.PathLike, type(None))):
        raise TypeError(f"expected the name of a folder, found {folder!r}")
    try:
        path = Path(folder) if folder is not None else cache_folder()
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        next(path.iterdir(), None)
    except (OSError, ValueError) as error:  # a name with a null character
        _log.warning("compiled programs are not kept on disk: %s", error)
        return None
    errors = _CacheErrors(path)
    try:
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:  # what is in it serves all the same
        errors.tell("writing", error)
    _take_warnings(errors)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


class _CacheErrors:
    """What goes wrong with the compiled programs of a folder, one line a kind."""

    def __init__(self, folder: Path):
        self._folder, self._told = folder, set[str]()

    def tell(self, kind: str, error: object) -> None:
        if kind not in self._told:
            self._told.add(kind)
            words = "one that is damaged is compiled again" if kind == "reading" else "new ones are not kept"
            _log.warning("compiled programs are read from %s, but %s: %s", self._folder, words, error)

    def remove(self, program: str) -> None:
        """JAX does not say which of a program's entries it cannot read, and never writes over one."""
        for entry in self._folder.glob(f"{glob.escape(program)}-*"):
            with contextlib.suppress(OSError):
                entry.unlink()


_errors: _CacheErrors | None = None  # of the folder in use
_shown_before = warnings.showwarning


def _take_warnings(errors: _CacheErrors) -> None:
    """Take JAX's warnings about entries of its cache from here on; all others go where they went."""
    global _errors, _shown_before
    _errors = errors
    if warnings.showwarning is not _show:
        _shown_before, warnings.showwarning = warnings.showwarning, _show
    warnings.filterwarnings("always", _CACHE_ERROR)


def _show(message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None) -> None:
    found = re.match(_CACHE_ERROR, str(message), re.DOTALL)
    if _errors is None or found is None:
        _shown_before(message, category, filename, lineno, file, line)
        return
    if found[1] == "reading":
        _errors.remove(found[2])
    _errors.tell(found[1], found[3])
