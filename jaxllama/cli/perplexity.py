"""`jaxllama perplexity`: measure the perplexity of a model on a text, its KL divergence from another model, or its score on a benchmark.

A text is evaluated in chunks of -c tokens.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from .loading import load_model, start
from .log import Log
from .named import named
from .options import CHAT_IDLE, COMMON, COMPILE, CONTEXT, LOG, MODEL, ROPE, Group, Option, Verb
from .options.kinds import Kind, path, text, whole
from .options.others import CONTEXT_SHIFT, UNIFIED
from .options.text import ESCAPE
from .prompt import given_prompt, unescape

if TYPE_CHECKING:
    from jaxllama import Model


def _chunks(given: str) -> int:
    number = whole(-1).read(given)
    if number == 0:
        raise ValueError(given)
    return number


TEXT = Group(
    "text",
    Option(("-f", "--file"), "file", "file with the text (or, for a benchmark, with its tasks); - for stdin", path(), sets="prompt"),
    Option(("-bf", "--binary-file"), "binary_file", "the same; for --multiple-choice, the binary file with its tasks", path(), sets="prompt"),
    Option(("-p", "--prompt"), "prompt", "the text, instead of a file", text("TEXT"), sets="prompt"),
    replace(ESCAPE, default=False, help=ESCAPE.help.replace(" (default)", ""), off_help="do not process them (default)"),
    Option(("--chunks",), "chunks", "maximum number of chunks to process; -1: all", Kind(_chunks, "a whole number above 0, or -1 for all"), -1),
)
CHUNK = Group(
    "size of a chunk",
    Option(("-c", "--ctx-size"), "n_ctx", "size of a chunk of the text, in tokens", whole(4), 512, env="CTX_SIZE"),
)
MEASURE = Group(
    "what to measure (default: perplexity)",
    Option(
        ("--ppl-stride",),
        "ppl_stride",
        "evaluate overlapping chunks, each starting N tokens after the last, of -c plus N/2 tokens (rounded up to a multiple of 256); 0: no overlap",
        whole(0),
        0,
    ),
    Option(("--ppl-output-type",), "ppl_output_type", "1: print one line per chunk, with its position in the text", whole(0, 1), 0),
    Option(
        ("--save-all-logits", "--kl-divergence-base"),
        "logits_file",
        "file to save the logits to; with --kl-divergence, the file to compare with",
        path(),
    ),
    Option(("--kl-divergence",), "kl_divergence", "compute the KL divergence from the model whose logits --kl-divergence-base holds"),
    Option(("--hellaswag",), "hellaswag", "compute the HellaSwag score over the tasks of --file"),
    Option(("--hellaswag-tasks",), "hellaswag_tasks", "number of tasks to use; 0: all", whole(0), 400),
    Option(("--winogrande",), "winogrande", "compute the Winogrande score over the tasks of --file"),
    Option(("--winogrande-tasks",), "winogrande_tasks", "number of tasks to use; 0: all", whole(0), 0),
    Option(("--multiple-choice",), "multiple_choice", "compute the multiple-choice score over the tasks of --binary-file"),
    Option(("--multiple-choice-tasks",), "multiple_choice_tasks", "number of tasks to use; 0: all", whole(0), 0),
)


def read_text(args: SimpleNamespace) -> str:
    """The text of the command line or of a file.

    Raises:
        ValueError: there is none.
    """
    found = given_prompt(args)
    if found is None:
        raise ValueError("expected a text: -f FILE or -p TEXT")
    return unescape(found) if args.escape else found


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    if sum((args.hellaswag, args.winogrande, args.multiple_choice, args.kl_divergence)) > 1:
        raise ValueError("--hellaswag, --winogrande, --multiple-choice and --kl-divergence cannot be used together")
    if args.kl_divergence and not args.logits_file:
        raise ValueError("--kl-divergence needs --kl-divergence-base FILE: the logits of the other model, written by a run with that option alone")
    n_ctx = args.n_ctx
    if args.ppl_stride > 0:
        n_ctx = -(-(n_ctx + args.ppl_stride // 2) // 256) * 256  # as llama.cpp does, so that the figures can be compared
    text = None if args.kl_divergence or args.multiple_choice else read_text(args)
    if args.multiple_choice and not args.binary_file:
        raise ValueError("--multiple-choice needs the file of its tasks: -bf FILE")
    start(args)
    model = load_model(args, log, n_ctx=n_ctx)
    if args.hellaswag or args.winogrande or args.multiple_choice:
        return _choices(args, model, text)
    if args.kl_divergence:
        return _divergence(args, model)
    assert text is not None
    return _perplexity(args, model, text, n_ctx)


def _perplexity(args: SimpleNamespace, model: Model, text: str, n_ctx: int) -> int:
    from jaxllama.evaluate import Estimate, perplexity, save_base

    stride = args.ppl_stride

    def show(window: int, so_far: Estimate) -> None:
        if args.ppl_output_type == 0:
            sys.stdout.write(f"[{window}]{so_far.value:.4f},")
        elif stride > 0:
            sys.stdout.write(f"{(window - 1) * stride:8d}  {so_far.value:.4f}\n")
        else:
            sys.stdout.write(f"{(window - 1) * n_ctx:8d}  {so_far.value:.4f}  {so_far.nll:4f}  {so_far.error:4f}\n")
        sys.stdout.flush()

    tokens = model.tokenizer.encode(text)
    if args.logits_file:
        if stride:
            raise ValueError("--kl-divergence-base and --ppl-stride cannot be used together")
        found = save_base(model, tokens, args.logits_file, n_ctx=n_ctx, chunks=args.chunks, progress=show)
    else:
        found = perplexity(model, tokens, n_ctx=n_ctx, chunks=args.chunks, stride=stride, progress=show)
    sys.stdout.write(f"\nFinal estimate: PPL = {found.value:.4f} +/- {found.value_error:.5f}\n")
    return 0


def _divergence(args: SimpleNamespace, model: Model) -> int:
    from jaxllama.evaluate import Divergence, compare

    def show(window: int, found: Divergence) -> None:
        if window == 1:
            sys.stdout.write("chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p\n")
        sys.stdout.write(found.report().line(window) + "\n")
        sys.stdout.flush()

    found = compare(model, args.logits_file, progress=show)
    if len(found.nll) >= 100:  # fewer values are no statistics
        sys.stdout.write("\n" + found.report().text() + "\n")
    return 0


def _choices(args: SimpleNamespace, model: Model, text: str | None) -> int:
    from jaxllama.evaluate import choices

    if args.hellaswag:
        assert text is not None
        questions = choices.hellaswag(text)
        questions = choices.pick(questions, args.hellaswag_tasks or len(questions), uniform=True)
        sys.stdout.write("\ntask\tacc_norm\t95% confidence interval\n")
    else:
        if args.winogrande:
            assert text is not None
            questions, wanted = choices.winogrande(text), args.winogrande_tasks
        else:
            with named("-bf"):
                questions, wanted = choices.multiple_choice(Path(args.binary_file).read_bytes()), args.multiple_choice_tasks
        if 0 < wanted < len(questions):
            questions = choices.pick(questions, wanted, uniform=False)
        sys.stdout.write("\ntask\tacc_norm\n" if args.multiple_choice else "")
    correct = done = answers = 0
    for scored in choices.score_choices(model, questions):
        done += 1
        correct += scored.correct
        answers += len(scored.scores)
        share = 100 * correct / done
        if args.hellaswag:
            low, high = choices.wilson(correct, done)
            sys.stdout.write(f"{done}\t{share:3.8f}%\t[{100 * low:3.4f}%, {100 * high:3.4f}%]\n")
        elif args.winogrande:
            first, second = scored.scores
            sys.stdout.write(f"{done}\t{share:.4f}\t{first:10.6f}  {second:10.6f}  {scored.chosen + 1}  {scored.question.right[0] + 1}\n")
        else:
            sys.stdout.write(f"{done}\t{share:.8f}\n")
        sys.stdout.flush()
    if args.hellaswag:
        return 0
    share = correct / done
    error = 100 * sqrt(share * (1 - share) / max(done - 1, 1))
    if args.winogrande:
        sys.stdout.write(f"\nFinal Winogrande score({done} tasks): {100 * share:.4f} +/- {error:.4f}\n")
    else:
        chance = done / answers
        sys.stdout.write(f"\nFinal result: {100 * share:.4f} +/- {error:.4f}\n")
        sys.stdout.write(f"Random chance: {100 * chance:.4f} +/- {100 * sqrt(chance * (1 - chance) / max(done - 1, 1)):.4f}\n")
    return 0


VERB = Verb(
    "perplexity",
    "measure perplexity, KL divergence or benchmark scores",
    __doc__,
    run,
    (MODEL, TEXT, MEASURE, CHUNK, CONTEXT, ROPE, COMPILE, LOG),
    (*COMMON, CHAT_IDLE, CONTEXT_SHIFT, UNIFIED),
)
