"""Threads and coroutines that share one model: each gets what it would get alone."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import pytest

import jaxllama
from jaxllama.decode import Programs, generate
from jaxllama.kernels import assemble
from jaxllama.request import answer_grammar
from jaxllama.text.chat import sandbox
from jaxllama.text.chat.caps import tool_of

THREADS = 8
MESSAGES = [{"role": "user", "content": "Once upon a time"}]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}}, "required": ["name", "age"]}

# What one generation asks for; all have one slot, so that few programs are compiled.
REQUESTS: dict[str, dict[str, Any]] = {
    "free": {},
    "schema": {"json_schema": SCHEMA},
    "regex": {"regex": r"[0-9]{3,30}(\.[0-9]{2})?"},
    "choice": {"choice": ["a red fox", "a red bear", "a green bear"]},
    "nested": {"grammar": 'root ::= "(" root ")" root | [a-d]'},
}


def _called(model: jaxllama.Model) -> str:
    prompt = model.chats.prompt(MESSAGES, tools=[tool_of("get_weather", "city"), tool_of("add", "left", "right")], tool_choice="required")
    grammar = answer_grammar(model.tokenizer, None, prompt.grammar(), prompt.syntax.reasoning)
    return model.generate("An animal: ", n_predict=16, seed=4, grammar=grammar).text


JOBS: dict[str, Callable[[jaxllama.Model], Any]] = {
    **{name: lambda model, o=options: model.generate("An animal: ", n_predict=16, seed=3, **o).text for name, options in REQUESTS.items()},
    "tools": _called,
    "logits": lambda model: model.logits("An animal: ").tobytes(),
    "prefill": lambda model: np.asarray(model.prefill(["An animal: "]).logits).tobytes(),
    "ids": lambda model: model.tokenizer.encode("Nora was a brave fox who liked honey, " * 3),
    "template": lambda model: model.chats.prompt(MESSAGES, tools=[tool_of("get_weather", "city")]).ids,
}


@pytest.fixture(scope="module")
def alone(story_model: jaxllama.Model) -> dict[str, Any]:
    return {name: job(story_model) for name, job in JOBS.items()}


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short dispatches, and threads that change often."""
    monkeypatch.setattr(generate, "DISPATCH_SECONDS", 0.003)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


def _rotated(start: int) -> list[str]:
    names = list(JOBS)
    return names[start % len(names) :] + names[: start % len(names)]


@pytest.mark.exhaustive
@pytest.mark.usefixtures("restless")
def test_eight_threads_get_what_each_would_get_alone(story_model, alone):
    story_model.grammars.forget()
    together = threading.Barrier(THREADS)

    def work(number: int) -> dict[str, Any]:
        together.wait()
        return {name: JOBS[name](story_model) for name in _rotated(number)}

    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(work, range(THREADS)):
            assert found == alone


@pytest.mark.usefixtures("restless")
def test_tables_that_others_empty_again_and_again(story_model, alone):
    over = threading.Event()

    def empty() -> None:
        while not over.wait(0.005):
            story_model.grammars.forget()

    with ThreadPoolExecutor(4) as pool:
        emptying = pool.submit(empty)
        try:
            found = dict(zip(REQUESTS, pool.map(lambda name: JOBS[name](story_model), REQUESTS), strict=True))
        finally:
            over.set()
        emptying.result()
    assert found == {name: alone[name] for name in REQUESTS}


@pytest.mark.usefixtures("restless")
def test_streams_that_take_turns_on_one_thread_beside_other_threads(story_model, alone):
    story_model.grammars.forget()

    async def pieces(options: dict[str, Any]) -> AsyncIterator[str]:
        for piece in story_model.stream("An animal: ", n_predict=16, seed=3, **options):
            yield piece.text
            await asyncio.sleep(0)

    async def text(options: dict[str, Any]) -> str:
        return "".join([piece async for piece in pieces(options)])

    async def main() -> tuple[list[str], list[Any]]:
        abandoned = story_model.stream("An animal: ", n_predict=16, json_schema=SCHEMA)
        next(abandoned)  # and never asked again: nobody waits for it
        beside = asyncio.gather(*(asyncio.to_thread(JOBS[name], story_model) for name in ("schema", "tools", "free")))
        return await asyncio.gather(*map(text, REQUESTS.values())), await beside

    texts, others = asyncio.run(main())
    assert dict(zip(REQUESTS, texts, strict=True)) == {name: alone[name] for name in REQUESTS}
    assert others == [alone[name] for name in ("schema", "tools", "free")]


def test_nobody_overtakes_those_who_wait():
    programs, order = Programs(), []

    def wait() -> None:
        with programs.turn():
            order.append("waiting")

    for _ in range(20):
        with programs.turn():
            other = threading.Thread(target=wait)
            other.start()
            while not programs._queue.locked():
                time.sleep(0.0001)
        with programs.turn():
            order.append("again")
        other.join()
    assert order == ["waiting", "again"] * 20


def test_what_one_conversation_keeps_goes_to_one_of_those_who_ask(story_model):
    kept = jaxllama.Kept()
    first = story_model.generate("An animal: ", n_predict=4, temperature=0)
    list(story_model.stream("An animal: ", n_predict=4, temperature=0, kept=kept))
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda _: "".join(p.text for p in story_model.stream("An animal: ", n_predict=4, temperature=0, kept=kept)), range(4)))
    assert texts == [first.text] * 4


@pytest.mark.usefixtures("restless")
def test_a_session_goes_to_one_of_those_who_continue_it(story_model):
    session = story_model.prefill("An animal: ")
    together = threading.Barrier(THREADS)

    def work(_: int) -> str:
        together.wait()
        try:
            story_model.prefill("An animal: a fox", kept=session)
        except ValueError as error:
            return str(error)
        return "continued"

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(work, range(THREADS)))
    assert found.count("continued") == 1
    assert all("the kept session was used up" in text for text in found if text != "continued")


def test_two_models_loaded_at_once(story_model):
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: jaxllama.load(n_ctx=64, exact=True), range(2))
    for loaded in (one, two):
        assert loaded.tokenizer.encode("A fox") == story_model.tokenizer.encode("A fox")
        for mine, expected in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(story_model.params), strict=True):
            np.testing.assert_array_equal(mine, expected)


@pytest.mark.skipif(assemble.instruction_set() is None, reason="there are no kernels here")
def test_a_kernel_that_several_threads_ask_for_is_made_once(monkeypatch):
    made, together = [], threading.Barrier(4)
    monkeypatch.setattr(assemble, "handler", lambda name, kernel, instructions: made.append(kernel))
    monkeypatch.setattr(jax.ffi, "pycapsule", lambda handler: handler)
    monkeypatch.setattr(jax.ffi, "register_ffi_target", lambda *_, **__: None)
    monkeypatch.setattr(assemble, "_registered", set())

    def slowly(_: Any) -> Any:
        threading.Event().wait(0.02)

    def ask(_: int) -> str:
        together.wait()
        return assemble.register("trial", slowly)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert len(made) == 1


def test_a_template_counts_for_each_text_alone(monkeypatch):
    monkeypatch.setattr(sandbox, "MOST_STEPS", 6000)
    template = sandbox.Template("{% for n in range(n) %}{{ n }},{% endfor %}")
    expected = {n: "".join(f"{i}," for i in range(n)) for n in range(1500, 1508)}
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            assert dict(zip(expected, pool.map(lambda n: template.render(n=n), expected), strict=True)) == expected
    finally:
        sys.setswitchinterval(before)
