"""A process that forks with a model, or ends while threads are still generating."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import jaxllama
from jaxllama.decode import Programs, processes

FORKED = "this process was forked from one that had loaded a model"


def test_a_forked_process_is_told_what_to_do(story_model, monkeypatch):
    monkeypatch.setattr(processes, "_forked", False)
    processes._after_fork()
    for call in (lambda: story_model.generate("Once", n_predict=1), lambda: story_model.logits("Once"), jaxllama.load):
        with pytest.raises(RuntimeError, match=FORKED):
            call()


def test_a_fork_without_a_model_is_none_of_our_business(monkeypatch):
    monkeypatch.setattr(processes, "_forked", False)
    monkeypatch.setattr(processes, "_shared", [])
    processes._after_fork()
    processes.check_process()


def test_nobody_gets_a_turn_when_the_process_ends(monkeypatch):
    programs, begun, over = Programs(), threading.Event(), threading.Event()
    turns = []

    def work() -> None:
        while not over.is_set():
            with programs.turn():
                turns.append(1)
                begun.set()

    monkeypatch.setattr(processes, "_shared", [Programs(), programs])
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    begun.wait()
    processes._at_exit()
    made = len(turns)
    thread.join(0.05)
    assert thread.is_alive()
    assert len(turns) == made
    over.set()
    programs._lock.release()
    programs._queue.release()
    thread.join()


def test_the_end_of_a_process_does_not_wait_for_ever(monkeypatch):
    programs, over, begun = Programs(), threading.Event(), threading.Event()

    def work() -> None:
        with programs.turn():
            begun.set()
            over.wait()

    monkeypatch.setattr(processes, "_shared", [programs])
    monkeypatch.setattr(processes, "PATIENCE", 0.02)
    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    processes._at_exit()
    over.set()
    thread.join()


SCRIPT = """
import os, threading, time, warnings, jaxllama
warnings.simplefilter("ignore")  # JAX warns of every fork
model = jaxllama.load(n_ctx=512)
begun = threading.Event()
def work():
    for piece in model.stream("Once upon a time", n_predict=-1, ignore_eos=True):
        begun.set()
    work()
threading.Thread(target=work, daemon=True).start()
begun.wait()
if (child := os.fork()) == 0:
    try:
        model.generate("Once", n_predict=1)
    except RuntimeError as error:
        os.write(1, str(error).encode())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_process_that_forks_and_ends_while_a_thread_generates():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert FORKED in done.stdout
