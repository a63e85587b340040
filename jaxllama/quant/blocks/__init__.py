"""One file a format (or a family that shares its arithmetic); `FORMATS` is the table of all."""

from ..block import BlockFormat
from . import dense, few_bits, fp4, iq1, iq2, iq3, iq4, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_k, q6_k, q8_0

FORMATS = {
    f.name: f
    for f in (
        *(dense.F32, dense.F16, dense.BF16, dense.F64, dense.I8, dense.I16, dense.I32, dense.I64),
        *(q4_0.FORMAT, q4_1.FORMAT, q5_0.Q5_0, q5_0.Q5_1, q8_0.FORMAT),
        *(q2_k.FORMAT, q3_k.FORMAT, q4_k.FORMAT, q5_k.FORMAT, q6_k.FORMAT),
        *(iq1.IQ1_S, iq1.IQ1_M, iq2.IQ2_XXS, iq2.IQ2_XS, iq2.IQ2_S, iq3.IQ3_XXS, iq3.IQ3_S, iq4.IQ4_NL, iq4.IQ4_XS),
        *(fp4.MXFP4, fp4.NVFP4),
        *(few_bits.Q1_0, few_bits.Q2_0, few_bits.TQ1_0, few_bits.TQ2_0),
    )
}


def format_named(name: str) -> BlockFormat:
    """The format of a name, in capitals or not.

    Raises:
        ValueError: there is none.
    """
    found = FORMATS.get(name.upper()) if isinstance(name, str) else None
    if found is None:
        raise ValueError(f"there is no block format {name!r}; there are {', '.join(FORMATS)}")
    return found
