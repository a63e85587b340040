"""Record llama.cpp's built-in chat templates: every name with conversations of several kinds. For llama-cpp-python's interpreter.

PEER_PYTHON tests/reference/peer_templates.py        # writes templates.json
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import llama_cpp as lib  # pyright: ignore[reportMissingImports]

S, U, A, T = "system", "user", "assistant", "tool"
CONVERSATIONS = [
    [(U, "Hello")],
    [(S, " You help. "), (U, " Hello "), (A, " Hi there \n"), (U, "Who are you?\n")],
    [(U, "One"), (A, "Two"), (U, "Three"), (A, "Four")],
    [(S, "Be brief."), (U, "ünï 🦙"), (A, "{{ x }} {% y %}"), (T, "42"), (U, "So?")],
    [(U, "first"), (S, "late"), (U, "second")],
]
names = (ctypes.c_char_p * 100)()
count = lib.llama_chat_builtin_templates(names, 100)
found = {}
for name in sorted(names[i].decode() for i in range(count)):
    rendered = []
    for conversation in CONVERSATIONS:
        messages = (lib.llama_chat_message * len(conversation))(*((r.encode(), c.encode()) for r, c in conversation))
        for answer in (False, True):
            buffer = ctypes.create_string_buffer(65536)
            length = lib.llama_chat_apply_template(name.encode(), messages, len(conversation), answer, buffer, len(buffer))
            rendered.append(buffer.raw[:length].decode() if length >= 0 else None)
    found[name] = rendered
out = {"conversations": CONVERSATIONS, "templates": found}
Path(__file__).with_name("templates.json").write_text(json.dumps(out, ensure_ascii=False, indent=0))
