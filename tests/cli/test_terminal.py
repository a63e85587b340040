"""What the command writes: messages, status lines and the text, without a model."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from types import SimpleNamespace

import pytest

from jaxllama.cli import run
from jaxllama.cli.interactive import interact
from jaxllama.cli.interrupt import Interrupt
from jaxllama.cli.log import Log
from jaxllama.cli.options import parse
from jaxllama.cli.output import Output
from jaxllama.cli.prompt import read_message, read_prompt, system_prompt
from jaxllama.pieces import Piece


class Terminal(io.StringIO):
    """A file that is a terminal."""

    def isatty(self) -> bool:
        return True


def options(*arguments: str) -> SimpleNamespace:
    return parse(run.VERB, arguments, {})


def typed(monkeypatch, *lines: str) -> None:
    """What the user types."""
    given = iter(lines)

    def read(prompt: str = "") -> str:
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", read)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], "information\nwarning: care\nwrong\n"),
        (["-v"], "information\nwarning: care\nwrong\ndetails\n"),
        (["-lv", "2"], "warning: care\nwrong\n"),
        (["-lv", "1"], "wrong\n"),
        (["--log-disable"], "wrong\n"),
        (["--log-prefix"], "I information\nW warning: care\nE wrong\n"),
    ],
)
def test_levels(arguments, shown, capsys, tmp_path):
    with Log(options(*arguments, "--log-file", str(tmp_path / "log"))) as log:
        log.info("information")
        log.warning("care")
        log.error("wrong")
        log.detail("details")
    assert capsys.readouterr().err == shown
    assert (tmp_path / "log").read_text() == shown


def test_messages_as_json_and_with_times(capsys):
    with Log(options("--log-jsonl")) as log:
        log.warning("two\nlines")
    found = json.loads(capsys.readouterr().err)
    assert (found["type"], found["level"], found["msg"]) == ("log", "warn", "warning: two\nlines")
    with Log(options("--log-timestamps")) as log:
        log.info("two\nlines")
    assert re.fullmatch(r"0\.0\d\.\d{3} two\n0\.0\d\.\d{3} lines\n", capsys.readouterr().err)


def test_warnings_of_the_package_are_messages(capsys):
    with Log(options()), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.getLogger("jaxllama.anything").warning("kept %s", "nothing")
        warnings.warn("look out", stacklevel=1)
    assert capsys.readouterr().err == "warning: kept nothing\nwarning: look out\n"
    assert not logging.getLogger("jaxllama").handlers


def test_a_status_line_is_erased_and_never_comes_into_the_text(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    args = options("--color", "off")
    with Log(args) as log, Output(args, log) as out:
        log.status("preparing one ...")
        log.status("preparing two ...")
        out.write("Once upon")
        log.status("preparing three ...")
        out.write(" a time")
    erase = "\r\x1b[2K"
    assert screen.getvalue() == f"{erase}\x1b[2mpreparing one ...\x1b[0m{erase}\x1b[2mpreparing two ...\x1b[0m{erase}Once upon a time"


def test_colours(monkeypatch, capsys):
    for arguments, coloured in ((["-co", "on"], True), ([], False), (["-co", "on", "--simple-io"], False)):
        with Log(options(*arguments)) as log, Output(options(*arguments), log) as out:
            out.prompt("a prompt")
        assert capsys.readouterr().out == ("\x1b[33ma prompt\x1b[0m" if coloured else "a prompt")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Log(options("--log-colors", "on")) as log:
        log.error("wrong")
    assert screen.getvalue() == "\x1b[31mwrong\x1b[0m\n"


def test_the_prompt(tmp_path, monkeypatch):
    (tmp_path / "prompt").write_bytes(b"two\\nlines\n\n")
    name = str(tmp_path / "prompt")
    assert read_prompt(options("-p", r"two\nlines")) == "two\nlines"
    assert read_prompt(options("-f", name)) == "two\nlines\n"
    assert read_prompt(options("-f", name, "--no-escape")) == "two\\nlines\n"
    assert read_prompt(options("-bf", name)) == "two\nlines\n\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin\n")))
    assert read_prompt(options("-f", "-")) == "from stdin"
    assert read_prompt(options()) == "Once upon a time"
    assert read_prompt(options("-m", "model.gguf")) == ""
    assert system_prompt(options("-sys", r"be\nbrief")) == "be\nbrief"
    assert system_prompt(options("-sysf", name)) == "two\\nlines\n"


def test_what_is_typed(monkeypatch):
    typed(monkeypatch, "one", "two\\", "lines", '"""', "three", "more", 'lines"""', "last\\")
    assert [read_message("") for _ in range(5)] == ["one", "two\nlines", "three\nmore\nlines", "last", None]
    typed(monkeypatch, "one", "message\\", "another", "one\\", "unfinished")
    assert [read_message("", multiline=True) for _ in range(4)] == ["one\nmessage", "another\none", "unfinished", None]


def test_when_run_chats():
    for arguments, chats in (([], False), (["-cnv"], True), (["-sys", "x"], True), (["-sys", "x", "-no-cnv"], False), (["-st"], True), (["-i"], False)):
        assert run.converses(options(*arguments)) == chats, arguments


class Words:
    """A model that writes given texts, a word a token; a word's id is its place in a list of all that were seen."""

    bos = 0

    def __init__(self, *turns: str | list[str | BaseException], reason: str = "end"):
        self.seen = ["<s>"]
        self.turns, self.reason, self.read = list(turns), reason, []
        self.tokenizer = self

    def encode(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        assert not add_special
        found = []
        for word in re.findall(r"\S+|\s", text):
            self.seen += [word] * (word not in self.seen)
            found.append(self.seen.index(word))
        return found

    def stream(self, ids, *, kept, n_predict, shown):
        self.read.append("".join(self.seen[i] for i in ids))
        for word in self.turns.pop(0).split("|"):
            if word == "^C":
                raise KeyboardInterrupt
            yield Piece(word, token=self.encode(word, add_special=False)[0])
        yield Piece("", reason=self.reason)


def talk(model: Words, *arguments: str, prompt: str = "P", first: str = "P") -> tuple[Piece | None, bool]:
    args = options("-co", "off", *arguments)
    with Log() as log, Output(args, log) as out, Interrupt() as interrupt:
        last = interact(model, model.encode(first, add_special=False), prompt, args, log, out, interrupt, {"n_predict": -1, "shown": ()})  # type: ignore[arg-type]
        return last, interrupt.asked


def test_interactive_mode(monkeypatch, capsys):
    typed(monkeypatch, "hi", "bye/")
    model = Words("a|b", "c", "d")
    talk(model, "-i", "--in-prefix", r"\nU:", "--in-suffix", r"\nA:")
    assert model.read == ["P", "Pab\nU:hi\nA:", "Pab\nU:hi\nA:c\nU:bye\nA:"]
    assert capsys.readouterr().out == "Pab\nU:\nA:c\nU:\nA:d\nU:"


def test_interactive_mode_stops_at_a_text_and_ends_with_it(monkeypatch, capsys):
    typed(monkeypatch, "yes", "")
    model = Words("a|User:|never", "b", "c")
    talk(model, "-if", "-r", "User:", "--no-display-prompt")
    assert model.read == ["Pyes", "PyesaUser:"]  # the empty line lets the model go on
    assert capsys.readouterr().out == "aUser:bUser:"


def test_control_c_asks_and_at_the_question_it_leaves(monkeypatch):
    model = Words("a|^C")
    monkeypatch.setattr("builtins.input", lambda prompt="": (_ for _ in ()).throw(KeyboardInterrupt))
    _, asked = talk(model, "-i")
    assert asked
    typed(monkeypatch, "on")
    model = Words("a|^C", "b")
    _, asked = talk(model, "-i", "--in-prefix-bos")
    assert not asked
    assert model.read == ["P", "Pa<s>on"]


def test_interactive_mode_ends_with_the_context(monkeypatch):
    typed(monkeypatch, "on")
    last, _ = talk(Words("a", reason="context"), "-i")
    assert last is not None
    assert last.reason == "context"


def test_timings_tell_compiling_from_loading(capsys):
    for cached, shown, hidden in (
        (0, "compile time =    2000.00 ms /     2 programs", "program load"),
        (2, "program load time =    2000.00 ms /     2 programs", "compile"),
    ):
        programs = SimpleNamespace(seconds=2.0, count=2, cached_seconds=2.0 if cached else 0.0, cached=cached)
        with Log() as log:
            run.report(log, SimpleNamespace(programs=programs), None, 1.0, 3.0)  # type: ignore[arg-type]
        err = capsys.readouterr().err
        assert shown in err
        assert hidden not in err
        assert "load time =    1000.00 ms" in err
