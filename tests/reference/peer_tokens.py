"""llama.cpp's ids of texts: reads a JSON list of [text, add_special, parse_special] and writes a JSON list of lists. For llama-cpp-python's interpreter.

python tests/reference/peer_tokens.py MODEL.gguf TEXTS.json IDS.json
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp as lib  # pyright: ignore[reportMissingImports]

model_path, texts, out = sys.argv[1:]
lib.llama_backend_init()
parameters = lib.llama_model_default_params()
parameters.vocab_only = True
model = lib.llama_model_load_from_file(model_path.encode(), parameters)
if not model:
    sys.exit(f"llama.cpp does not load {model_path}")
vocabulary = lib.llama_model_get_vocab(model)
found = []
for text, add_special, parse_special in json.loads(Path(texts).read_text()):
    raw = text.encode()
    buffer = (ctypes.c_int32 * (len(raw) + 8))()
    count = lib.llama_tokenize(vocabulary, raw, len(raw), buffer, len(buffer), add_special, parse_special)
    found.append(list(buffer[:count]))
ends = [i for i in range(lib.llama_vocab_n_tokens(vocabulary)) if lib.llama_vocab_is_eog(vocabulary, i)]
Path(out).write_text(json.dumps({"ids": found, "end": ends}))
