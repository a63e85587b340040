"""Speed of a file's tokenizer on a text, in megabytes a second.

python benchmarks/tokenizer.py model.gguf text.txt
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from jaxllama import Tokenizer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", help="GGUF file; one with a vocabulary alone is enough")
parser.add_argument("text", help="UTF-8 file, a megabyte or more")
args = parser.parse_args()
start = time.perf_counter()
tokenizer = Tokenizer.from_gguf(args.model)
print(f"built in {time.perf_counter() - start:.2f} s")
text = Path(args.text).read_text(encoding="utf-8", errors="replace")
size = len(text.encode()) / 1e6
ids: list[int] = []
best = 0.0
for _ in range(3):
    start = time.perf_counter()
    ids = tokenizer.encode(text)
    best = max(best, size / (time.perf_counter() - start))
print(f"{size:.1f} MB, {len(ids):,} tokens, {best:.2f} MB/s")
