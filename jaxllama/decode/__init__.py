"""Decoding: states, the step, the loop, sampling."""

from .chain import Choice, distribution, sample
from .generate import LogitsError, Session, Timings, Tokens, check_chosen, prefill_prompts, stream_tokens
from .grammars import Grammars, Running
from .history import History, remember, start_history
from .loop import Emitted, Run, Stop, begin, choose, decode_loop, jit_choose, jit_decode_loop
from .programs import Programs
from .sampling import Breakers, Sampling, chain_of, chain_of_letters, make_breakers, make_sampling
from .session import SessionError, fork, load_state, rollback, save_state
from .step import jit_prefill, jit_step, prefill, step
from .words import Words, make_words

__all__ = [
    "Breakers",
    "Choice",
    "Emitted",
    "Grammars",
    "History",
    "LogitsError",
    "Programs",
    "Run",
    "Running",
    "Sampling",
    "Session",
    "SessionError",
    "Stop",
    "Timings",
    "Tokens",
    "Words",
    "begin",
    "chain_of",
    "chain_of_letters",
    "check_chosen",
    "choose",
    "decode_loop",
    "distribution",
    "fork",
    "jit_choose",
    "jit_decode_loop",
    "jit_prefill",
    "jit_step",
    "load_state",
    "make_breakers",
    "make_sampling",
    "make_words",
    "prefill",
    "prefill_prompts",
    "remember",
    "rollback",
    "sample",
    "save_state",
    "start_history",
    "step",
    "stream_tokens",
]
