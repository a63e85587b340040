"""Rows of blocks into the device layout: sixteen rows side by side, item by item. Moves bytes and nothing else; numpy in `layout` is oracle and fallback."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from jaxllama.kernels.assemble import compiling, function
from jaxllama.kernels.ir import Function

from ..block import LANES, BlockFormat, Part
from ..blocks import FORMATS

_SIZES = {1: "i8", 2: "i16", 4: "i32"}


@cache
def _compiled(format: str) -> Any:
    """repack(rows, bytes of a row, blocks of a row, tiles, target of every part)."""
    format_ = FORMATS[format]
    f = Function(f"jaxllama_repack_{format.lower()}", "void", "ptr", "i64", "i64", "i64", *["ptr"] * len(format_.parts))
    source, row_bytes, blocks, tiles, *targets = f.parameters

    def tile(t: str, _: list[str]) -> list[str]:
        rows = [f.at(source, f.mul(f.add(f.mul(t, LANES), lane), row_bytes)) for lane in range(LANES)]

        def block(b: str, _: list[str]) -> list[str]:
            at = f.mul(b, format_.type.bytes)
            here = [f.at(row, at) for row in rows]
            number = f.add(f.mul(t, blocks), b)
            for part, target in zip(format_.parts, targets, strict=True):
                size = part.nbytes // part.count
                out = f.at(target, f.mul(number, LANES * part.nbytes))

                def item(i: str, _: list[str], part: Part = part, size: int = size, out: str = out) -> list[str]:
                    offset = f.add(f.mul(i, size), part.offset)
                    line = f.at(out, f.mul(i, LANES * size))
                    for lane in range(LANES):
                        f.store(_SIZES[size], f.load(_SIZES[size], here[lane], offset), line, lane * size)
                    return []

                f.loop(0, part.count, [], item)
            return []

        return f.loop(0, blocks, [], block)

    f.loop(0, tiles, [], tile)
    f.do("ret void")
    return function(f, ctypes.c_void_p, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * len(format_.parts))


def repack(blocks: np.ndarray, targets: Sequence[np.ndarray], format_: BlockFormat) -> None:
    """Write whole tiles, uint8[tiles * 16, row bytes], to the parts [tiles, blocks, count, 16]. Runs without Python's lock."""
    tiles, row_bytes = blocks.shape[0] // LANES, blocks.strides[0]
    with compiling:  # all threads that pack a matrix come at once; the first one compiles for them
        run = _compiled(format_.name)
    run(blocks.ctypes.data, row_bytes, blocks.shape[1] // format_.type.bytes, tiles, *(target.ctypes.data for target in targets))
