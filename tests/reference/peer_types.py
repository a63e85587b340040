"""What llama.cpp's quantizer says it would do with a model, for several file types. For llama-cpp-python's interpreter.

python tests/reference/peer_types.py MODEL.gguf ASKED.json SAID.json

ASKED: {"importance": {tensor: numbers}, "types": [[number of a file type, with importance], ...]}. SAID: a text for each of the types.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp as lib  # pyright: ignore[reportMissingImports]

model_path, given, out = sys.argv[1:]
asked = json.loads(Path(given).read_text())
said: list[bytes] = []
listen = lib.llama_log_callback(lambda level, text, data: said.append(text))
lib.llama_log_set(listen, None)
lib.llama_backend_init()
entries = [lib.llama_model_imatrix_data(name.encode(), (ctypes.c_float * size)(*[1.0] * size), size) for name, size in asked["importance"].items()]
importance = (lib.llama_model_imatrix_data * (len(entries) + 1))(*entries)  # ends with one that has no name
answers = []
for number, weighted in asked["types"]:
    parameters = lib.llama_model_quantize_default_params()
    parameters.ftype, parameters.dry_run, parameters.nthread = number, True, 1
    if weighted:
        parameters.imatrix = importance
    said.clear()
    lib.llama_model_quantize(model_path.encode(), b"", ctypes.byref(parameters))
    answers.append(b"".join(said).decode())
Path(out).write_text(json.dumps(answers))
