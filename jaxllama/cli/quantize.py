"""`jaxllama quantize`: quantize a GGUF model, with llama.cpp's file types and options.

TYPE is a file type such as Q4_K_M, Q8_0 or IQ2_XS, or COPY to change nothing but metadata and layers.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jaxllama.environment import set_threads
from jaxllama.formats.gguf import TENSOR_TYPE_NAMES, Field, GGUFError, ValueType, open_gguf, parse_overrides
from jaxllama.formats.importance import ImportanceMatrix, read_importance
from jaxllama.quant.mixtures import ALIASES, FILE_TYPES

from .loading import check_device
from .log import Log
from .named import named
from .options import Group, Option, Verb
from .options.kinds import path, text, whole
from .options.model import MOST_THREADS
from .options.option import options_of

MIB = 2**20
QUANTIZE = Group(
    "options",
    Option(("--allow-requantize",), "allow_requantize", "allow requantizing tensors that are already quantized; this loses quality"),
    Option(("--leave-output-tensor",), "leave_output_tensor", "leave output.weight unquantized"),
    Option(("--pure",), "pure", "no mixture of tensor types: quantize all tensors to the same type"),
    Option(("--imatrix",), "imatrix", "importance matrix, from `jaxllama imatrix` or llama-imatrix", path("FILE")),
    Option(
        ("--include-weights",),
        "include_weights",
        "use the importance matrix only for tensors whose name contains NAME; may be repeated",
        text("NAME"),
        many=True,
    ),
    Option(
        ("--exclude-weights",),
        "exclude_weights",
        "do not use the importance matrix for tensors whose name contains NAME; may be repeated",
        text("NAME"),
        many=True,
    ),
    Option(("--output-tensor-type",), "output_tensor_type", "tensor type of output.weight", text("TYPE")),
    Option(("--token-embedding-type",), "token_embedding_type", "tensor type of the token embeddings", text("TYPE")),
    Option(("--tensor-type",), "tensor_type", "tensor type of tensors whose name matches; may be repeated", text("REGEX=TYPE"), many=True),
    Option(("--tensor-type-file",), "tensor_type_file", "file with REGEX=TYPE rules, separated by white space", path("FILE")),
    Option(("--prune-layers",), "prune_layers", "remove these layers from the model", text("L0,L1,...")),
    Option(("--keep-split",), "keep_split", "split the output into as many files as the input"),
    Option(("--override-kv",), "override_kv", "override metadata in the new file; may be repeated", text("KEY=TYPE:VALUE"), many=True),
    Option(("--dry-run",), "dry_run", "only print what would be done and the final size"),
    *options_of("--max-buffer-size MIB", idle="one tensor at a time is in memory, in pieces"),
)


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    from jaxllama.quant.mixtures import Choices
    from jaxllama.quant.quantize_file import plan_file, write_plan

    source, target, name, threads = _positional(args.words)
    set_threads(threads or 0)
    target = target or source.with_name(f"ggml-model-{name}.gguf")
    if args.include_weights and args.exclude_weights:
        raise ValueError("--include-weights and --exclude-weights cannot be used together")
    file = open_gguf(source)
    if target.exists() and target.samefile(source):
        raise GGUFError(target, "the output", expected="another file than the input", found="the input")
    importance = _importance(args, log)
    choices = Choices(args.pure, args.leave_output_tensor, _format(args.output_tensor_type), _format(args.token_embedding_type), _patterns(args))
    plan = plan_file(
        file,
        name,
        choices,
        importance=importance,
        importance_path=args.imatrix or "",
        prune=_layers(args.prune_layers),
        overrides=[_narrow(f) for text in args.override_kv for f in parse_overrides(text)],
        allow_requantize=args.allow_requantize,
    )
    for note in plan.notes:
        log.warning(note)
    if not args.dry_run:
        plan.check_importance(source, name)
    if plan.missing:
        log.info(f"the importance matrix has no data for {len(plan.missing)} tensors: {', '.join(plan.missing[:4])}{' ...' * (len(plan.missing) > 4)}")
    began = time.perf_counter()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with log.progress(*columns, shown=not args.dry_run) as bar:
        task = bar.add_task("", total=plan.old_bytes // MIB)
        count = 0

        def show(step) -> None:
            nonlocal count
            count += 1
            shape = ", ".join(f"{n:5d}" for n in reversed(step.source.shape))
            change = f"-> {step.nbytes / MIB:8.2f} MiB ({step.format.lower()})" if step.changes else ""
            old = step.source.type.name.lower()
            size = f"{step.source.nbytes / MIB:8.2f} MiB"
            log.info(f"[{count:4d}/{len(plan.steps):4d}] {step.name:<36} - [{shape}], type = {old:>6}, size = {size} {change}".rstrip())
            bar.update(task, advance=step.source.nbytes // MIB, description=step.name)

        if args.dry_run:
            for step in plan.steps:
                show(step)
        else:
            check_device()
            write_plan(file, plan, target, keep_split=args.keep_split, threads=threads, progress=show)
    weights = sum(s.source.size for s in plan.steps)
    for label, nbytes in (("model", plan.old_bytes), ("quant", plan.new_bytes)):
        log.info(f"{label} size = {nbytes / MIB:9.2f} MiB ({8 * nbytes / weights:.2f} bits per weight)")
    if args.dry_run and plan.needs_importance:
        log.info(f"this needs an importance matrix (--imatrix), for {plan.needs_importance[0]} and others")
    if not args.dry_run:
        log.info(f"{target}: written in {time.perf_counter() - began:.1f} s")
    return 0


def _positional(arguments: list[str]) -> tuple[Path, Path | None, str, int | None]:
    """IN, OUT, TYPE and threads: OUT may be left out, which shows in that the second argument is a file type."""
    from jaxllama.quant.mixtures import file_type

    def is_type(text: str) -> bool:
        try:
            return text.upper() == "COPY" or bool(file_type(text))
        except ValueError:
            return False

    source, *rest = arguments
    target = None
    if rest and not is_type(rest[0]) and (len(rest) > 1 or rest[0].endswith(".gguf")):
        target, rest = Path(rest[0]), rest[1:]
    if not rest or len(rest) > 2:
        raise ValueError("expected IN [OUT] TYPE [NTHREADS]; TYPE is a file type such as Q4_K_M")
    threads = None
    if len(rest) == 2:
        try:
            threads = whole(1, MOST_THREADS).read(rest[1])
        except ValueError:
            raise ValueError(f"NTHREADS: expected a whole number from 1 to {MOST_THREADS}, found {rest[1]!r}") from None
    return Path(source), target, "COPY" if rest[0].upper() == "COPY" else file_type(rest[0]), threads


def _format(text: str | None) -> str | None:
    if text is None:
        return None
    from jaxllama.quant import FORMATS

    if text.upper() not in TENSOR_TYPE_NAMES or text.upper() not in FORMATS:
        raise ValueError(f"there is no tensor type '{text}'; there are {', '.join(FORMATS)}")
    return text.upper()


def _patterns(args: SimpleNamespace) -> tuple[tuple[str, str], ...]:
    import re

    rules = list(args.tensor_type)
    if args.tensor_type_file:
        with named("--tensor-type-file"):
            rules += Path(args.tensor_type_file).read_text(encoding="utf-8").split()
    found = []
    for rule in rules:
        pattern, equals, kind = rule.partition("=")
        if not (pattern and equals and kind):
            raise ValueError(f"--tensor-type: expected REGEX=TYPE, found {rule!r}")
        try:
            re.compile(pattern.lower())
        except re.error as error:
            raise ValueError(f"--tensor-type: '{pattern}' is not a valid regular expression: {error}") from None
        found.append((pattern.lower(), _format(kind) or ""))
    return tuple(found)


def _layers(text: str | None) -> list[int]:
    if not text:
        return []
    try:
        return sorted({whole(0).read(part.strip()) for part in text.split(",")})
    except ValueError:
        raise ValueError(f"--prune-layers: expected numbers separated by commas, found {text!r}") from None


def _narrow(f: Field) -> Field:
    """llama.cpp writes overrides as 32-bit values."""
    return Field(f.key, {ValueType.INT64: ValueType.UINT32, ValueType.FLOAT64: ValueType.FLOAT32}.get(f.type, f.type), f.value)


def _importance(args: SimpleNamespace, log: Log) -> ImportanceMatrix | None:
    if not args.imatrix:
        if args.include_weights or args.exclude_weights:
            raise ValueError("--include-weights and --exclude-weights choose from an importance matrix: they need --imatrix")
        return None
    with named("--imatrix"):
        found = read_importance(args.imatrix)
    for option, parts in (("--include-weights", args.include_weights), ("--exclude-weights", args.exclude_weights)):
        for part in parts:
            if not any(part in name for name in found.entries):
                log.warning(f"{option} {part} has no effect: nothing in the importance matrix has such a name")
    if args.include_weights:
        found.entries = {n: e for n, e in found.entries.items() if any(part in n for part in args.include_weights)}
    found.entries = {n: e for n, e in found.entries.items() if not any(part in n for part in args.exclude_weights)}
    log.info(f"{args.imatrix}: importance of {len(found.entries)} tensors, from {found.chunks} chunks")
    return found


EPILOG = f"""IN: a GGUF file; OUT: the file to write (default: ggml-model-TYPE.gguf in the folder of IN); NTHREADS: threads (default: all cores).
TYPE is one of {", ".join([*FILE_TYPES, *ALIASES])}, COPY, or llama.cpp's number of a type"""
VERB = Verb("quantize", "quantize a GGUF model", __doc__, run, (QUANTIZE,), words="IN [OUT] TYPE [NTHREADS]", least=1, most=4, epilog=EPILOG)
