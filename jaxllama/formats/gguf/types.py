"""The numbers of the GGUF format: value types of the metadata and types of the tensors.

Source: the GGUF specification and ggml's type table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_DIMS = 4
NAME_BYTES = 64  # a tensor's name is shorter


class ValueType(IntEnum):
    """Type of a metadata value."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


# numpy's letter for each value type of fixed size.
DTYPES: dict[ValueType, str] = {
    ValueType.UINT8: "u1",
    ValueType.INT8: "i1",
    ValueType.UINT16: "u2",
    ValueType.INT16: "i2",
    ValueType.UINT32: "u4",
    ValueType.INT32: "i4",
    ValueType.FLOAT32: "f4",
    ValueType.BOOL: "u1",
    ValueType.UINT64: "u8",
    ValueType.INT64: "i8",
    ValueType.FLOAT64: "f8",
}


@dataclass(frozen=True)
class TensorType:
    """How ggml stores a tensor: `weights` numbers in `bytes` bytes."""

    id: int
    name: str
    weights: int
    bytes: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.bytes / self.weights


_TABLE = (
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
)
TENSOR_TYPES: dict[int, TensorType] = {row[0]: TensorType(*row) for row in _TABLE}
TENSOR_TYPE_NAMES: dict[str, TensorType] = {t.name: t for t in TENSOR_TYPES.values()}


def add_tensor_type(kind: TensorType) -> None:
    """Make a type of one's own known in this process.

    Raises:
        ValueError: its number or its name is taken, or the number is none that a file can hold.
    """
    if not 0 <= kind.id < 2**31:
        raise ValueError(f"the number of a tensor type is from 0 to {2**31 - 1}, not {kind.id}")
    if kind.id in TENSOR_TYPES or kind.name in TENSOR_TYPE_NAMES:
        raise ValueError(f"tensor type {kind.id} '{kind.name}': GGUF's {TENSOR_TYPES.get(kind.id) or TENSOR_TYPE_NAMES[kind.name]} has its number or its name")
    TENSOR_TYPES[kind.id] = TENSOR_TYPE_NAMES[kind.name] = kind
