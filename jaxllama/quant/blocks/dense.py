"""F32, F16, BF16: no blocks, one number after the other, little endian. BF16 is the upper half of an F32."""

from __future__ import annotations

from ..block import BlockFormat, Part

F32 = BlockFormat("F32", (Part("x", 0, "f4"),))
F16 = BlockFormat("F16", (Part("x", 0, "f2"),))
BF16 = BlockFormat("BF16", (Part("x", 0, "bfloat16"),))
