"""Which lines can be changed without a test noticing: `python tests/mutation jaxllama/formats` prints them.

One statement is deleted, or one condition, operator or number changed, at a time, and the tests that reach it run until one fails. What no test fails for is a
survivor: a test is missing, or the line is not needed. Survivors that cannot be killed stand with their reason in survivors.toml.

Mutants are made in forked children and never written to disk. Inside functions, a child changes the imported functions and runs tests that its parent has
collected (0.1 s); elsewhere, it imports the package anew (2 s). Libraries were looked at: cosmic-ray starts Python, and so jax, for every mutant (5 s and
more); mutmut works on a copy of the tree, on lines inside functions only, and runs the tests once in the process that it forks later, where jax has threads by
then.
"""

from __future__ import annotations

import argparse
import ast
import atexit
import gc
import hashlib
import importlib.machinery
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import tomllib
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import FunctionType

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
os.environ["CI"] = "1"  # the same examples of hypothesis every time

# What all children need, imported once; not the package, and no backend of JAX is started.
import _pytest.main as runner
import flax.struct  # noqa: F401
import hypothesis  # noqa: F401
import jax.experimental.pallas  # noqa: F401
import jinja2.sandbox  # noqa: F401
import numpy  # noqa: F401
import pytest
import tokenizers  # noqa: F401
from mutants import Mutant, codes, mutants, mutated
from reach import Reach

SURVIVED, KILLED, ELSEWHERE = 0, 1, 3
EXPLAINED = Path(__file__).with_name("survivors.toml")
SCRATCH = Path(tempfile.gettempdir()) / f"mutants-of-{os.getuid()}"
MAIN, TERMINAL = os.getpid(), os.dup(1)


class Chosen:
    """A plugin of pytest that runs some of the tests, in a given order, and says which failed."""

    def __init__(self, tests: list[str], say: int):
        self.tests, self.say = tests, say

    def pytest_collection_modifyitems(self, items):
        found = {item.nodeid: item for item in items}
        items[:] = [found[t] for t in self.tests]

    def pytest_runtest_logreport(self, report):
        if report.failed:
            os.write(self.say, report.nodeid.encode())


class InPlace(Chosen):
    """A plugin of pytest that tries mutants of functions on the tests it has collected, one fork each; `rest` are those that need a new import."""

    def __init__(self, run: Run, jobs: list[Job]):
        super().__init__([], -1)
        self.run, self.jobs, self.rest = run, jobs, []

    def pytest_collection_modifyitems(self, items):
        self.items = {item.nodeid: item for item in items}

    def pytest_runtestloop(self, session):
        functions = [f for f in gc.get_objects() if isinstance(f, FunctionType) and f.__code__.co_filename.startswith(self.run.package)]
        gc.freeze()  # children then copy fewer pages
        self.rest = [job for job in self.jobs if self.run.outcome(job, lambda say, job=job: self.child(session, functions, job, say)) == ELSEWHERE]
        return True

    def child(self, session, functions: list[FunctionType], job: Job, say: int) -> int:
        new = defaultdict(list)
        for code in codes(mutated(job.path, job.number)):
            new[code.co_qualname, code.co_firstlineno].append(code)
        changed = 0
        for function in functions:
            old = function.__code__
            found = new[old.co_qualname, old.co_firstlineno] if old.co_filename == str(job.path) else [old]
            if old in found:
                continue
            try:
                (function.__code__,) = found
                changed += 1
            except ValueError:  # two of one name in one line, or other variables enclosed
                return ELSEWHERE
        if not changed:
            return ELSEWHERE
        self.say = say
        session.items[:] = [self.items[t] for t in self.run.tests(job)]
        try:
            runner.pytest_runtestloop(session)
        except session.Failed:
            return KILLED
        return SURVIVED


class Run:
    """What is known of the tests, and what became of the mutants."""

    def __init__(self, tests: list[Path], target: Path, seconds: float):
        self.package, self.files, self.limit = str(target), tests, seconds
        self.seconds: dict[str, float] = {}
        self.reached: dict[str, dict[str, set[int]]] = {}
        self.imported: defaultdict[str, set[int]] = defaultdict(set)
        self.kills: Counter[tuple[Path, str]] = Counter()
        self.counts: Counter[str] = Counter()
        sources = sorted([*(ROOT / "jaxllama").rglob("*.py"), *(ROOT / "tests" / "reference").glob("*.py"), ROOT / "tests" / "conftest.py"])
        for file in tests:
            digest = hashlib.sha256(b"".join(p.read_bytes() for p in [*sources, file, *file.parent.glob("[!t]*.py")]) + self.package.encode())
            kept = SCRATCH / f"{file.stem}-{digest.hexdigest()[:16]}.json"
            if not kept.exists() and forked(lambda _, file=file, kept=kept: trace(file, kept, self.package), 0)[0]:
                raise SystemExit(f"{file} fails without any change: run it with pytest first")
            found = json.loads(kept.read_text())
            self.seconds |= found["seconds"]
            for test, lines in found["reached"].items():
                if test:
                    self.reached[test] = {name: set(numbers) for name, numbers in lines.items()}
                else:
                    for name, numbers in lines.items():
                        self.imported[name].update(numbers)

    def tests(self, job: Job) -> list[str]:
        """The tests that reach a mutant, those that are quick and have killed in this file before first, as many as the limit has room for."""
        name = str(job.path.relative_to(ROOT))
        reaching = [t for t, lines in self.reached.items() if job.imported or not lines.get(name, set()).isdisjoint(job.mutant.lines)]
        reaching.sort(key=lambda t: (0.02 + self.seconds[t]) / (1 + 3 * self.kills[job.path, t]) + (job.imported and name not in self.reached[t]))
        ends = accumulate(self.seconds[t] for t in reaching)
        return [t for t, end in zip(reaching, ends, strict=True) if end - self.seconds[t] < self.limit]

    def outcome(self, job: Job, child: Callable[[int], int]) -> int:
        tests = self.tests(job)
        status, killer = forked(child, 10 + 5 * sum(self.seconds[t] for t in tests)) if tests else (SURVIVED, "")
        if status == SURVIVED:
            self.counts["survived"] += 1
            tell(f"{job.path.relative_to(ROOT)}:{job.mutant.line}: {job.mutant.change}" + ("" if tests else " (no test reaches it)"))
        elif status == KILLED:
            self.counts["killed"] += 1
            self.kills[job.path, killer] += 1
        return status


@dataclass
class Job:
    """A mutant to try; `imported` ones count when their module is imported."""

    path: Path
    number: int
    mutant: Mutant
    imported: bool


def trace(file: Path, kept: Path, package: str) -> int:
    reach = Reach(ROOT, package)
    status = run_pytest([str(file)], reach)
    if not status:
        kept.write_text(json.dumps({"seconds": reach.seconds, "reached": reach.reached}))
    return status


def imported_anew(run: Run, job: Job, say: int) -> int:
    code, loader = mutated(job.path, job.number), importlib.machinery.SourceFileLoader
    read = loader.get_code
    loader.get_code = lambda self, name: code if self.path == str(job.path) else read(self, name)
    tests = run.tests(job)
    return KILLED if run_pytest(sorted({t.partition("::")[0] for t in tests}), Chosen(tests, say)) else SURVIVED


def run_pytest(arguments: list[str], plugin: object) -> int:
    options = [
        "-n",
        "0",
        "-x",
        "-s",
        "-q",
        "--tb=no",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "--rootdir",
        str(ROOT),
        "--basetemp",
        f"{tempfile.tempdir}/tests",
    ]
    return int(pytest.main([*options, *arguments], plugins=[plugin]))


def forked(child: Callable[[int], int], seconds: float) -> tuple[int, str]:
    """Run `child` in a fork with at most so many processor seconds (0: any): its exit status, KILLED where it was ended, and what it said."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of forks; no backend is running here
        pid = os.fork()
    if not pid:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.alarm(int(20 * seconds))
        if seconds:
            resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30))
        if not os.environ.get("MUTATE_SHOW"):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
        status = KILLED
        try:
            status = child(write)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return (KILLED if status < 0 else status), said


def tell(line: str) -> None:
    os.write(TERMINAL, f"{line}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="a folder or file of the package, or FILE:LINE")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each N-th mutant only")
    parser.add_argument("--lines", action="store_true", help="only delete statements and negate conditions; leave operators and numbers as they are")
    parser.add_argument("--tests", nargs="+", type=Path, metavar="PATH", help="where the tests are; tests/NAME for jaxllama/NAME by default")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="run at most so many seconds of tests for a mutant (default 20)")
    options = parser.parse_args()
    name, _, line = options.target.partition(":")
    target = Path(name).resolve()
    room = ROOT / "jaxllama" / target.relative_to(ROOT / "jaxllama").parts[0]
    places = [p.resolve() for p in options.tests or [ROOT / "tests" / room.name]]
    tempfile.tempdir = str(SCRATCH / f"tmp{MAIN}")  # children end without cleaning up
    Path(tempfile.tempdir).mkdir(parents=True)
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
    run = Run([f for p in places for f in (sorted(p.rglob("test_*.py")) if p.is_dir() else [p])], room, options.seconds)
    explained = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))
    jobs = []
    for path in sorted(target.rglob("*.py")) if target.is_dir() else [target]:
        short, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        for number, mutant in enumerate(mutants(ast.parse(text))):
            source = text.splitlines()[mutant.line - 1].strip()
            if number % options.every or (line and mutant.line != int(line)) or (options.lines and not mutant.of_line):
                continue
            if {source, f"{source} :: {mutant.change}"} & explained.get(short, {}).keys():
                run.counts["explained"] += 1
            else:
                jobs.append(Job(path, number, mutant, not mutant.in_function or not run.imported[short].isdisjoint(mutant.lines)))

    def in_place(say: int) -> int:
        plugin = InPlace(run, [j for j in jobs if not j.imported])
        if not run_pytest([str(f) for f in run.files], plugin):
            os.write(say, json.dumps([[(str(j.path), j.number) for j in plugin.rest], run.counts]).encode())
        return SURVIVED

    rest, counts = json.loads(forked(in_place, 0)[1])
    run.counts = Counter(counts)
    for job in jobs:
        if job.imported or [str(job.path), job.number] in rest:
            run.outcome(job, lambda say, job=job: imported_anew(run, job, say))
    tell(f"{len(jobs) + run.counts['explained']} mutants: " + ", ".join(f"{run.counts[k]} {k}" for k in ("killed", "explained", "survived")))


if __name__ == "__main__":
    main()
