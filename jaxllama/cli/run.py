"""`jaxllama run`: generate text that continues a prompt, as llama-completion does.

With -cnv, -sys, -sysf or -st it chats, as `jaxllama chat` does. `jaxllama -m FILE -p PROMPT`, without a verb, is this verb.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING

from . import chat
from .interactive import interact
from .interrupt import Interrupt
from .loading import load_model, start
from .log import Log
from .options import GENERATE, Verb
from .output import Output
from .prompt import read_prompt, unescape
from .sampling import constraints_of, sampling_of

if TYPE_CHECKING:
    from jaxllama import Model, Piece


def converses(args: SimpleNamespace) -> bool:
    """Whether the options ask for a conversation; where nothing does, the prompt is continued, also by models that can chat."""
    return args.conversation if args.conversation is not None else bool(args.system or args.system_file or args.single_turn)


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    if converses(args):
        return chat.run(args, log)
    begun = time.perf_counter()
    prompt = read_prompt(args)
    start(args)
    sampling = sampling_of(args) | constraints_of(args)
    model = load_model(args, log, n_ctx=args.n_ctx)
    loaded = time.perf_counter()
    ids = model.encode(prompt)
    if args.verbose_prompt:
        log.info(f"prompt: {prompt!r}\nnumber of tokens in prompt = {len(ids)}")
        for token in ids:
            log.info(f"{token:6d} -> {model.tokenizer.piece(token, special=True).decode('utf-8', 'replace')!r}")
    options = sampling | {"n_predict": max(args.n_predict, -1), "shown": model.tokenizer.hidden if args.special else ()}
    with Output(args, log) as out, Interrupt() as interrupt:
        if args.interactive or args.interactive_first:
            last = interact(model, ids, prompt, args, log, out, interrupt, options)
        else:
            stops = [unescape(text) if args.escape else text for text in args.stop]
            last = show(model.stream(ids, stop=stops, **options), prompt if args.display_prompt else "", args, log, out, interrupt, len(ids))
        out.write("\n", made=False)
    if args.perf:
        report(log, model, last, loaded - begun, time.perf_counter() - begun)
    if last is not None and last.reason == "grammar":
        log.info("stopped: the text does not match the grammar yet, but no token of the vocabulary can continue it")
    if last is not None and last.reason == "context":
        log.info(f"stopped: the context of {model.n_ctx} tokens is full; -c sets a larger one")
    return 130 if interrupt.asked else 0


def show(pieces: Iterable[Piece], prompt: str, args: SimpleNamespace, log: Log, out: Output, interrupt: Interrupt, read: int) -> Piece | None:
    """Write a text as it comes, the prompt before it; returns the last piece. All is compiled and read before the first word appears.

    Args:
        read: tokens of the prompt.
    """
    last = None
    try:
        for number, piece in enumerate(pieces):
            if number == 0:
                out.prompt(prompt)
            out.write(piece.text)
            last = piece
            if args.print_token_count > 0 and (read + number + 1) % args.print_token_count == 0:
                log.detail(f"tokens so far: {read + number + 1}")
            if interrupt.asked:
                break
    except KeyboardInterrupt:
        interrupt.asked = True
    return last


def report(log: Log, model: Model, last: Piece | None, load: float, total: float) -> None:
    """Timings in the manner of llama.cpp."""
    programs = model.programs
    lines = [f"load time = {1e3 * load:10.2f} ms"]
    for name, seconds, count in (
        ("compile", programs.seconds - programs.cached_seconds, programs.count - programs.cached),
        ("program load", programs.cached_seconds, programs.cached),
    ):
        if count:
            lines.append(f"{name} time = {1e3 * seconds:10.2f} ms / {count:5d} programs")
    timings = last.timings if last is not None else None
    if timings is not None:
        for name, seconds, count, rate, unit in (
            ("prompt eval", timings.prompt_seconds, timings.prompt_tokens, timings.prompt_rate, "tokens"),
            ("eval", timings.decode_seconds, timings.decode_tokens, timings.decode_rate, "runs"),
        ):
            each = 1e3 * seconds / count if count else 0.0
            lines.append(f"{name} time = {1e3 * seconds:10.2f} ms / {count:5d} {unit} ({each:8.2f} ms per token, {rate:8.2f} tokens per second)")
    lines.append(f"total time = {1e3 * total:10.2f} ms")
    width = max(line.index("=") for line in lines)
    for line in lines:
        log.info(f"jaxllama: {' ' * (width - line.index('='))}{line}")


VERB = Verb("run", "generate text that continues a prompt", __doc__, run, GENERATE)
