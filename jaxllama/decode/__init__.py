"""Decoding: states, the step, the loop, sampling."""

from .generate import ContextFull, Session, Timings, Tokens, prefill_prompts, stream_tokens
from .loop import Emitted, Run, Stop, begin, decode_loop, jit_begin, jit_decode_loop
from .programs import Programs
from .sampling import Sampling, make_sampling, sample
from .session import SessionError, fork, load_state, rollback, save_state
from .step import jit_prefill, jit_step, prefill, step

__all__ = [
    "ContextFull",
    "Emitted",
    "Programs",
    "Run",
    "Sampling",
    "Session",
    "SessionError",
    "Stop",
    "Timings",
    "Tokens",
    "begin",
    "decode_loop",
    "fork",
    "jit_begin",
    "jit_decode_loop",
    "jit_prefill",
    "jit_step",
    "load_state",
    "make_sampling",
    "prefill",
    "prefill_prompts",
    "rollback",
    "sample",
    "save_state",
    "step",
    "stream_tokens",
]
