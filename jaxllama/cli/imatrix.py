"""`jaxllama imatrix`: what every matrix of a model is multiplied with when it reads a text, so that quantizing spares what matters."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from jaxllama.formats.importance import ImportanceMatrix, read_importance, write_importance

from . import flags
from .loading import load_model
from .perplexity import TEXT, read_text

COLLECT = (
    flags.Option(("-o", "--output", "--output-file"), "output", "the importance matrix to write", default="imatrix.gguf", metavar="FNAME"),
    flags.Option(("--output-format",), "output_format", "gguf or dat (llama.cpp's older form)", default="gguf", metavar="FORMAT"),
    flags.Option(("--process-output",), "process_output", "look at output.weight too", bool, False),
    flags.Option(("--no-ppl",), "no_ppl", "do not measure the perplexity beside", bool, False),
    flags.Option(("--chunk", "--from-chunk"), "skip", "windows at the beginning to leave out", int, 0),
    flags.Option(("-ofreq", "--output-frequency"), "output_frequency", "write the result after every N windows", int, 10),
    flags.Option(("--save-frequency",), "save_frequency", "keep a copy after every N windows; 0: never", int, 0),
    flags.Option(("--parse-special",), "parse_special", "special tokens in the text count as such", bool, False),
    flags.Option(("--show-statistics",), "show_statistics", "show what the matrix of --in-file says, and do nothing else", bool, False),
)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("imatrix", help="make, merge or look at an importance matrix", description=__doc__, allow_abbrev=False)
    parser.add_argument("--in-file", metavar="FNAME", action="append", default=[], help="importance matrix to add to; may be repeated")
    flags.add_options(parser, flags.MODEL, TEXT, COLLECT, flags.CONTEXT, flags.COMPILE)
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
            raise ValueError("--show-statistics needs one --in-file")
        from jaxllama.evaluate.importance_statistics import statistics

        sys.stdout.write(statistics(read_importance(args.in_file[0], chunk_size=n_ctx), args.in_file[0]))
        return 0
    matrix = ImportanceMatrix(chunk_size=n_ctx)
    for path in args.in_file:
        matrix.merge(read_importance(path, chunk_size=n_ctx))
    if args.file is None and args.prompt is None:
        if not args.in_file:
            raise ValueError("a text is needed (-f FILE), or importance matrices to merge (--in-file FILE ...)")
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
