"""Chatting with a model: the shapes of OpenAI, and the verbs."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

import jaxllama
from jaxllama.chat import Chat
from jaxllama.cli.main import main
from jaxllama.decode import generate
from jaxllama.grammar import SchemaError
from jaxllama.text.chat.caps import tool_of
from jaxllama.text.chat.messages import MessageError

USER = [{"role": "user", "content": "Once upon a time"}]


@pytest.fixture(scope="module")
def model(default_model):
    return default_model


def test_an_answer_in_openais_shape(model):
    found = model.chat(USER, max_tokens=12, temperature=0)
    (choice,) = found["choices"]
    assert found["object"] == "chat.completion"
    assert choice["finish_reason"] == "length"
    assert choice["message"]["role"] == "assistant"
    assert found["usage"]["completion_tokens"] == 12
    assert found["usage"]["total_tokens"] == 12 + found["usage"]["prompt_tokens"]
    prompt = model.chats.prompt(USER)
    assert found["usage"]["prompt_tokens"] == len(prompt.ids)
    assert choice["message"]["content"] == model.generate(prompt.ids, n_predict=12, temperature=0).text


def test_a_stream_adds_up_to_the_answer(model):
    chunks = list(model.stream_chat(USER, max_tokens=12, temperature=0))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)
    assert text == model.chat(USER, max_tokens=12, temperature=0)["choices"][0]["message"]["content"]
    assert len({c["id"] for c in chunks}) == 1


def test_stop_strings_and_the_end(model):
    whole = model.chat(USER, max_tokens=30, temperature=0)["choices"][0]["message"]["content"]
    word = whole.split()[3]
    found = model.chat(USER, max_tokens=30, temperature=0, stop=word)["choices"][0]
    assert found["finish_reason"] == "stop"
    assert found["message"]["content"] == whole[: whole.index(word)]


def test_bad_requests_say_where(model):
    with pytest.raises(MessageError, match=r"messages\[1\]\.content"):
        model.chat([*USER, {"role": "user"}])
    with pytest.raises(MessageError, match="reasoning: expected"):
        model.chat(USER, reasoning="maybe")
    with pytest.raises(ValueError, match=r"reasoning_budget must be a whole number of at least -1 \(0 is no reasoning, -1 no limit\), not -5"):
        model.chat(USER, reasoning_budget=-5)
    with pytest.raises(MessageError, match="chat_template_kwargs: expected an object, found 5"):
        model.chat(USER, chat_template_kwargs=5)
    with pytest.raises(MessageError, match="reasoning_format: expected"):
        model.chat(USER, reasoning_format="loud")
    with pytest.raises(TypeError):
        model.chat(USER, no_such_option=1)


def test_continuing_a_message(model):
    begun = [*USER, {"role": "assistant", "content": "there was a"}]
    prompt = model.chats.prompt(begun, continue_final_message=True)
    assert prompt.text.endswith("there was a")
    assert model.chat(begun, continue_final_message=True, max_tokens=3, temperature=0)["choices"][0]["message"]["content"]


def test_tools_reach_the_prompt_and_imply_a_grammar(model):
    prompt = model.chats.prompt(USER, tools=[tool_of("get_weather", "city")], tool_choice="required")
    assert "get_weather" in prompt.text
    grammar = prompt.grammar()
    assert grammar is not None
    assert grammar.triggers == ()
    assert "get-weather-call" in grammar.text
    assert model.chats.prompt(USER, tools=[tool_of("get_weather", "city")], tool_choice="none").grammar() is None


def test_a_schema_that_no_grammar_can_say_is_an_error_unless_it_may_be_ignored(model):
    tool = tool_of("wait", "seconds")
    tool["function"]["parameters"]["properties"]["seconds"] = {"type": "integer", "multipleOf": 7}
    with pytest.raises(SchemaError, match=r"seconds\.multipleOf"):
        model.chat(USER, tools=[tool], max_tokens=3)
    assert model.chat(USER, tools=[tool], max_tokens=3, schema_ignore=["multipleOf"])["choices"]
    assert model.chat(USER, tools=[tool], max_tokens=3, tool_choice="none")["choices"]


def weather() -> dict:
    tool = tool_of("get_weather", "city")
    tool["function"]["parameters"] = {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city"],
    }
    return tool


@pytest.mark.parametrize("seed", range(3))
def test_a_required_call_is_made(model, seed):
    """A model that knows nothing of tools calls one when it has to, with arguments that are valid."""
    answer = model.chat(
        USER,
        tools=[weather(), tool_of("wait")],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        parallel_tool_calls=False,
        max_tokens=120,
        seed=seed,
    )
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    jsonschema.validate(json.loads(call["function"]["arguments"]), weather()["function"]["parameters"])


def test_a_call_is_possible_and_not_necessary(model):
    """With tool_choice auto the answer is free; once a call has begun, it is a valid one."""
    free = model.chat(USER, max_tokens=12, seed=1)["choices"][0]["message"]["content"]
    offered = model.chats.prompt(USER, tools=[weather()])
    assert offered.grammar().triggers
    assert model.chat(USER, tools=[weather()], max_tokens=12, seed=1)["choices"][0]["message"]["content"]
    assert free
    started = model.chat(
        USER,
        tools=[weather()],
        parallel_tool_calls=False,
        max_tokens=300,
        seed=2,
        logit_bias=dict.fromkeys(_beginnings(model, offered.grammar().triggers[0]), 100),
    )["choices"][0]
    assert started["finish_reason"] == "tool_calls"
    (call,) = started["message"]["tool_calls"]
    jsonschema.validate(json.loads(call["function"]["arguments"]), weather()["function"]["parameters"])


def _beginnings(model, trigger: str) -> list[int]:
    """Tokens that begin the trigger."""
    return [t for t in range(len(model.tokenizer)) if trigger.encode().startswith(model.tokenizer.piece(t, special=True) or b"none")]


def test_response_format(model):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = model.chat(USER, response_format=form, max_tokens=60, seed=1)["choices"][0]["message"]["content"]
    jsonschema.validate(json.loads(content), schema)
    assert model.chat(USER, choice=["yes", "no"], max_tokens=20)["choices"][0]["message"]["content"] in ("yes", "no")
    with pytest.raises(ValueError, match="tools cannot be used together with grammar"):
        model.chat(USER, tools=[weather()], response_format=form)
    with pytest.raises(ValueError, match="expected a type"):
        model.chat(USER, response_format={"type": "xml"})


def test_a_grammar_does_not_hold_while_the_model_thinks(model):
    """A template that opens a thought: free text until it ends (here by its budget), then the grammar."""
    model.chats = Chat(model.tokenizer, model.file.metadata, "{% for m in messages %}{{ m.content }} {% endfor %}<think>{# </think> #}")
    try:
        message = model.chat(USER, max_tokens=60, reasoning_budget=6, choice=["yes", "no"], seed=4)["choices"][0]["message"]
        assert len(message["reasoning_content"]) > 3
        assert message["content"] in ("yes", "no")
    finally:
        model.chats = Chat(model.tokenizer, model.file.metadata)


def test_reasoning_ends_when_its_budget_is_used_up(model):
    """The embedded model does not reason: its template here opens a thought, and what it writes is one until the budget ends it."""
    model.chats = Chat(model.tokenizer, model.file.metadata, "{% for m in messages %}{{ m.content }} {% endfor %}<think>{# </think> #}")
    try:
        free = model.chat(USER, max_tokens=16, temperature=0)["choices"][0]["message"]
        assert free["reasoning_content"]
        assert not free["content"]
        whole = model.chat(USER, max_tokens=16, temperature=0, reasoning_budget=5)
        assert whole["usage"]["completion_tokens"] == 16  # the thought's tokens count too
        cut = whole["choices"][0]["message"]
        assert free["reasoning_content"].startswith(cut["reasoning_content"])
        assert cut["content"]
        short = model.chat(USER, max_tokens=3, temperature=0, reasoning_budget=5)
        assert short["usage"]["completion_tokens"] == 3  # no budget is more than all that is wanted
        assert model.chat(USER, max_tokens=0, reasoning_budget=5)["choices"][0]["message"]["content"] == ""
        told = model.chat(USER, max_tokens=16, temperature=0, reasoning_budget=5, reasoning_budget_message=" Enough!")["choices"][0]["message"]
        assert told["reasoning_content"] == cut["reasoning_content"] + " Enough!"
    finally:
        model.chats = Chat(model.tokenizer, model.file.metadata)


def test_a_conversation_reads_only_what_is_new(model, monkeypatch):
    """With and without what the turn before has left behind: the same text."""
    kept = jaxllama.Kept()
    messages = list(USER)
    for turn in range(3):
        fresh = model.chat(messages, max_tokens=12, temperature=0)
        again = model.chat(messages, max_tokens=12, temperature=0, kept=kept)
        assert again["choices"] == fresh["choices"]
        assert (again["timings"]["prompt_n"] < fresh["timings"]["prompt_n"] // 2) == (turn > 0)
        messages += [again["choices"][0]["message"], {"role": "user", "content": "And then?"}]
    stream = model.stream("Once upon a time", temperature=0, kept=kept)
    next(stream)
    stream.close()  # what was begun is kept as well
    whole = model.generate("Once upon a time, there was", n_predict=8, temperature=0).text
    assert "".join(p.text for p in model.stream("Once upon a time, there was", n_predict=8, temperature=0, kept=kept)) == whole

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "_settled", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(model.stream("Once", temperature=0, kept=kept))
    assert kept.session is None  # its state may be gone


def test_embeddings(model):
    found = model.embed("Once upon a time")
    assert found.shape == (model.config.n_embd,)
    assert abs(np.linalg.norm(found) - 1) < 1e-5
    each = model.embed("Once upon a time", pooling="none", normalize=False)
    assert each.shape == (len(model.encode("Once upon a time")), model.config.n_embd)
    np.testing.assert_allclose(model.embed("Once upon a time", pooling="last", normalize=False), each[-1])
    with pytest.raises(ValueError, match="pooling: expected"):
        model.embed("x", pooling="max")


# Verbs


def say(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_chat_when_piped(monkeypatch, capsys, tmp_path):
    saved = tmp_path / "chat.json"
    say(monkeypatch, f'Once upon a time\n/regen\n/system Be brief.\n"""two\nlines"""\none\\\nmore\n/save {saved}\n/what\n/clear\n/regen\n/exit\nnever')
    assert main(["chat", "-n", "6", "--temp", "0", "-c", "512"]) == 0
    out, err = capsys.readouterr()
    lines = out.strip().split("\n")
    assert lines[0] == lines[1]  # answered again, the same at temperature 0
    messages = json.loads(saved.read_text())
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert (messages[1]["content"], messages[3]["content"]) == ("two\nlines", "one\nmore")
    assert "commands: /clear, /regen, /system TEXT, /save FILE, /exit" in err
    assert "/regen: there is no answer to regenerate" in err


def test_chat_for_one_turn(monkeypatch, capsys):
    assert main(["chat", "-st", "-p", "Once upon a time", "-n", "5", "--temp", "0", "-c", "512"]) == 0
    assert capsys.readouterr().out.strip()
    say(monkeypatch, "")
    assert main(["chat", "-n", "5", "-c", "512"]) == 0
    assert main(["chat", "-st", "-p", "x", "--chat-template", "{{ raise_exception('not me') }}"]) == 1
    assert "not me" in capsys.readouterr().err
    assert main(["chat", "-st", "-p", "x", "--chat-template-kwargs", "[1"]) == 1
    assert "--chat-template-kwargs: expected a JSON object" in capsys.readouterr().err


def test_tokenize(monkeypatch, capsys):
    assert main(["tokenize", "-p", r"a dog\n<|im_end|>", "--show-count"]) == 0
    out = capsys.readouterr().out
    assert "-> '<|im_end|>'" in out
    count = int(out.split("Total number of tokens: ")[1])
    assert main(["tokenize", "-p", r"a dog\n<|im_end|>", "--ids"]) == 0
    ids = json.loads(capsys.readouterr().out)
    assert len(ids) == count
    assert main(["tokenize", "-p", "<|im_end|>", "--ids", "--no-bos", "--no-parse-special"]) == 0
    assert 2 not in json.loads(capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a dog\xff")))
    assert main(["tokenize", "--stdin", "--ids"]) == 0


def test_a_file_without_a_template_is_told_once(monkeypatch, capsys):
    file = jaxllama.open_gguf(jaxllama.embedded_model())
    tokenizer, without = jaxllama.Tokenizer.from_metadata(file.metadata), {"general.name": "x"}
    chats = Chat(tokenizer, without)
    with pytest.warns(UserWarning, match="no chat template: messages are written in ChatML.*chat_template=") as told:
        text = chats.prompt(USER).text
    assert len(told) == 1
    chats.prompt(USER, tools=[tool_of("f", "a")])  # a second warning would be an error
    assert Chat(tokenizer, without, "chatml").prompt(USER).text == text == chats.with_template("chatml").prompt(USER).text
    assert not Chat(tokenizer, file.metadata).guessed
    monkeypatch.setattr(type(file), "metadata", property(lambda self: {k: f.value for k, f in self.fields.items() if k != "tokenizer.chat_template"}))
    assert main(["apply-template", "-p", "Hi"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("warning: the file has no chat template") == 1
    assert "--chat-template takes another" in captured.err
    assert "<|im_start|>user\nHi<|im_end|>" in captured.out
    assert main(["apply-template", "-p", "Hi", "--chat-template", "llama3"]) == 0
    assert "no chat template" not in capsys.readouterr().err
    say(monkeypatch, "")
    assert main(["chat", "-c", "512", "--no-compile-cache"]) == 0
    assert capsys.readouterr().err.count("warning: the file has no chat template") == 1


def test_a_name_that_no_template_has(capsys):
    assert main(["apply-template", "-p", "Hi", "--chat-template", "chatmll"]) == 1
    assert "there is no chat template 'chatmll'; did you mean chatml" in capsys.readouterr().err


def test_apply_template(capsys, tmp_path):
    assert main(["apply-template", "-p", "Hi", "-sys", "Be brief.", "--chat-template", "llama3"]) == 0
    assert "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>" in capsys.readouterr().out
    request = tmp_path / "request.json"
    request.write_text(json.dumps({"messages": USER, "tools": [tool_of("get_weather", "city")], "tool_choice": "required"}))
    assert main(["apply-template", str(request), "--syntax", "--grammar"]) == 0
    out = capsys.readouterr().out
    assert '"kind": "json"' in out
    assert "root ::=" in out
    request.write_text("{")
    assert main(["apply-template", str(request)]) == 1
    assert "expected JSON" in capsys.readouterr().err
    assert main(["apply-template"]) == 1


def test_a_terminal_without_readline(monkeypatch, capsys):
    """Windows has none; its terminal edits lines by itself."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setitem(sys.modules, "readline", None)
    monkeypatch.setattr("jaxllama.cli.chat.load_model", lambda *_, **__: SimpleNamespace(name="a model", chats=SimpleNamespace(guessed=False)))
    monkeypatch.setattr(sys, "stdin", Terminal("/what\n/exit\n"))
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["chat"]) == 0
    assert "commands: /clear" in capsys.readouterr().err
