"""`jaxllama bench`: measure prefill and decode speed, with llama-bench's tests and tables.

Options that take N,... accept lists (1,2,8) and ranges (1-4, 128-512+128, 1-64*2), and may be repeated; each combination is measured.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from jaxllama.environment import thread_count

from .loading import load_model, start
from .log import Log
from .options import COMPILE, IDLE, LATER, LOG, MODEL, ROPE, Group, Option, Verb
from .options.kinds import Explained, Kind, one_of, path, whole, whole_number
from .options.model import CACHE_TYPE, EXACT
from .options.option import options_of

if TYPE_CHECKING:
    from jaxllama import Model
    from jaxllama.evaluate.speed import Speed

_MOST = 1000
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
            raise Explained(f"the range '{part}' never ends: its step must be 1 or more, its factor 2 or more")
        if end < value:
            raise Explained(f"the range '{part}' has no numbers: it ends below its start")
        while value <= end:
            if len(found) == _MOST:
                raise Explained(f"the range '{part}' has too many numbers: at most {_MOST} tests are made")
            found.append(value)
            value = value * step if "*" in rest else value + step
    return found


def _count(text: str) -> int:
    if text[:1] in ("+", "-"):
        raise ValueError(text)
    return whole_number(text)


def _several(least: int) -> Kind:
    def read(text: str) -> list[int]:
        found = numbers(text)
        for number in found:
            whole(least).read(str(number))
        return found

    return Kind(read, f"numbers of at least {least} such as 128, 1,2,8 or 128-512+128", "N,...")


def _pair(text: str) -> tuple[int, int]:
    prompt, generated = numbers(text)
    if not prompt and not generated:
        raise ValueError(text)
    return prompt, generated


def _types(text: str) -> list[str]:
    return [CACHE_TYPE.read(part) for part in text.split(",")]


def _lists(group: Group) -> Group:
    """The same options, as llama-bench takes them: with several values."""

    def several(kind: Kind) -> Kind:
        def read(text: str) -> list[Any]:
            return [kind.read(str(part)) for part in (numbers(text) if kind.expected.startswith("a whole number") and "-" in text[1:] else text.split(","))]

        return Kind(read, kind.expected, kind.metavar, kind.files, kind.empty)

    return Group(group.title, *(option if option.is_switch else replace(option, kind=several(option.kind)) for option in group))


BENCH = Group(
    "tests",
    Option(("-m", "--model"), "models", "path of a GGUF file; may be repeated (default: the small story model in the package)", path(), env="MODEL", many=True),
    Option(("-p", "--n-prompt"), "prompts", "prompt tokens of the prefill tests (pp); 0: none (default: 512)", _several(0), many=True),
    Option(("-n", "--n-gen"), "generated", "tokens to generate in the decode tests (tg); 0: none (default: 128)", _several(0), many=True),
    Option(("-pg",), "pairs", "a test of PP prompt tokens and TG generated ones, timed together; may be repeated", Kind(_pair, "PP,TG", "PP,TG"), many=True),
    Option(("-d", "--n-depth"), "depths", "tokens in the KV cache before the test (default: 0)", _several(0), many=True),
    Option(
        ("-b", "--batch-size"), "n_batches", "prompt tokens that are read at a time; the smaller of this and -ub counts (default: 2048)", _several(1), many=True
    ),
    Option(("-ub", "--ubatch-size"), "n_ubatches", "prompt tokens that one call of the model processes (default: 512)", _several(1), many=True),
    Option(
        ("-ctk", "--cache-type-k"),
        "cache_types",
        "data types of the KV cache (default: f16)",
        Kind(_types, "f16, bf16 or f32, or several", "TYPE,..."),
        many=True,
    ),
    Option(("-ctv", "--cache-type-v"), "cache_types_v", "the same; they must be K's", Kind(_types, "f16, bf16 or f32, or several", "TYPE,..."), many=True),
    Option(("-t", "--threads"), "threads", "numbers of CPU threads; several are measured in processes of their own", _several(1), many=True),
    Option(("-r", "--repetitions"), "repeats", "number of times each test is run", whole(1), 5),
    Option(("-o", "--output"), "output", "output format", one_of(*FORMATS), "md"),
    Option(("-oe", "--output-err"), "output_err", "the same on stderr (default: nothing)", one_of(*FORMATS)),
    Option(("--progress",), "progress", "say which test is run, also where stderr is no terminal"),
    Option(("--delay",), "delay", "seconds to wait between tests", whole(0), 0),
    Option(("--no-warmup",), "no_warmup", "skip the untimed warmup run"),
    EXACT,
    *options_of(
        """
        -nkvo/--no-kv-offload 0|1,...
        -nopo/--no-op-offload 0|1,...
        --no-host 0|1,...
        """,
        idle="the whole model is on JAX's first device (JAX_PLATFORMS=cpu takes the CPU)",
    ),
    *options_of("--repack 0|1,...", idle="weights are always in the kernels' memory layout"),
    *options_of("-embd/--embeddings 0|1,...", idle="reading a prompt costs the same for embeddings"),
    *options_of("-rpc/--rpc SERVERS", later="using several machines is"),
)


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    if args.cache_types_v and args.cache_types_v != args.cache_types:
        raise ValueError("-ctv: K and V of different types are not supported yet")
    counts = list(dict.fromkeys(n for part in args.threads for n in part)) or [-1]
    if len(counts) == 1:
        rows = measured(args, counts[0], log)
    else:  # XLA's pool has the size that it started with
        rows = []
        for count in counts:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
                rows += child.submit(_in_child, args, count).result()
    sys.stdout.write("".join(_written(rows, args.output)))
    if args.output_err:
        sys.stderr.write("".join(_written(rows, args.output_err)))
    return 0


def _in_child(args: SimpleNamespace, threads: int) -> list[dict[str, Any]]:
    with Log(args) as log:
        return measured(args, threads, log)


def measured(args: SimpleNamespace, threads: int, log: Log) -> list[dict[str, Any]]:
    """All tests with a number of threads, as llama-bench's rows."""
    from jaxllama.evaluate.speed import SpeedTest, measure, reader, weights_read

    def given(name: str, default: Any) -> Sequence[Any]:
        return list(dict.fromkeys(value for part in getattr(args, name) for value in part)) or [default]

    shapes = [(p, 0) for p in given("prompts", 512) if p] + [(0, n) for n in given("generated", 128) if n] + list(args.pairs)
    tests = [SpeedTest(p, n, depth) for p, n in shapes for depth in given("depths", 0)]
    if not tests:
        raise ValueError("there is no test to run: set -p, -n or -pg above 0")
    settings = list(product(args.models or [None], given("n_batches", 2048), given("n_ubatches", 512), given("cache_types", None)))
    start(SimpleNamespace(**vars(args) | {"threads": threads}))
    rows: list[dict[str, Any]] = []
    for model_file, n_batch, n_ubatch, cache_type in settings:
        chosen = {"model": model_file, "n_batch": n_batch, "n_ubatch": n_ubatch, "cache_type": cache_type, "cache_type_v": None}
        model = load_model(SimpleNamespace(**vars(args) | chosen), log, n_ctx=max(t.room for t in tests))
        touched = weights_read(model)
        read = reader(touched)
        own, readings = [], [read()]  # before and after every test: what memory delivers changes with the machine's other work
        for test in tests:
            number, count = len(rows) + len(own) + 1, len(tests) * len(settings)
            if log.terminal or args.progress:
                log.info(f"test {number} of {count}: {test.name}", dim=True)
            if args.delay and number > 1:
                time.sleep(args.delay)
            compiled = model.programs.seconds - model.programs.cached_seconds
            found = measure(model, test, repeats=args.repeats, warmup=not args.no_warmup)
            own.append(_row(model, found, model.programs.seconds - model.programs.cached_seconds - compiled) | {"n_batch": n_batch, "n_ubatch": n_ubatch})
            readings.append(read())
        for row in own:
            only_decodes = row["n_gen"] and not row["n_prompt"]
            row["read_speed"] = max(readings)
            row["read_share"] = row["avg_ts"] * touched / max(readings) if only_decodes else None
        rows += own
    return rows


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
        "n_batch": 0,
        "n_ubatch": 0,
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
    varied = [key for key in ("model_filename", "n_batch", "n_ubatch", "type_k") if len({row[key] for row in rows}) > 1]
    head = ("model", "size", "params", "backend", "threads", *varied, "test", "t/s", "compile", "peak", "of read speed")
    yield "| " + " | ".join(head) + " |\n| " + " | ".join("---" if name in head[:1] else "---:" for name in head) + " |\n"
    for r in rows:
        share = "" if r["read_share"] is None else f"{100 * r['read_share']:.0f} %"
        cells = [r["model_type"], f"{r['model_size'] / 2**20:.2f} MiB", f"{r['model_n_params'] / 1e6:.2f} M", r["backend"], str(r["n_threads"])]
        cells += [*(str(r[key]) for key in varied), r["test"]]
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


VERB = Verb("bench", "measure prefill and decode speed", __doc__, run, (BENCH, MODEL, ROPE, COMPILE, LOG, _lists(IDLE), LATER))
