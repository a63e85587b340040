"""`jaxllama bench`: measure prefill and decode speed, with llama-bench's tests and tables.

Options that take N,... accept lists (1,2,8) and ranges (1-4, 128-512+128, 1-64*2).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxllama.environment import thread_count

from . import flags
from .loading import load_model
from .options import Group, Option, add_options

if TYPE_CHECKING:
    from jaxllama import Model
    from jaxllama.evaluate.speed import Speed

FORMATS = ("md", "csv", "json", "jsonl", "sql")


def numbers(text: str) -> list[int]:
    """llama-bench's lists: `1,2,8`, `1-4`, `128-512+128`, `1-64*2`.

    Raises:
        ValueError: the text is no such list.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, rest = part.partition("-")
        if not dash:
            found.append(_count(first))
            continue
        step, last = 1, rest
        for sign in "+*":
            if sign in rest:
                last, _, by = rest.partition(sign)
                step = _count(by)
        value, end = _count(first), _count(last)
        if step < 1 or ("*" in rest and (step < 2 or value < 1)):
            raise ValueError(f"the range '{part}' never ends: its step must be 1 or more, its factor 2 or more")
        while value <= end:
            found.append(value)
            value = value * step if "*" in rest else value + step
    return found


def _count(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"expected numbers such as 128, 1,2,8 or 128-512+128, found '{text}'")
    return int(text)


BENCH = Group(
    "tests",
    Option(("-p", "--n-prompt"), "prompts", "prompt tokens of the prefill tests (pp); 0: none", numbers, [512], metavar="N,..."),
    Option(("-n", "--n-gen"), "generated", "tokens to generate in the decode tests (tg); 0: none", numbers, [128], metavar="N,..."),
    Option(("-d", "--n-depth"), "depths", "tokens in the KV cache before the test", numbers, [0], metavar="N,..."),
    Option(("-r", "--repetitions"), "repeats", "number of times each test is run", int, 5),
    Option(("-o", "--output"), "output", "output format: md, csv, json, jsonl or sql", default="md", metavar="FORMAT"),
    Option(("--no-warmup",), "no_warmup", "skip the untimed warmup run", bool, False),
)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("bench", help="measure prefill and decode speed", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "-pg", action="append", default=[], metavar="PP,TG", help="a test of PP prompt tokens and TG generated ones, timed together; may be repeated"
    )
    context = Group(flags.CONTEXT.title, *(option for option in flags.CONTEXT if option.to != "n_ctx"))
    add_options(parser, flags.MODEL, BENCH, context, flags.COMPILE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the verb out; returns the exit status."""
    if args.output not in FORMATS:
        raise ValueError(f"-o: expected one of {', '.join(FORMATS)}, found {args.output!r}")
    pairs = [numbers(text) for text in args.pg]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"-pg: expected PP,TG, found {', '.join(args.pg)}")
    from jaxllama.evaluate.speed import SpeedTest, measure, reader, weights_read

    shapes = [(p, 0) for p in args.prompts if p] + [(0, n) for n in args.generated if n] + [(pair[0], pair[1]) for pair in pairs]
    tests = [SpeedTest(p, n, depth) for p, n in shapes for depth in args.depths]
    if not tests:
        raise ValueError("there is no test to run: set -p, -n or -pg above 0")
    console = Console(stderr=True)
    model = load_model(args, console, n_ctx=max(t.room for t in tests))
    touched = weights_read(model)
    read = reader(touched)
    rows, readings = [], [read()]  # before and after every test: what memory delivers changes with the machine's other work
    for number, test in enumerate(tests, 1):
        if console.is_terminal:
            console.print(f"test {number} of {len(tests)}: {test.name}", style="dim", highlight=False)
        compiled = model.programs.seconds
        found = measure(model, test, repeats=args.repeats, warmup=not args.no_warmup)
        rows.append(_row(model, found, model.programs.seconds - compiled))
        readings.append(read())
    for row in rows:
        only_decodes = row["n_gen"] and not row["n_prompt"]
        row["read_speed"] = max(readings)
        row["read_share"] = row["avg_ts"] * touched / max(readings) if only_decodes else None
    sys.stdout.write("".join(_written(rows, args.output)))
    return 0


def _row(model: Model, found: Speed, compiled: float) -> dict[str, Any]:
    import jax

    import jaxllama

    test = found.test
    return {
        "build": f"jaxllama {jaxllama.__version__}",
        "model_filename": str(model.file.path),
        "model_type": f"{model.config.architecture} {_commonest(model)}",
        "model_size": sum(t.nbytes for t in model.file.tensors.values()),
        "model_n_params": sum(t.size for t in model.file.tensors.values()),
        "backend": jax.default_backend().upper(),
        "n_threads": thread_count(),
        "n_batch": model.n_batch,
        "type_k": model.cache_type,
        "n_prompt": test.prompt,
        "n_gen": test.generated,
        "n_depth": test.depth,
        "test": test.name,
        "avg_ts": found.mean,
        "stddev_ts": found.deviation,
        "samples_ts": found.rates,
        "compile_s": compiled,
        "peak_memory": _peak_memory(),
    }


def _peak_memory() -> int:
    """The most bytes this process has had in memory; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _commonest(model: Model) -> str:
    sizes: dict[str, int] = {}
    for tensor in model.file.tensors.values():
        sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.size
    return max(sizes, key=lambda name: sizes[name])


def _written(rows: list[dict[str, Any]], output: str) -> Iterable[str]:
    if output == "json":
        yield json.dumps(rows, indent=2) + "\n"
    elif output == "jsonl":
        yield from (json.dumps(row) + "\n" for row in rows)
    elif output == "md":
        yield from _markdown(rows)
    else:
        plain = [{key: value for key, value in row.items() if key != "samples_ts"} for row in rows]
        if output == "csv":
            text = io.StringIO()
            writer = csv.DictWriter(text, plain[0], quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writeheader()
            writer.writerows(plain)
            yield text.getvalue()
        else:
            yield from _sql(plain)


def _markdown(rows: list[dict[str, Any]]) -> Iterable[str]:
    head = ("model", "size", "params", "backend", "threads", "test", "t/s", "compile", "peak", "of read speed")
    yield "| " + " | ".join(head) + " |\n| " + " | ".join("---" if name in head[:1] else "---:" for name in head) + " |\n"
    for r in rows:
        share = "" if r["read_share"] is None else f"{100 * r['read_share']:.0f} %"
        cells = [r["model_type"], f"{r['model_size'] / 2**20:.2f} MiB", f"{r['model_n_params'] / 1e6:.2f} M", r["backend"], str(r["n_threads"]), r["test"]]
        cells += [f"{r['avg_ts']:.2f} ± {r['stddev_ts']:.2f}", f"{r['compile_s']:.1f} s", f"{r['peak_memory'] / 2**20:.0f} MiB", share]
        yield "| " + " | ".join(cells) + " |\n"


def _sql(rows: list[dict[str, Any]]) -> Iterable[str]:
    def literal(value: Any) -> str:
        if value is None:
            return "NULL"
        return str(value) if isinstance(value, (int, float)) else "'" + str(value).replace("'", "''") + "'"

    kinds = {key: "TEXT" if isinstance(value, str) else "INTEGER" if isinstance(value, int) else "REAL" for key, value in rows[0].items()}
    yield "CREATE TABLE IF NOT EXISTS jaxllama_bench (\n" + ",\n".join(f"  {key} {kind}" for key, kind in kinds.items()) + "\n);\n"
    for row in rows:
        yield f"INSERT INTO jaxllama_bench ({', '.join(row)}) VALUES ({', '.join(map(literal, row.values()))});\n"
