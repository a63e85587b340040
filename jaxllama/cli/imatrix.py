"""`jaxllama imatrix`: make an importance matrix from a text, for `jaxllama quantize --imatrix`.

It holds the mean squared inputs of every weight matrix. Quantizing with it rounds the weights that matter most more accurately.
Without a text, the files of --in-file are merged.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from jaxllama.formats.importance import ImportanceMatrix, read_importance, write_importance

from . import flags
from .loading import load_model
from .options import Group, Option, add_options
from .perplexity import CONTEXT, TEXT, read_text

COLLECT = Group(
    "importance matrix",
    Option(("-o", "--output", "--output-file"), "output", "file to write the importance matrix to", default="imatrix.gguf", metavar="FNAME"),
    Option(("--output-format",), "output_format", "gguf, or dat for llama.cpp's older format", default="gguf", metavar="FORMAT"),
    Option(("--process-output",), "process_output", "collect data for output.weight too", bool, False),
    Option(("--no-ppl",), "no_ppl", "do not compute the perplexity of the text", bool, False),
    Option(("--chunk", "--from-chunk"), "skip", "number of chunks to skip at the start of the text", int, 0),
    Option(("-ofreq", "--output-frequency"), "output_frequency", "write the importance matrix after every N chunks", int, 10),
    Option(("--save-frequency",), "save_frequency", "keep a copy, FNAME.at_N, after every N chunks; 0: never", int, 0),
    Option(("--parse-special",), "parse_special", "parse special tokens (such as <s>) in the text", bool, False),
    Option(("--show-statistics",), "show_statistics", "print statistics of the importance matrix of --in-file and exit", bool, False),
)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("imatrix", help="make an importance matrix for quantizing", description=__doc__, allow_abbrev=False)
    parser.add_argument("--in-file", metavar="FNAME", action="append", default=[], help="importance matrix to load first and add to; may be repeated")
    add_options(parser, flags.MODEL, TEXT, COLLECT, CONTEXT, flags.COMPILE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the verb out; returns the exit status."""
    n_ctx = 512 if args.n_ctx is None else args.n_ctx
    if n_ctx <= 0:
        raise ValueError(f"-c: expected a positive number of tokens, found {n_ctx}")
    if args.output_format not in ("gguf", "dat"):
        raise ValueError(f"--output-format: expected gguf or dat, found {args.output_format!r}")
    console = Console(stderr=True)
    if args.show_statistics:
        if len(args.in_file) != 1:
            raise ValueError(f"--show-statistics: expected one --in-file, found {len(args.in_file)}")
        from jaxllama.evaluate.importance_statistics import statistics

        sys.stdout.write(statistics(read_importance(args.in_file[0], chunk_size=n_ctx), args.in_file[0]))
        return 0
    matrix = ImportanceMatrix(chunk_size=n_ctx)
    for path in args.in_file:
        matrix.merge(read_importance(path, chunk_size=n_ctx))
    if args.file is None and args.prompt is None:
        if not args.in_file:
            raise ValueError("imatrix: expected a text (-f FILE), or importance matrices to merge (--in-file FILE ...)")
        _write(args, matrix)
        return 0
    text = read_text(args)
    model = load_model(args, console, n_ctx=n_ctx)
    from jaxllama.evaluate import Estimate, importance_matrix

    def show(window: int, so_far: Estimate | None, matrix: ImportanceMatrix) -> None:
        sys.stdout.write(f"[{window}]{so_far.value:.4f}," if so_far is not None else f"[{window}],")
        sys.stdout.flush()
        if args.output_frequency > 0 and window % args.output_frequency == 0:
            _write(args, matrix)
        if args.save_frequency > 0 and window % args.save_frequency == 0:
            _write(args, matrix, f".at_{window}")

    importance_matrix(
        model,
        model.tokenizer.encode(text, parse_special=args.parse_special),
        n_ctx=n_ctx,
        skip=args.skip,
        chunks=args.chunks,
        dataset=args.file or "",
        process_output=args.process_output,
        score=not args.no_ppl,
        into=matrix,
        progress=show,
    )
    sys.stdout.write("\n")
    _write(args, matrix)
    console.print(f"{args.output}: importance of {len(matrix.entries)} tensors, from {matrix.chunks} chunks", highlight=False, markup=False, soft_wrap=True)
    return 0


def _write(args: argparse.Namespace, matrix: ImportanceMatrix, suffix: str = "") -> None:
    write_importance(matrix, Path(args.output + suffix), legacy=args.output_format == "dat")
