"""Machine code of kernels on the disk, beside XLA's compiled programs, where those are kept: compiling takes as long as all of XLA's part of a start."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax

_log = logging.getLogger(__name__)
_DIGEST = hashlib.sha256().digest_size


def kept_code(key: str, make: Callable[[], bytes]) -> bytes:
    """The code made for a key, from the disk if it is there whole."""
    folder = getattr(jax.config, "jax_compilation_cache_dir", None)
    if not folder:
        return make()
    path = Path(folder) / "kernels" / f"{hashlib.sha256(key.encode()).hexdigest()}.o"
    try:
        found = path.read_bytes()
    except OSError:
        found = b""
    code = found[_DIGEST:]
    if code and hashlib.sha256(code).digest() == found[:_DIGEST]:
        return code
    code = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(".partial", path.stem + ".", path.parent)
        partial = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        _log.info("a kernel's code could not be kept: %s", error)
    return code
