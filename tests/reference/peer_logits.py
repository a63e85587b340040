"""llama.cpp's logits of a model: a prompt in one batch, then the last tokens one by one, with a float32 cache. For llama-cpp-python's interpreter.

python tests/reference/peer_logits.py MODEL.gguf TOKENS.json STEPS LOGITS.npy        # f32[tokens, vocabulary]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import llama_cpp as lib  # pyright: ignore[reportMissingImports]
import numpy as np

model_path, given, steps, out = sys.argv[1:]
tokens = json.loads(Path(given).read_text())
quiet = lib.llama_log_callback(lambda *_: None)
lib.llama_log_set(quiet, None)
lib.llama_backend_init()
model = lib.llama_model_load_from_file(model_path.encode(), lib.llama_model_default_params())
if not model:
    sys.exit(f"llama.cpp does not load {model_path}")
parameters = lib.llama_context_default_params()
parameters.n_ctx, parameters.n_threads, parameters.n_threads_batch = max(64, len(tokens)), 2, 2
parameters.type_k = parameters.type_v = 0  # F32
parameters.flash_attn_type = 0  # off
context = lib.llama_init_from_model(model, parameters)
if not context:
    sys.exit(f"llama.cpp makes no context for {model_path}")
size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))


def read(some: list[int], position: int) -> list[np.ndarray]:
    """The logits after each of some tokens, which run together."""
    batch = lib.llama_batch_init(len(some), 0, 1)
    batch.n_tokens = len(some)
    for i, token in enumerate(some):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position + i, 1, 0, 1
    status = lib.llama_decode(context, batch)
    lib.llama_batch_free(batch)
    if status:
        sys.exit(f"llama_decode fails with {status}")
    return [np.ctypeslib.as_array(lib.llama_get_logits_ith(context, i), (size,)).copy() for i in range(len(some))]


head = len(tokens) - int(steps)
rows = read(tokens[:head], 0)
for i in range(head, len(tokens)):
    rows += read(tokens[i : i + 1], i)
np.save(out, np.stack(rows).astype(np.float32))
