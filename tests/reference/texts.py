"""Random and adversarial texts for tokenizers; the same ones every time, since `random.Random` is the same everywhere."""

from __future__ import annotations

import random
from collections.abc import Sequence

_RANGES = (
    (0x20, 0x7E),
    (0xA1, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x3FF),
    (0x400, 0x4FF),
    (0x590, 0x5FF),
    (0x600, 0x6FF),
    (0x900, 0x97F),
    (0xE00, 0xE7F),
    (0x1100, 0x11FF),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2070, 0x218F),
    (0x2190, 0x27BF),
    (0x3000, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xE000, 0xE0FF),
    (0xFB00, 0xFB06),
    (0xFF00, 0xFFEF),
    (0x10400, 0x1044F),
    (0x1D400, 0x1D4FF),
    (0x1F300, 0x1F6FF),
    (0x20000, 0x200FF),
)
_SPACES = ("  ", "\n", "\n\n", "\r\n", "\t", " \n ", "   ", "\u00a0", "\u3000", "\u2028", "\x0b", "\x85", " ", " ", " ")
_WORDS = (
    "hello", "World", "don't", "I'LL", "we've", "it's", "THE", "iPhone", "naïve", "été", "Straße", "ΑΒΓδε", "привет", "Мир",
    "日本語", "中文字符", "한국어", "ภาษาไทย", "हिन्दी", "العربية", "שלום", "ﬁne", "ab", "abcd", "1/2", "x=y+2;", "def f(x):", "return",
    "{", "}", "</div>", "http://a.b/c?d=e&f", "foo_bar", "__init__", "🦙", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "🇩🇪",
    "❤️", "\u200d", "\u200b", "\ufeff", "\ufffd", "…", "“quoted”", "—", "½", "Ⅷ", "²", "١٢٣", "e\u0301", "\x00", "\x01\x7f", "'",
    "''S", "#!?.,;:", "`$^~|<=>", "ACGTACGTAC", "acgt", "word/\n", "a.b,c", "'re", " 'tis", "K8s", "ſs", "ǅ", "İi",
)  # fmt: skip


def texts(count: int, seed: int, special: Sequence[str] = ()) -> list[str]:
    """So many texts of up to some hundred characters.

    Args:
        special: texts of tokens that also occur.
    """
    draw = random.Random(seed)
    pieces = (
        lambda: draw.choice(_WORDS),
        lambda: draw.choice(_SPACES),
        lambda: "".join(draw.choice("abcdefghijklmnopqrstuvwxyzABC") for _ in range(draw.randint(1, 12))),
        lambda: str(draw.randrange(10 ** draw.randint(1, 12))),
        lambda: "".join(chr(draw.randint(*draw.choice(_RANGES))) for _ in range(draw.randint(1, 4))),
        lambda: (lambda low, high: "".join(chr(draw.randint(low, high)) for _ in range(draw.randint(1, 8))))(*draw.choice(_RANGES)),
        lambda: draw.choice("ab .\n!1'A") * draw.randint(1, 40),
        lambda: draw.choice(special) if special else " ",
    )
    return ["".join(draw.choice(pieces)() for _ in range(draw.randint(1, 14))) for _ in range(count)]
