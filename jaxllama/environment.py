"""Settings of the process: XLA flags and the compilation cache, which must be made before JAX starts, and folders for what is kept between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_VECTOR_FLAG = "--xla_cpu_prefer_vector_width"


def prefer_wide_vectors() -> bool:
    """Let XLA use 512-bit vectors where the processor has them; returns whether the flag was set.

    XLA's default of 256 bits costs 25 to 100 % of the speed of packed products. The flag counts only if JAX is not imported yet, and what the user has set
    stays.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "jax" in sys.modules or _VECTOR_FLAG in flags:
        return False
    try:
        wide = "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    if wide:
        os.environ["XLA_FLAGS"] = f"{flags} {_VECTOR_FLAG}=512".strip()
    return wide


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "jaxllama"


def cache_folder() -> Path:
    """The user's own cache folder for compiled programs."""
    return _user_cache() / "xla"


def packed_folder() -> Path:
    """Where copies of models in the device's layout are kept; beside the compiled programs."""
    return _user_cache() / "packed"


def packed_limit() -> int:
    """Bytes that those copies may take together: JAXLLAMA_PACKED_GB, by default 32 (0 keeps none).

    Raises:
        ValueError: the variable is no number.
    """
    text = os.environ.get("JAXLLAMA_PACKED_GB", "32")
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise ValueError(f"JAXLLAMA_PACKED_GB: expected a number of gigabytes, found {text!r}") from None


def use_compilation_cache(folder: str | Path | None = None) -> Path:
    """Keep compiled programs on disk, so that a second start does not compile.

    Call it before the first array exists. The folder holds code that will be run: keep it where only you can write.

    Args:
        folder: where to; the user's cache folder by default.

    Returns:
        The folder.
    """
    import jax

    path = Path(folder) if folder is not None else cache_folder()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path
