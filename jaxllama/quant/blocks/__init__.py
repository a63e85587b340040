"""One file a format (or a family that shares its arithmetic); `FORMATS` is the table of all."""

from . import dense, q4_0, q4_k, q5_k, q6_k, q8_0

FORMATS = {f.name: f for f in (dense.F32, dense.F16, dense.BF16, q4_0.FORMAT, q8_0.FORMAT, q4_k.FORMAT, q5_k.FORMAT, q6_k.FORMAT)}
