"""What the host's processor can do, as far as a choice of formulation depends on it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


@cache
def features() -> frozenset[str]:
    """Names of instruction sets, as Linux spells them; empty where the system does not tell."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return frozenset({"asimd", "asimddp"})  # every Apple processor has them
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()


@cache
def has_bf16_products() -> bool:
    """Whether bf16 products run in hardware: AVX-512 BF16 or AMX on x86, BF16 on Arm."""
    return bool(features() & {"avx512_bf16", "amx_bf16", "bf16"}) or platform.machine() == "arm64"


@cache
def has_matrix_units() -> bool:
    """Whether the processor has AMX, with which XLA's own bf16 product runs."""
    return "amx_bf16" in features()
