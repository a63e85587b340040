"""SentencePiece's table of normalisations (`tokenizer.ggml.precompiled_charsmap`): prefixes of a text and what stands in their place.

The table is a double array (Aoe, 1989) in which children are found by XOR, after a length in bytes; then come the replacements, each ended by a zero.
An entry has the last byte of its prefix in bits 0 to 7, a flag for "ends here" in bit 8, and the base of its children from bit 10 on, to be shifted by 8 more
where bit 9 is set; the entry that a flagged base points to has the place of the replacement. Source: darts-clone, llama.cpp's xcda_array_view.
"""

from __future__ import annotations

import numpy as np

_VALUE = 2**31 - 1


class CharsMap:
    """A precompiled table.

    Raises:
        ValueError: the bytes are no such table.
    """

    def __init__(self, raw: bytes):
        size = int.from_bytes(raw[:4], "little")
        if len(raw) < 4 or size % 4 or size + 4 >= len(raw):
            raise ValueError(f"a precompiled_charsmap of {len(raw)} bytes with a table of {size} bytes")
        self._units = np.frombuffer(raw, "<u4", size // 4, 4).tolist()
        self._replacements = raw[4 + size :]

    def longest(self, text: bytes, start: int) -> tuple[int, bytes] | None:
        """(length of the prefix, its replacement) of the longest prefix at a place, or None.

        Raises:
            ValueError: the table points beyond itself.
        """
        units, best = self._units, None
        try:
            node = self._base(0)
            for at in range(start, len(text)):
                byte = text[at]
                node ^= byte
                unit = units[node]
                if byte == 0 or unit & (1 << 31 | 0xFF) != byte:
                    break
                node ^= self._base(node)
                if unit >> 8 & 1:
                    best = at + 1 - start, units[node] & _VALUE
        except IndexError:
            raise ValueError("a precompiled_charsmap that points beyond its end") from None
        if best is None:
            return None
        end = self._replacements.find(b"\0", best[1])
        if end < 0:
            raise ValueError("a precompiled_charsmap with a replacement that does not end")
        return best[0], self._replacements[best[1] : end]

    def _base(self, node: int) -> int:
        unit = self._units[node]
        return unit >> 10 << ((unit & 1 << 9) >> 6)
