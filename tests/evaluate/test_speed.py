"""The measuring of speed: what is counted, and the tables it is written in. How fast it is, is nobody's business here."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import jax
import pytest

from jaxllama.cli import bench
from jaxllama.cli.bench import numbers
from jaxllama.cli.main import main
from jaxllama.evaluate import speed
from jaxllama.evaluate.speed import Speed, SpeedTest, measure
from jaxllama.models.parameters import leaves
from jaxllama.quant import matmul, qmatmul
from jaxllama.quant.kernels import cpu


def test_names_and_counts():
    assert [SpeedTest(*t).name for t in ((512, 0), (0, 128), (16, 8, 1024))] == ["pp512", "tg128", "pp16+tg8 @ d1024"]
    assert SpeedTest(16, 8, 100, 3).tokens == 72
    found = Speed(SpeedTest(10, 0), (1.0, 2.0))
    assert found.rates == [10, 5]
    assert found.mean == 7.5
    assert found.deviation == pytest.approx(3.5355, abs=1e-4)


def test_a_test_runs_as_often_as_asked(story_model):
    found = measure(story_model, SpeedTest(5, 3, 4, 2), repeats=2, warmup=False)
    assert len(found.seconds) == 2
    assert all(s > 0 for s in found.seconds)


def test_tests_that_make_no_sense(story_model):
    for test in (SpeedTest(0, 0), SpeedTest(1, -1), SpeedTest(1, 0, slots=0)):
        with pytest.raises(ValueError, match="a test needs prompt tokens or generated tokens"):
            measure(story_model, test)
    with pytest.raises(ValueError, match="pp4000 needs a context of 4032 tokens"):
        measure(story_model, SpeedTest(4000, 0))


def test_lists_of_numbers():
    assert numbers("512") == [512]
    assert numbers("1,8-10,128-512+128,1-64*4") == [1, 8, 9, 10, 128, 256, 384, 512, 1, 4, 16, 64]
    for text, part in (("", ""), ("x", "x"), ("1-", ""), ("-1", "")):  # the option says what it expected
        with pytest.raises(ValueError, match=f"^{part}$"):
            numbers(text)
    for text in ("1-8+0", "1-8*1", "0-8*2"):
        with pytest.raises(ValueError, match=r"never ends"):
            numbers(text)


@pytest.fixture(scope="module")
def fast() -> list[str]:
    return ["bench", "-r", "1", "--no-warmup", "--no-compile-cache", "-p", "8", "-n", "2"]


@pytest.mark.exhaustive
def test_every_kind_of_table(fast, capsys):
    assert main([*fast, "-pg", "4,2"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split("|")[6].strip() for line in table] == ["test", "---:", "pp8", "tg2", "pp4+tg2"]
    assert main([*fast, "-o", "json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["n_prompt"], second["n_gen"]) == (8, 2)
    assert second["read_share"] > 0
    assert first["read_share"] is None
    assert main([*fast[:-1], "0", "-o", "csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert row["test"] == "pp8"
    assert main([*fast, "-o", "sql"]) == 0
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(capsys.readouterr().out)
        assert database.execute("SELECT test FROM jaxllama_bench").fetchall() == [("pp8",), ("tg2",)]


def test_decoding_is_compared_with_the_fastest_reading(fast, capsys, monkeypatch, story_model):
    asked, speeds = [], iter([1e6, 5e9, 2e6])
    monkeypatch.setattr(speed, "reader", lambda nbytes: asked.append(nbytes) or (lambda: next(speeds)))
    assert main([*fast, "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert list(speeds) == []  # before the first test, and after each of the two
    assert [row["read_speed"] for row in rows] == [5e9, 5e9]
    touched = sum(leaf.nbytes for _, leaf in leaves(story_model.params))
    assert asked == [touched]
    assert rows[1]["read_share"] == pytest.approx(rows[1]["avg_ts"] * touched / 5e9)


def test_a_reading_takes_the_products_way_through_all_the_bytes(monkeypatch):
    matrices, indices = [], []

    def product(x, weight, index):
        matrices.append(weight)
        jax.debug.callback(lambda i: indices.append(int(i)), index)
        return qmatmul(x, weight, index)

    monkeypatch.setattr(speed, "qmatmul", product)
    nbytes = 3 * 4 * 1024 * 8192
    assert speed.reader(nbytes)() > 0
    jax.effects_barrier()
    assert matrices[0].nbytes == nbytes
    assert indices == [0, 1, 2] * 2  # to compile, and to measure
    for small in (1, 3_700_000):
        matrices.clear()
        speed.reader(small)
        assert matrices[0].nbytes == pytest.approx(max(small, 16 * 4096), rel=0.02)
    backend = jax.default_backend()
    kernels = [matmul.formulation(backend, 1, name, False, 1024) in (cpu.dense_rows, cpu.kernel_rows) for name in ("F32", "Q4_0")]
    assert kernels[0] == kernels[1]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["-o", "xml"], "expected one of md, csv"),
        (["-pg", "3"], "expected PP,TG"),
        (["-p", "0", "-n", "0"], "there is no test to run: set -p, -n or -pg above 0"),
        (["-ctv", "f32"], "-ctv: K and V of different types are not supported yet"),
        (["-p", "1-4096"], "the range '1-4096' has too many numbers: at most 1000"),
    ],
)
def test_wrong_ways_to_measure(fast, extra, message, capsys):
    assert main([*fast[:-4], *extra]) in (1, 2)
    assert message in capsys.readouterr().err


def test_combinations(fast, monkeypatch, capsys):
    """Each combination of the lists is measured with a model of its own; several thread counts in processes of their own."""
    asked = []

    def load(args, *_, n_ctx):
        asked.append((args.model, min(args.n_batch, args.n_ubatch), args.cache_type))
        return SimpleNamespace(programs=SimpleNamespace(seconds=0.0, cached_seconds=0.0))

    monkeypatch.setattr("jaxllama.cli.bench.load_model", load)
    monkeypatch.setattr(speed, "weights_read", lambda model: 1)
    monkeypatch.setattr(speed, "reader", lambda nbytes: lambda: 1.0)
    monkeypatch.setattr(speed, "measure", lambda model, test, **_: test)
    monkeypatch.setattr("jaxllama.cli.bench._row", lambda model, test, compiled: {"test": test.name, "n_gen": test.generated, "n_prompt": 1})
    monkeypatch.setattr("jaxllama.cli.bench._written", lambda rows, output: [f"{output} {row['n_batch']} {row['n_ubatch']} {row['test']}\n" for row in rows])
    assert main([*fast, "-p", "4", "-m", "a", "-m", "b", "-ub", "16,32", "-b", "24", "-ctk", "f16,f32", "-oe", "sql"]) == 0
    assert asked == [(file, batch, kind) for file in "ab" for batch in (16, 24) for kind in ("f16", "f32")]
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"md 24 {size} {test}" for size in (16, 16, 32, 32) * 2 for test in ("pp8", "pp4", "tg2")]
    assert "sql 24 16 pp8" in captured.err


def test_several_numbers_of_threads(fast, monkeypatch, capsys):
    class Child:
        def __init__(self, workers, mp_context):
            assert (workers, mp_context.get_start_method()) == (1, "spawn")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, args, threads):
            assert function is bench._in_child
            return SimpleNamespace(result=lambda: [{"n_threads": threads}])

    monkeypatch.setattr(bench, "ProcessPoolExecutor", Child)
    monkeypatch.setattr(bench, "_written", lambda rows, output: [str(row["n_threads"]) for row in rows])
    assert main([*fast, "-t", "1,3", "-t", "5"]) == 0
    assert capsys.readouterr().out == "135"
