"""Packed weights: block formats, the tensors made of them, and products with them."""

from .block import BlockFormat, Group, Part
from .blocks import FORMATS
from .dequantize import dequantize, qtake
from .integers import integers, saturated
from .matmul import qmatmul
from .memory import Memory
from .qtensor import QTensor, from_blocks, to_blocks
from .quantize import quantize
from .quantize_file import plan_file, quantize_file, write_plan
from .register import format_changes, register_format
from .stack import LayerStack, stack_layers, stack_matmul

__all__ = [
    "FORMATS",
    "BlockFormat",
    "Group",
    "LayerStack",
    "Memory",
    "Part",
    "QTensor",
    "dequantize",
    "format_changes",
    "from_blocks",
    "integers",
    "plan_file",
    "qmatmul",
    "qtake",
    "quantize",
    "quantize_file",
    "register_format",
    "saturated",
    "stack_layers",
    "stack_matmul",
    "to_blocks",
    "write_plan",
]
