"""`jaxllama run`: generate text that continues a prompt."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from . import flags
from .interrupt import Interrupt
from .loading import load_model
from .options import add_options
from .sampling import constraints_of, sampling_of

if TYPE_CHECKING:
    from jaxllama import Model, Piece

_EMBEDDED_PROMPT = "Once upon a time"


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("run", help="generate text that continues a prompt", description=__doc__, allow_abbrev=False)
    add_options(parser, flags.MODEL, flags.PROMPT, flags.OUTPUT, flags.CONTEXT, flags.SAMPLING, flags.GRAMMAR, flags.COMPILE)
    parser.set_defaults(run=run)


def unescape(text: str) -> str:
    """llama.cpp's escapes: \\n \\r \\t \\' \\" \\\\ and \\xHH; anything else stays as it is."""
    simple = {"n": "\n", "r": "\r", "t": "\t", "'": "'", '"': '"', "\\": "\\"}
    return re.sub(r"\\(?:x([0-9a-fA-F]{2})|([nrt'\"\\]))", lambda m: chr(int(m[1], 16)) if m[1] else simple[m[2]], text)


def read_prompt(args: argparse.Namespace) -> str:
    """The prompt of the command line, of a file, or a default for the embedded model."""
    if args.file is not None:
        text = Path(args.file).read_text(encoding="utf-8", errors="replace")
        text = text.removesuffix("\n")
    elif args.prompt is not None:
        text = args.prompt
    else:
        text = _EMBEDDED_PROMPT if args.model is None and args.hf_repo is None else ""
    return unescape(text) if args.escape else text


def run(args: argparse.Namespace) -> int:
    """Carry the verb out; returns the exit status."""
    start = time.perf_counter()
    console = Console(stderr=True)
    prompt = read_prompt(args)
    sampling = sampling_of(args) | constraints_of(args)
    model = load_model(args, console, n_ctx=args.n_ctx)
    loaded = time.perf_counter()
    ids = model.encode(prompt)
    if args.verbose_prompt:
        console.print(f"prompt: {prompt!r}\nnumber of tokens in prompt = {len(ids)}", highlight=False, markup=False)
        for token in ids:
            console.print(f"{token:6d} -> {model.tokenizer.piece(token, special=True).decode('utf-8', 'replace')!r}", highlight=False, markup=False)
    if args.display_prompt:
        write(prompt)
    last = None
    with Interrupt() as interrupt:
        try:
            for piece in model.stream(
                ids,
                n_predict=max(args.n_predict, -1),  # llama.cpp's -2 (until the context is full) is what -1 does here
                stop=[args.stop] if args.stop else [],
                **sampling,
            ):
                write(piece.text)
                last = piece
                if interrupt.asked:
                    break
        except KeyboardInterrupt:
            interrupt.asked = True
    write("\n")
    if args.perf:
        report(console, model, last, loaded - start, time.perf_counter() - start)
    if last is not None and last.reason == "grammar":
        console.print("stopped: the text does not match the grammar yet, but no token of the vocabulary can continue it", highlight=False)
    if last is not None and last.reason == "context":
        console.print(f"stopped: the context of {model.n_ctx} tokens is full; -c sets a larger one", highlight=False)
    return 130 if interrupt.asked else 0


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def report(console: Console, model: Model, last: Piece | None, load: float, total: float) -> None:
    """Timings in the manner of llama.cpp."""
    lines = [f"load time = {1e3 * load:10.2f} ms", f"compile time = {1e3 * model.programs.seconds:10.2f} ms / {model.programs.count:5d} programs"]
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
        console.print(f"jaxllama: {' ' * (width - line.index('='))}{line}", highlight=False, markup=False, soft_wrap=True)
