"""`jaxllama imatrix`: make an importance matrix from a text, for `jaxllama quantize --imatrix`.

It holds the mean squared inputs of every weight matrix. Quantizing with it rounds the weights that matter most more accurately.
Without a text, the files of --in-file are merged.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from jaxllama.formats.importance import ImportanceMatrix, read_importance, write_importance

from .loading import load_model, start
from .log import Log
from .named import named
from .options import COMMON, COMPILE, CONTEXT, LOG, MODEL, ROPE, Group, Option, Verb
from .options.kinds import one_of, path, whole
from .options.others import CONTEXT_SHIFT
from .perplexity import CHUNK, TEXT, read_text

COLLECT = Group(
    "importance matrix",
    Option(("-o", "--output", "--output-file"), "output", "file to write the importance matrix to", path(), "imatrix.gguf"),
    Option(("--output-format",), "output_format", "gguf, or dat for llama.cpp's older format", one_of("gguf", "dat"), "gguf"),
    Option(("--in-file",), "in_file", "importance matrix to load first and add to; may be repeated", path(), many=True),
    Option(("--process-output",), "process_output", "collect data for output.weight too"),
    Option(
        ("--ppl",),
        "ppl",
        "compute the perplexity of the text (default)",
        default=True,
        off=("--no-ppl",),
        off_help="do not compute it",
    ),
    Option(("--chunk", "--from-chunk"), "skip", "number of chunks to skip at the start of the text", whole(0), 0),
    Option(("-ofreq", "--output-frequency"), "output_frequency", "write the importance matrix after every N chunks; 0: only at the end", whole(0), 10),
    Option(("--save-frequency",), "save_frequency", "keep a copy, FNAME.at_N, after every N chunks; 0: never", whole(0), 0),
    Option(("--parse-special",), "parse_special", "parse special tokens (such as <s>) in the text"),
    Option(("--show-statistics",), "show_statistics", "print statistics of the importance matrix of --in-file and exit"),
)


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    n_ctx = args.n_ctx
    if args.show_statistics:
        if len(args.in_file) != 1:
            raise ValueError(f"--show-statistics: expected one --in-file, found {len(args.in_file)}")
        from jaxllama.evaluate.importance_statistics import statistics

        sys.stdout.write(statistics(read_importance(args.in_file[0], chunk_size=n_ctx), args.in_file[0]))
        return 0
    matrix = ImportanceMatrix(chunk_size=n_ctx)
    for name in args.in_file:
        with named("--in-file"):
            matrix.merge(read_importance(name, chunk_size=n_ctx))
    if args.file is None and args.binary_file is None and args.prompt is None:
        if not args.in_file:
            raise ValueError("imatrix: expected a text (-f FILE), or importance matrices to merge (--in-file FILE ...)")
        _write(args, matrix)
        return 0
    text = read_text(args)
    start(args)
    model = load_model(args, log, n_ctx=n_ctx)
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
        score=args.ppl,
        into=matrix,
        progress=show,
    )
    sys.stdout.write("\n")
    _write(args, matrix)
    log.info(f"{args.output}: importance of {len(matrix.entries)} tensors, from {matrix.chunks} chunks")
    return 0


def _write(args: SimpleNamespace, matrix: ImportanceMatrix, suffix: str = "") -> None:
    with named("-o"):
        write_importance(matrix, Path(args.output + suffix), legacy=args.output_format == "dat")


VERB = Verb(
    "imatrix", "make an importance matrix for quantizing", __doc__, run, (MODEL, TEXT, COLLECT, CHUNK, CONTEXT, ROPE, COMPILE, LOG), (*COMMON, CONTEXT_SHIFT)
)
