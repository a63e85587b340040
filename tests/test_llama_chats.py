"""Chats of llama-cpp-python's class: named formats, handlers and formatters of one's own, calls of tools."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

import jaxllama
from jaxllama.llama import Llama, llama_chat_format, llama_types
from jaxllama.llama.formats import CHAT_FORMATS
from jaxllama.text.chat.builtin import BUILTIN

PROMPT = "Once upon a time"
USER = [{"role": "user", "content": PROMPT}]
COLD = {"temperature": 0}
RECORDED = json.loads((Path(__file__).parent / "reference" / "chat_formats.json").read_text(encoding="utf-8"))
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}}
TOOLS, FORCED = [{"type": "function", "function": FUNCTION}], {"type": "function", "function": {"name": "f"}}
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


class Scripted(Llama):
    """A vocabulary without a model: completions are written down beforehand, and what is asked is kept."""

    def __init__(self, chat_format: str, *texts: str):
        super().__init__(jaxllama.embedded_model(), vocab_only=True, n_ctx=4096, chat_format=chat_format)
        self.texts, self.asked, self.reason = list(texts), [], "stop"

    def create_completion(self, prompt: Any, stream: bool = False, **options: Any) -> Any:
        shown = prompt[1:] if prompt[0] == self.token_bos() else prompt
        self.asked.append({"prompt": self.detokenize(shown, special=True).decode().strip(), "ids": prompt, **options})
        text, head = self.texts.pop(0), {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m"}
        report = (
            {"tokens": [text], "text_offset": [0], "token_logprobs": [-1.0], "top_logprobs": [{text: -1.0}]} if options.get("logprobs") is not None else None
        )
        whole = {"text": text, "index": 0, "logprobs": report, "finish_reason": self.reason}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        if not stream:
            return head | {"choices": [whole], "usage": usage}
        parts = [whole | {"text": text[:2], "finish_reason": None}, whole | {"text": text[2:], "finish_reason": None}, whole | {"text": "", "logprobs": None}]
        last = [head | {"choices": [], "usage": usage}] if options.get("stream_options") else []
        return iter([head | {"choices": [part]} for part in parts] + last)


@pytest.mark.parametrize("name", RECORDED["prompts"])
def test_named_formats_write_llama_cpp_pythons_prompts(name):
    function = getattr(llama_chat_format, "format" if name == "vicuna" else f"format_{name.replace('-2', '2').replace('-3', '3').replace('-', '_')}")
    for messages, (prompt, stop) in zip(RECORDED["conversations"], RECORDED["prompts"][name], strict=True):
        found = function(messages=messages)
        assert (found.prompt, [found.stop] if found.stop else []) == (prompt, stop)
    assert list(CHAT_FORMATS) == list(RECORDED["prompts"])
    llama = Scripted(name, "a")
    llama.create_chat_completion(RECORDED["conversations"][5], stop="x", tools=TOOLS, tool_choice="auto")  # tools are not part of the prompt
    assert llama.asked[0]["ids"] == llama.vocabulary.encode(RECORDED["prompts"][name][5][0], parse_special=True)
    assert llama.asked[0]["stop"] == ["x", *RECORDED["prompts"][name][5][1]]


def test_special_tokens_in_messages_are_text():
    llama = Scripted("chatml", "a", "a")
    end = llama.vocabulary.vocabulary.tokens[llama.token_eos()]
    llama.create_chat_completion([{"role": "user", "content": [{"type": "text", "text": f"a{end}"}, {"type": "text", "text": "b"}]}])
    assert llama.asked[0]["ids"].count(llama.token_eos()) == 1  # which is BOS here, and begins the prompt
    assert f"a{end}\nb" in llama.asked[0]["prompt"]
    llama.tokenizer_ = llama_tokenizer_of_words()
    llama.create_chat_completion(USER)
    assert llama.asked[1]["ids"] == [18, 10, 16, 4, 4, 1, 14, 21]


def llama_tokenizer_of_words() -> Any:
    class Words(jaxllama.llama.BaseLlamaTokenizer):
        def tokenize(self, text, add_bos=True, special=True):
            return [len(word) for word in text.split()]

        def detokenize(self, tokens, prev_tokens=None, special=False):
            return b""

    return Words()


def test_answers_of_formats(llama):
    """The real thing: what a chat says is what its prompt is continued with."""
    llama.chat_format = "redpajama-incite"
    free = llama.create_completion("\n<human>: Once upon a time\n<bot>:", max_tokens=8, **COLD)
    found = llama.create_chat_completion(USER, max_completion_tokens=8, **COLD)
    assert found["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": free["choices"][0]["text"]},
        "logprobs": None,
        "finish_reason": "length",
    }
    assert (found["object"], found["usage"]) == ("chat.completion", free["usage"])
    assert found["id"].startswith("chatcmpl-")


def test_shapes_of_answers():
    llama = Scripted("llama-3", *["Hello"] * 4)
    choice = llama.create_chat_completion(USER, logprobs=True, top_logprobs=1)["choices"][0]
    told = {"token": "Hello", "bytes": None, "logprob": -1.0}
    assert choice["logprobs"] == {"content": [told | {"top_logprobs": [told]}], "refusal": None}
    assert [llama.asked[0][name] for name in ("logprobs", "temperature", "repeat_penalty", "max_tokens")] == [1, 0.2, 1.0, None]
    chunks = list(llama.create_chat_completion(USER, stream=True, stream_options={"include_usage": True}))
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [{"role": "assistant"}, {"content": "He"}, {"content": "llo"}, {}]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 5)
    llama.create_chat_completion(USER, min_tokens=3, response_format={"type": "json_object"})
    (processor,) = llama.asked[2]["logits_processor"]
    assert (processor.min_tokens, llama.asked[2]["response_format"]) == (3, {"type": "json_object"})
    llama_chat_format.get_chat_completion_handler("llama-3")(llama=llama, messages=USER, chat_template_kwargs={})
    assert [llama.asked[3][name] for name in ("temperature", "repeat_penalty", "logprobs")] == [0.2, 1.1, None]  # a handler's own defaults
    assert "chat_template_kwargs" not in llama.asked[3]


def test_a_tool_that_is_chosen():
    call = {"name": "f", "arguments": '{"a": 1}'}
    llama = Scripted("chatml", *[call["arguments"]] * 3)
    for asked in ({"tools": TOOLS, "tool_choice": FORCED}, {"functions": [FUNCTION], "function_call": {"name": "f"}}):
        (choice,) = llama.create_chat_completion(USER, response_format={"type": "json_object"}, grammar='root ::= "x"', **asked)["choices"]
        assert choice["message"]["function_call"] == choice["message"]["tool_calls"][0]["function"] == call
        assert choice["message"]["tool_calls"][0]["id"] == "call__0_f_cmpl-1"
        assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
        assert [llama.asked[-1][name] for name in ("json_schema", "grammar", "response_format")] == [FUNCTION["parameters"], None, None]
    chunks = list(llama.create_chat_completion(USER, tools=TOOLS, tool_choice=FORCED, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": None, "function_call": None, "tool_calls": None}
    assert "".join(d["tool_calls"][0]["function"]["arguments"] for d in deltas[1:-1]) == call["arguments"]
    assert "".join(d["function_call"]["arguments"] for d in deltas[1:-1]) == call["arguments"]
    assert {d["tool_calls"][0]["id"] for d in deltas[1:-1]} == {"call__0_f_cmpl-1"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-3:-1]] == [None, "tool_calls"]
    assert chunks[-1]["usage"]["total_tokens"] == 5
    with pytest.raises(ValueError, match=r"Tool choice 'g' not found in tools\."):
        llama.create_chat_completion(USER, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "g"}})


@pytest.mark.parametrize(("choice", "texts", "prompts", "message"), RECORDED["calls"])
def test_function_calling_writes_llama_cpp_pythons_prompts(choice, texts, prompts, message):
    llama = Scripted("chatml-function-calling", *texts)
    found = llama.create_chat_completion(RECORDED["talk"], tools=RECORDED["tools"], tool_choice=choice, stop="x")
    assert [one["prompt"] for one in llama.asked] == [prompt.strip() for prompt in prompts]
    calls = found["choices"][0]["message"].get("tool_calls", [])
    assert found["choices"][0]["message"] == message | ({"tool_calls": calls} if calls else {})
    assert [one["function"] for one in calls] == [one["function"] for one in message.get("tool_calls", [])]
    assert llama.asked[-1]["stop"] == ([":", "<|im_end|>"] if len(calls) > 1 else ["x", "<|im_end|>"])
    if choice == "auto":
        grammar = jaxllama.Grammar.from_gbnf(llama.asked[0]["grammar"])
        assert [grammar.accepts(text) for text in ("message:", "functions.f:", "functions.g:", "functions.h:", "")] == [True] * 3 + [False] * 2
        assert (llama.asked[0]["stop"], llama.asked[0]["temperature"]) == ([":"], 0.0)
    if len(calls) > 1:
        grammar = jaxllama.Grammar.from_gbnf(llama.asked[2]["grammar"])
        assert [grammar.accepts(text) for text in ("", "<|im_end|>", "functions.f:", "message:")] == [True] * 3 + [False]
        assert [one.get("json_schema") for one in llama.asked[1:4:2]] == [RECORDED["tools"][0]["function"]["parameters"]] * 2
        assert found["usage"]["total_tokens"] == 10


def test_function_calling_tells_results_and_calls():
    llama = Scripted("chatml-function-calling", "a", "functions.f")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "<é>"}'}}
    messages = [*USER, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "3 < 4"}]
    llama.create_chat_completion(messages, logprobs=True)
    assert '<|im_start|>assistant\nfunctions.f:\n{"a": "<é>"}<|im_end|>\n<|im_start|>tool\n3 < 4<|im_end|>\n<|im_start|>assistant' in llama.asked[0]["prompt"]
    assert llama.asked[0]["logprobs"] == 0
    with pytest.raises(ValueError, match="Automatic streaming tool choice is not supported"):
        llama.create_chat_completion(USER, tools=TOOLS, tool_choice="required", stream=True)
    assert not jaxllama.Grammar.from_gbnf(llama.asked[1]["grammar"]).accepts("message:")


def test_function_calling_ends_where_the_context_is_full():
    llama = Scripted("chatml-function-calling")
    begun = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\nfunctions.f:\n" + '{"a": 1}\n'
    for room in (0, 3):  # none for another choice; none for its call
        llama._n_ctx, llama.texts, llama.asked = len(llama.tokenize(begun.encode(), special=True)) + room, ["functions.f", '{"a": 1}', "functions.f"], []
        found = llama.create_chat_completion(USER, tools=TOOLS, tool_choice="required")
        assert len(found["choices"][0]["message"]["tool_calls"]) == 1
        assert len(llama.asked) == (3 if room else 2)
    llama.texts, llama.reason = ["functions.f"] * 2, "length"
    (choice,) = llama.create_chat_completion(USER, tools=TOOLS, tool_choice="auto")["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("functions.f", "length")


# The file's template, and others


def test_chats(llama):
    found = llama.create_chat_completion(USER, max_tokens=8, logprobs=True, top_logprobs=2, **COLD)
    (choice,) = found["choices"]
    assert choice["message"]["content"] == llama.model.chat(USER, max_tokens=8, temperature=0)["choices"][0]["message"]["content"]
    assert len(choice["logprobs"]["content"]) == 8
    assert llama.n_tokens in (found["usage"]["total_tokens"] - 1, found["usage"]["total_tokens"])  # what the chat has read
    chunks = list(llama.create_chat_completion(USER, max_tokens=8, stream=True, stream_options={"include_usage": True}, **COLD))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == choice["message"]["content"]
    assert chunks[-1]["usage"] == found["usage"]
    yes = llama.create_chat_completion(USER, response_format={"type": "json_object", "schema": {"enum": [1, 2]}}, max_tokens=10)
    assert yes["choices"][0]["message"]["content"].strip() in ("1", "2")
    asked = {}
    llama.chat_handler = lambda **given: asked.update(given)
    llama.create_chat_completion(USER, top_k=7, max_completion_tokens=5)
    assert (asked["llama"], asked["messages"], asked["top_k"], asked["max_tokens"]) == (llama, USER, 7, 5)
    assert not asked.keys() & {"min_tokens", "max_completion_tokens", "stream_options", "more"}
    with pytest.raises(ImportError, match="needs the openai package"):
        llama.create_chat_completion_openai_v1(USER)


@pytest.fixture
def chats(monkeypatch) -> list[tuple[Any, dict[str, Any]]]:
    """What `Model.chat` is asked."""
    found = []
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls", "logprobs": None}
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "usage": {}, "timings": {}, "choices": [choice]}
    monkeypatch.setattr(jaxllama.Model, "chat", lambda self, messages, **options: found.append((self, options)) or answer)
    return found


def test_older_names_of_tools(llama, chats):
    found = llama.create_chat_completion(USER, functions=[FUNCTION], function_call={"name": "f"})
    assert (chats[-1][1]["tools"], chats[-1][1]["tool_choice"]) == (TOOLS, FORCED)
    assert found["choices"][0]["message"]["function_call"] == found["choices"][0]["message"]["tool_calls"][0]["function"]
    assert "timings" not in found
    told = {name: chats[-1][1][name] for name in ("model", "max_tokens", "seed", "reasoning_format", "kept", "repeat_last_n")}
    assert told == {"model": llama.model_path, "max_tokens": -1, "seed": llama._seed, "reasoning_format": "none", "kept": llama.kept, "repeat_last_n": 64}
    with pytest.warns(UserWarning, match="logit_bias: tokens are from 0"):
        llama.create_chat_completion(USER, logit_bias={-5: 1.0}, max_tokens=3, model="x", seed=8)
    assert [chats[-1][1][name] for name in ("logit_bias", "max_tokens", "model", "seed")] == [{}, 3, "x", 8]
    found = llama.create_chat_completion(USER, tools=TOOLS, function_call="auto")
    assert chats[-1][1]["tool_choice"] == "auto"
    assert "function_call" not in found["choices"][0]["message"]


def test_templates_by_name(llama, chats):
    """The file's own, its others, llama.cpp's, Jinja."""
    own = llama.model.chats
    llama.create_chat_completion(USER)
    assert chats[-1][0] is llama.model
    llama.chat_format = "functionary-v2"  # what its models' own templates are for
    llama.create_chat_completion(USER)
    assert chats[-1][0] is llama.model
    for name, source in (("llama3", BUILTIN["llama3"]), ("{{ messages[0].content }}", "{{ messages[0].content }}")):
        llama.chat_format = name
        for _ in range(2):
            llama.create_chat_completion(USER)
        assert chats[-1][0].chats.template().source == source
        assert chats[-1][0].chats is chats[-2][0].chats
    assert llama.model.chats is own
    llama.chat_format = "lama-3"
    with pytest.raises(llama_chat_format.LlamaChatCompletionHandlerNotFoundException, match=r"Invalid chat handler: lama-3 \(valid formats: \['llama-2',"):
        llama.create_chat_completion(USER)


def test_which_format_a_file_has(chats, llama, monkeypatch):
    def made(**metadata: Any) -> Llama:
        plain = {key: value for key, value in llama.file.metadata.items() if "chat_template" not in key}
        monkeypatch.setattr(llama.file.__class__, "metadata", {**plain, **{f"tokenizer.{key}": value for key, value in metadata.items()}})
        return Llama(jaxllama.embedded_model())

    assert made().chat_format == "llama-2"
    assert made(chat_template="{{ 1 }}").chat_format == "chat_template.default"
    assert made(chat_template=CHATML).chat_format == "chatml"
    assert made(chat_template=MISTRAL).chat_format == "mistral-instruct"
    other = made(**{"chat_template": "{{ 1 }}", "chat_template.rag": "{{ 2 }}"})
    other.chat_format = "chat_template.rag"
    other.create_chat_completion(USER)
    assert chats[-1][0].chats.template().source == "{{ 2 }}"
    assert Llama(jaxllama.embedded_model(), chat_handler=lambda **_: None).chat_format is None


# Of one's own


def test_formats_of_ones_own(monkeypatch):
    registry = llama_chat_format.LlamaChatCompletionHandlerRegistry
    monkeypatch.setattr(registry, "_chat_handlers", dict(registry._chat_handlers))
    seen = []

    @llama_chat_format.register_chat_format("mine")
    def mine(messages, **options):
        seen.append(options)
        return llama_chat_format.ChatFormatterResponse(f"say {messages[0]['content']}", stop=["END"], added_special=len(seen) > 1)

    llama = Scripted("mine", "a", "a")
    for _ in range(2):
        llama.create_chat_completion(USER, tools=TOOLS, stop=["x"], chat_template_kwargs={"y": 1})
    assert seen[0] == {"functions": None, "function_call": None, "tools": TOOLS, "tool_choice": None, "chat_template_kwargs": {"y": 1}}
    assert llama.asked[0]["stop"] == ["x", "END"]
    assert llama.asked[0]["ids"] == llama.tokenize(b"say " + PROMPT.encode(), special=True)
    assert llama.asked[1]["ids"] == llama.tokenize(b"say " + PROMPT.encode(), add_bos=False, special=True)

    @llama_chat_format.register_chat_completion_handler("whole")
    def whole(llama, messages, **options):
        return options["seed"]

    assert mine(messages=USER).prompt == f"say {PROMPT}"  # both stay what they were
    assert whole(llama, USER, seed=4) == 4
    llama.chat_format = "whole"
    assert llama.create_chat_completion(USER, seed=5) == 5
    with pytest.raises(ValueError, match="Formatter with name 'mine' is already registered"):
        registry().register_chat_completion_handler("mine", whole)
    registry().register_chat_completion_handler("mine", whole, overwrite=True)
    assert llama_chat_format.get_chat_completion_handler("mine") is whole
    registry().unregister_chat_handler("mine")
    with pytest.raises(ValueError, match="No formatter registered under the name 'mine'"):
        registry().unregister_chat_handler("mine")
    with pytest.raises(AttributeError, match="has no attribute 'format_none'"):
        llama_chat_format.format_none  # noqa: B018


def test_formatters_with_templates(monkeypatch):
    formatter = llama_chat_format.Jinja2ChatFormatter(MISTRAL, "</s>", "<s>", stop_token_ids=[2])
    found = formatter(messages=USER, tools=None)
    assert (found.prompt, found.stop, found.added_special) == (f"<s>[INST] {PROMPT} [/INST]", ["</s>"], True)
    assert found.stopping_criteria is not None
    assert [found.stopping_criteria([1, end], None) for end in (2, 3)] == [True, False]  # type: ignore[arg-type]
    llama = Scripted("none", "a")
    llama.chat_handler = llama_chat_format.Jinja2ChatFormatter("{{ tools[0].function.name }}", "</s>", "").to_chat_handler()
    llama.create_chat_completion(USER, tools=TOOLS)
    assert (llama.asked[0]["prompt"], llama.asked[0]["stopping_criteria"]) == ("f", None)
    config = {"chat_template": MISTRAL, "bos_token": "<s>", "eos_token": "</s>"}
    messages = [llama_types.ChatCompletionRequestUserMessage(role="user", content="Hi")]
    found = llama_chat_format.hf_tokenizer_config_to_chat_formatter(config)(messages=messages)
    assert (found.prompt, found.stop) == ("<s>[INST] Hi [/INST]</s>", ["</s>", "<s>"])
    assert llama_chat_format.hf_tokenizer_config_to_chat_formatter(config, False)(messages=messages).prompt == "<s>[INST] Hi [/INST]"
    with pytest.raises(ValueError, match="tokenizer_config: expected a text for bos_token, found None"):
        llama_chat_format.hf_tokenizer_config_to_chat_completion_handler({"chat_template": MISTRAL})
    with pytest.raises(ImportError, match="transformers"):
        llama_chat_format.hf_autotokenizer_to_chat_completion_handler("x")
    theirs = SimpleNamespace(apply_chat_template=lambda messages, tokenize: messages[0]["content"], eos_token="</s>")
    monkeypatch.setattr(jaxllama.llama.LlamaHFTokenizer, "from_pretrained", lambda name: SimpleNamespace(hf_tokenizer=theirs))
    found = llama_chat_format.hf_autotokenizer_to_chat_formatter("x")(messages=USER)
    assert (found.prompt, found.stop, found.added_special) == (PROMPT, "</s>", True)
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    rendered = jinja2.Template(MISTRAL).render(messages=talk, bos_token="<s>", eos_token="</s>")
    assert "<s>" + llama_chat_format.format_mistral_instruct(messages=talk).prompt == rendered


def test_names_that_applications_import():
    import jaxllama.llama.llama as llama_module
    from jaxllama.llama import llama_cache, llama_cpp, llama_grammar, llama_speculative, llama_tokenizer

    for module, name in (
        *((llama_cache, "LlamaRAMCache"), (llama_speculative, "LlamaPromptLookupDecoding"), (llama_tokenizer, "LlamaHFTokenizer"), (llama_module, "Llama")),
        *((llama_types, "ChatCompletionRequestUserMessage"), (llama_grammar, "LlamaGrammar"), (llama_cpp, "GGML_TYPE_F16"), (llama_module, "LlamaState")),
    ):
        assert getattr(module, name) is getattr(jaxllama.llama, name)
    assert {"ChatCompletionTool", "CreateCompletionResponse", "JsonType"} <= set(dir(jaxllama.llama))
    assert jaxllama.Grammar.from_gbnf(llama_grammar.JSON_GBNF).accepts('{"a": [1]}')
    assert jaxllama.Grammar.from_gbnf(llama_grammar.json_schema_to_gbnf('{"type": "boolean"}')).accepts("true")
