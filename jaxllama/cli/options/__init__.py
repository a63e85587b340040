"""The options of the command line, in one table: what each is called, which variable sets it, what values it takes and what it does here."""

from .chat import CHAT
from .model import COMPILE, CONTEXT, LOG, MODEL, ROPE
from .option import Group, Option, UsageError, Verb
from .others import CHAT_IDLE, CHAT_LATER, IDLE, INFORM, LATER
from .parse import parse
from .sampling import GRAMMAR, SAMPLING
from .text import INTERACTIVE, OUTPUT, PROMPT, TIMINGS

COMMON = (MODEL, PROMPT, TIMINGS, CONTEXT, ROPE, SAMPLING, GRAMMAR, LOG, IDLE, LATER)
"""What each of llama.cpp's tools takes."""
GENERATE = (MODEL, PROMPT, OUTPUT, INTERACTIVE, CHAT, CONTEXT, ROPE, SAMPLING, GRAMMAR, COMPILE, LOG, IDLE, CHAT_IDLE, LATER, CHAT_LATER)
"""What its tools that generate text take."""

__all__ = [
    "CHAT",
    "CHAT_IDLE",
    "CHAT_LATER",
    "COMMON",
    "COMPILE",
    "CONTEXT",
    "GENERATE",
    "GRAMMAR",
    "IDLE",
    "INFORM",
    "INTERACTIVE",
    "LATER",
    "LOG",
    "MODEL",
    "OUTPUT",
    "PROMPT",
    "ROPE",
    "SAMPLING",
    "TIMINGS",
    "Group",
    "Option",
    "UsageError",
    "Verb",
    "parse",
]
