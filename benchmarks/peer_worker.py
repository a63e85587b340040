"""llama.cpp's side of `peer.py`: runs under an interpreter that has llama-cpp-python, and answers a line of JSON for each line of JSON.

{"model": path, "threads": 2, "slots": 1, "n_ctx": 512, "flash": "auto" | "on" | "off"}   opens a context
{"depth": 0}                                                                             fills the cache
{"prompt": 256, "generated": 0}                                                          reads and writes after it; answers {"seconds": s}
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from typing import Any

import llama_cpp as lib  # pyright: ignore[reportMissingImports]
import numpy as np

FLASH = {"auto": -1, "off": 0, "on": 1}
N_BATCH, N_UBATCH = 2048, 512  # llama-bench's


class Peer:
    def __init__(self) -> None:
        self.quiet = lib.llama_log_callback(lambda level, text, data: None)
        lib.llama_log_set(self.quiet, ctypes.c_void_p(0))
        lib.llama_backend_init()
        self.models: dict[str, Any] = {}
        self.context: Any = None
        self.depth, self.slots = 0, 1

    def open(self, model: str, threads: int, slots: int, n_ctx: int, flash: str) -> None:
        if model not in self.models:
            self.models[model] = lib.llama_model_load_from_file(model.encode(), lib.llama_model_default_params())
        if not self.models[model]:
            raise SystemExit(f"llama.cpp cannot load {model}")
        if self.context:
            lib.llama_free(self.context)
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = n_ctx * slots, N_BATCH, N_UBATCH, slots
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = FLASH[flash]
        self.context = lib.llama_init_from_model(self.models[model], params)
        if not self.context:
            raise SystemExit(f"llama.cpp cannot make a context for {model}")
        self.depth, self.slots = 0, slots

    def decode(self, count: int, position: int) -> None:
        """`count` random tokens of every slot from `position` on, logits for the last of each."""
        entries = [(slot, position + i, i == count - 1) for slot in range(self.slots) for i in range(count)]
        tokens = np.random.default_rng(position).integers(0, 256, len(entries))
        for start in range(0, len(entries), N_BATCH):
            part = entries[start : start + N_BATCH]
            batch = lib.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for i, (slot, at, last) in enumerate(part):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(tokens[start + i]), at, 1, last
                batch.seq_id[i][0] = slot
            status = lib.llama_decode(self.context, batch)
            lib.llama_synchronize(self.context)
            lib.llama_batch_free(batch)
            if status:
                raise SystemExit(f"llama_decode failed: {status}")

    def fill(self, depth: int) -> None:
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        if depth:
            self.decode(depth, 0)
        self.depth = depth

    def run(self, prompt: int, generated: int) -> float:
        for slot in range(self.slots):
            lib.llama_memory_seq_rm(lib.llama_get_memory(self.context), slot, self.depth, -1)
        start = time.perf_counter()
        if prompt:
            self.decode(prompt, self.depth)
        for i in range(generated):
            self.decode(1, self.depth + prompt + i)
        return time.perf_counter() - start


def main() -> None:
    peer = Peer()
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, float] = {}
        if "model" in asked:
            peer.open(**asked)
        elif "depth" in asked:
            peer.fill(**asked)
        else:
            answer = {"seconds": peer.run(**asked)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
