"""The class that scripts for llama-cpp-python move over to: its arguments, methods, shapes and values."""

from __future__ import annotations

import json
import pickle
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import jaxllama
import jaxllama.llama as llama_cpp
from jaxllama.environment import thread_count
from jaxllama.llama import Llama, LlamaGrammar, LlamaRAMCache, LogitsProcessorList, MinTokensLogitsProcessor, StoppingCriteriaList, options
from jaxllama.llama import llama as module

sys.path.insert(0, str(Path(__file__).parent / "reference"))
from llama_calls import COLD, PROMPT, answers  # type: ignore[import-not-found]


def ids(llama: Llama) -> list[int]:
    return llama.tokenize(PROMPT.encode())


def test_completions(llama):
    found = llama(PROMPT, max_tokens=8, echo=True, logprobs=1, **COLD)
    (choice,) = found["choices"]
    assert (found["object"], found["model"]) == ("text_completion", str(jaxllama.embedded_model()))
    assert found["usage"] == {"prompt_tokens": len(ids(llama)), "completion_tokens": 8, "total_tokens": len(ids(llama)) + 8}
    free = llama.model.generate(PROMPT, n_predict=8, temperature=0)
    assert (choice["text"], choice["finish_reason"]) == (PROMPT + free.text, "length")
    report = choice["logprobs"]
    assert "".join(report["tokens"]).lstrip() == choice["text"]  # the prompt's tokens too
    assert report["token_logprobs"][0] is report["top_logprobs"][0] is None
    assert report["text_offset"] == np.cumsum([0, *map(len, report["tokens"])])[:-1].tolist()
    np.testing.assert_allclose(report["token_logprobs"][-8:], free.logprobs, atol=2e-2)
    tokens = llama.tokenize("a 😀 b".encode())  # a character of several tokens
    pieces = [llama.vocabulary.piece(token) for token in tokens]
    offsets = llama("a 😀 b", max_tokens=1, echo=True, logprobs=1, **COLD)["choices"][0]["logprobs"]["text_offset"]
    shown = pieces[len(tokens) + 1 - len(offsets) :]  # without BOS
    assert offsets == [len(b"".join(shown[:n]).decode("utf-8", "ignore")) for n in range(len(shown) + 1)]
    chunks = list(llama.create_completion(PROMPT, max_tokens=8, stream=True, stream_options={"include_usage": True}, **COLD))
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == free.text
    assert chunks[-2]["choices"][0] == {"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], found["usage"])
    assert llama(PROMPT, max_tokens=8, stop=free.text.split()[1], suffix=" END", **COLD)["choices"][0]["text"].endswith(" END")  # no tokens for infilling
    assert llama(ids(llama), max_completion_tokens=2, user="me", **COLD)["usage"]["completion_tokens"] == 2
    with pytest.raises(ValueError, match=r"Requested tokens \(600\) exceed context window of 512"):
        llama([5] * 600)
    with pytest.raises(ValueError, match="logprobs: expected a number from 0 to 32, found 33"):
        llama(PROMPT, logprobs=33)
    with pytest.raises(TypeError, match="no option 'temprature'; did you mean 'temperature'"):
        llama(PROMPT, temprature=1)


def test_an_empty_prompt(llama):
    """Its BOS counts as the first token of the completion, and no space comes after it."""
    free = llama.model.generate("", n_predict=5, temperature=0)
    found = llama("", max_tokens=6, **COLD)
    assert (found["choices"][0]["text"], found["usage"]) == (free.text.lstrip(), {"prompt_tokens": 1, "completion_tokens": 6, "total_tokens": 7})
    chunks = [chunk["choices"][0]["text"] for chunk in llama("", max_tokens=6, stream=True, **COLD)]
    assert chunks[0] == ""
    assert "".join(chunks) == free.text
    assert llama("", max_tokens=1, **COLD)["usage"]["completion_tokens"] == 2


def test_biases_of_tokens_that_are_not_there(llama):
    count = llama.n_vocab()
    with pytest.warns(UserWarning, match=f"logit_bias: tokens are from 0 to {count - 1}, so -1, {count} has no effect"):
        assert options.known_tokens({-1: 1.0, 5: 2.0, "7": 3.0, str(count): 4.0, " the": 5.0}, count) == {5: 2.0, "7": 3.0, " the": 5.0}
    assert options.known_tokens([(5, 2.0)], count) == [(5, 2.0)]
    with pytest.warns(UserWarning, match="has no effect"):
        assert llama(PROMPT, max_tokens=2, logit_bias={count: 5.0}, **COLD)["choices"] == llama(PROMPT, max_tokens=2, **COLD)["choices"]


def test_seeds_follow_each_other(llama):
    """Every generation has another seed, and the whole sequence follows from the first."""
    llama.set_seed(5)
    state = llama.save_state()
    first, second = (llama(PROMPT, max_tokens=6)["choices"][0]["text"] for _ in range(2))
    llama.load_state(state)
    both = llama(PROMPT, max_tokens=6, n=2)
    assert [c["text"] for c in both["choices"]] == [first, second]
    assert first != second
    assert [c["index"] for c in both["choices"]] == [0, 1]
    assert both["usage"]["completion_tokens"] == 12
    assert llama(PROMPT, max_tokens=6, seed=9)["choices"] == llama(PROMPT, max_tokens=6, seed=9)["choices"]
    with pytest.raises(ValueError, match="n: a stream has one completion"):
        llama(PROMPT, n=2, stream=True)


def test_functions_on_the_host(llama):
    free = llama.model.generate(PROMPT, n_predict=4, temperature=0).tokens
    seen = []

    def forbid(tokens, logits):
        seen.append(len(tokens))
        logits[free[0]] = -np.inf
        return logits

    assert llama(PROMPT, max_tokens=4, logits_processor=LogitsProcessorList([forbid]), **COLD)["usage"]["completion_tokens"] == 4
    assert seen == [len(ids(llama)) + n for n in range(4)]
    assert free[0] not in llama.kept.session.tokens[0][len(ids(llama)) :]
    stop = StoppingCriteriaList([lambda tokens, logits: len(tokens) >= len(ids(llama)) + 2])
    (choice,) = llama(PROMPT, max_tokens=4, stopping_criteria=stop, **COLD)["choices"]
    assert (choice["finish_reason"], choice["text"]) == ("stop", llama.detokenize(free[:2]).decode())
    end = llama.token_eos()
    cut = llama(PROMPT, max_tokens=4, logit_bias={end: 1000.0}, **COLD)["usage"]["completion_tokens"]
    assert (cut, llama(PROMPT, max_tokens=4, logit_bias={end: 1000.0}, min_tokens=3, **COLD)["usage"]["completion_tokens"]) == (0, 3)
    processor = MinTokensLogitsProcessor(1, 2)
    assert processor(np.arange(3), np.zeros(4))[2] == -np.inf
    assert processor(np.arange(4), np.zeros(4))[2] == 0


def test_a_grammar_holds(llama, tmp_path):
    yes = LlamaGrammar.from_string('root ::= "yes" | "no"')
    assert llama(PROMPT, grammar=yes)["choices"][0]["text"] in ("yes", "no")
    assert LlamaGrammar.from_json_schema('{"type": "boolean"}').accepts("true")
    (tmp_path / "a.gbnf").write_text('root ::= "a"')
    assert LlamaGrammar.from_file(tmp_path / "a.gbnf").accepts("a")
    (tmp_path / "a.gbnf").write_text("")
    with pytest.raises(ValueError, match="is empty"):
        LlamaGrammar.from_file(tmp_path / "a.gbnf")
    tokens = list(llama.generate(ids(llama), grammar=yes))
    assert llama.detokenize(tokens).decode() in ("yes", "no")
    assert tokens[-1] in llama.vocabulary.end


def test_reading_and_choosing_step_by_step(llama):
    greedy = llama.model.generate(PROMPT, n_predict=4, temperature=0).tokens
    made = []
    llama.eval(ids(llama))
    for _ in range(4):
        made.append(llama.sample(temp=0))
        assert llama.n_tokens == len(ids(llama)) + len(made) - 1
        llama.eval(made[-1:])
    assert made == greedy
    assert list(llama.eval_tokens) == llama.input_ids[: llama.n_tokens].tolist() == [*ids(llama), *greedy]
    assert llama.sample(temp=0, idx=len(ids(llama))) == greedy[1]
    assert llama.n_tokens == len(ids(llama)) + 4
    llama.n_tokens = len(ids(llama)) + 1
    assert llama.sample(temp=0) == greedy[1]
    assert list(islice(llama.generate(ids(llama), temp=0), 3)) == greedy[:3]
    assert llama.n_tokens == len(ids(llama)) + 2
    tokens = llama.generate(ids(llama), temp=0)
    assert next(tokens) == greedy[0]
    assert tokens.send([5, 6]) == greedy[1]  # a guess, which changes nothing
    assert next(tokens) == greedy[2]
    assert next(llama.generate(greedy[2:3], temp=0, reset=False)) == greedy[3]
    llama.n_tokens = len(ids(llama))
    assert next(llama.generate([], temp=0, reset=False)) == greedy[0]
    with pytest.raises(ValueError, match="generate: expected at least one token, found none"):
        next(llama.generate([]))
    llama.reset()
    with pytest.raises(ValueError, match="found none; none was read before"):
        next(llama.generate([], reset=False))
    tokens.close()
    llama.reset()
    with pytest.raises(ValueError, match="sample: no tokens were read"):
        llama.sample()
    with pytest.raises(ValueError, match="n_tokens: 0 tokens were read, so it cannot become 1"):
        llama.n_tokens = 1


def test_a_generation_goes_on_after_the_end(llama):
    """As in llama-cpp-python the token that ends a text comes too, and who wants more gets more."""
    end = llama.token_eos()
    llama.eval(ids(llama))
    found = list(islice(llama.generate(ids(llama), temp=0, logits_processor=lambda tokens, logits: np.where(np.arange(len(logits)) == end, 99, logits)), 2))
    assert found == [end, end]


def test_what_was_read_is_not_read_again(llama):
    llama.eval(ids(llama))
    before = llama.kept.session
    assert llama.model.prefill(ids(llama), kept=before).timings.prompt_tokens == 0
    more = llama.create_completion(PROMPT + ", there", max_tokens=1, **COLD)
    assert more["choices"][0]["text"] == llama.model.generate(PROMPT + ", there", n_predict=1, temperature=0).text
    assert llama.kept.session.timings.prompt_tokens <= 3


def test_scores(llama):
    llama.eval(ids(llama))
    logits = llama.model.logits(ids(llama))
    np.testing.assert_array_equal(llama.scores[: llama.n_tokens], logits)
    assert llama.scores.shape == (512, llama.n_vocab())
    assert not llama.scores[llama.n_tokens :].any()
    assert list(llama.eval_logits) == [logits[-1].tolist()]
    logs = llama.logits_to_logprobs(logits)
    np.testing.assert_allclose(np.exp(logs).sum(-1), 1, rtol=1e-5)
    assert llama.logits_to_logprobs([-np.inf, 0.0]).tolist() == [-np.inf, 0.0]
    assert llama.longest_token_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert llama._scores.shape == (llama.n_tokens, llama.n_vocab())
    assert llama._input_ids.tolist() == ids(llama)


def test_states_and_caches(llama, default_model, tmp_path):
    greedy = llama.model.generate(PROMPT, n_predict=3, temperature=0).tokens
    empty = llama.save_state()
    llama.eval(ids(llama))
    state = pickle.loads(pickle.dumps(llama.save_state()))
    assert (state.n_tokens, state.llama_state_size) == (len(ids(llama)), len(state.llama_state))
    assert len(repr(state)) < 200
    llama.reset()
    llama.eval([5, 6])
    llama.load_state(state)
    assert list(llama.eval_tokens) == ids(llama)
    assert list(islice(llama.generate(ids(llama), temp=0), 3)) == greedy
    llama.load_state(empty)
    assert (llama.n_tokens, llama.kept.session) == (0, None)
    for cache in (LlamaRAMCache(), llama_cpp.LlamaDiskCache(tmp_path)):
        llama.set_cache(cache)
        first = llama(PROMPT, max_tokens=2, **COLD)["choices"]
        assert cache.cache_size > 0
        assert ids(llama) in cache
        llama.load_state(empty)
        loads = []
        llama.load_state = loads.append  # type: ignore[method-assign]
        llama.recall(ids(llama))
        del llama.load_state
        assert [s.n_tokens for s in loads] == [len(ids(llama)) + 1]
        assert llama(PROMPT, max_tokens=2, **COLD)["choices"] == first
        assert [99_999_999] not in cache
        with pytest.raises(KeyError):
            cache[[99_999_999]]
        cache.capacity_bytes = 0
        cache[[1]] = state
        assert cache.cache_size == 0
    other = llama_cpp.LlamaState(state.input_ids, state.scores, 1, b"", 0, 1)
    with pytest.raises(jaxllama.SessionError, match="expected a session file"):
        llama.load_state(other)


def test_embeddings(llama):
    rows = llama.embed("a dog")
    assert np.shape(rows) == (len(llama.tokenize(b"a dog")), llama.n_embd())  # nothing is pooled
    llama._arguments["pooling_type"] = llama_cpp.LLAMA_POOLING_TYPE_MEAN
    np.testing.assert_allclose(llama.embed("a dog"), np.mean(rows, 0), atol=1e-5)
    assert np.linalg.norm(llama.embed("a dog", normalize=True)) == pytest.approx(1, abs=1e-5)
    for kind, row in ((llama_cpp.LLAMA_POOLING_TYPE_CLS, 0), (llama_cpp.LLAMA_POOLING_TYPE_LAST, -1)):
        llama._arguments["pooling_type"] = kind
        np.testing.assert_allclose(llama.embed("a dog"), rows[row], atol=1e-5)
    made = llama.create_embedding(["a dog", "a cat"])
    assert [d["index"] for d in made["data"]] == [0, 1]
    assert made["usage"]["prompt_tokens"] == len(rows) + len(llama.tokenize(b"a cat"))
    llama.n_batch = 2
    assert llama.embed(["a dog"], return_count=True)[1] == 2
    with pytest.raises(ValueError, match=r"Requested tokens \(\d\) exceed batch size of 2"):
        llama.embed("a dog", truncate=False)
    llama._arguments["pooling_type"] = llama_cpp.LLAMA_POOLING_TYPE_RANK
    with pytest.raises(NotImplementedError, match="pooling_type"):
        llama.embed("a dog")


def test_tokens_and_facts(llama):
    tokens = llama.tokenize(b"a dog", add_bos=False)
    assert llama.detokenize(tokens).strip() == b"a dog"
    assert llama.n_vocab() == len(llama.vocabulary)
    assert (llama.token_bos(), llama.token_eos()) == (llama.vocabulary.bos, llama.vocabulary.eos)
    assert llama.detokenize([llama.token_nl()]) == b"\n"
    assert llama.metadata["general.architecture"] == "llama"
    assert all(isinstance(value, str) for value in llama.metadata.values())
    assert llama.tokenizer().decode(llama.tokenizer().encode("a dog")) == "a dog"
    assert llama.chat_format == "chat_template.default"
    assert llama.tokenize(b"a\xff", add_bos=False) == llama.tokenize("a\ufffd".encode(), add_bos=False)  # a vocabulary of characters
    with pytest.raises(TypeError, match=r"tokenize: expected bytes, found 'x'; encode it first: text.encode\(\)"):
        llama.tokenize("x")


class _Words:
    """A tokenizer of transformers, as far as it is asked."""

    def encode(self, text, add_special_tokens):
        return [len(word) for word in text.split()]

    def decode(self, tokens, skip_special_tokens):
        return " ".join("x" * token for token in tokens)


def test_another_tokenizer(llama):
    llama.tokenizer_ = llama_cpp.LlamaHFTokenizer(_Words())
    assert llama.tokenize(b"aa bbb") == [2, 3]
    assert llama.detokenize([3], prev_tokens=[2]) == b" xxx"
    assert llama("aa bbb", max_tokens=1)["usage"]["prompt_tokens"] == 2


def test_pickles_and_closes(llama, default_model):
    llama.set_seed(77)
    again = pickle.loads(pickle.dumps(llama))
    assert (again.model_path, again._seed, again.model) == (llama.model_path, 77, default_model)
    again.close()
    with pytest.raises(RuntimeError, match="there are no weights"):
        again.eval([1])


def test_the_vocabulary_alone():
    llama = Llama(jaxllama.embedded_model(), vocab_only=True)
    assert llama.detokenize(llama.tokenize(b"Hello")).strip() == b"Hello"
    assert llama.n_embd() > 0
    with pytest.raises(RuntimeError, match="vocab_only=True"):
        llama("Hello")


# The constructor


@pytest.fixture
def loads(monkeypatch, default_model):
    found = []
    monkeypatch.setattr(module, "load", lambda path, **options: found.append(options) or default_model)
    monkeypatch.setattr(options, "_told", set())
    return found


def test_what_has_no_effect_is_told_once(loads):
    with pytest.warns(UserWarning, match="n_gpu_layers: it has no effect: JAX chooses devices") as told:
        Llama(jaxllama.embedded_model(), n_gpu_layers=-1, verbose=False, embedding=True, logits_all=True)
    assert len(told) == 1
    Llama(jaxllama.embedded_model(), n_gpu_layers=5)  # a second warning would be an error
    with pytest.warns(UserWarning, match="n_gpus: Llama has no such argument, it is ignored; did you mean 'main_gpu'"):
        Llama(jaxllama.embedded_model(), n_gpus=3)
    with pytest.warns(UserWarning, match="tfs_z: it has no effect"):
        assert options.sampling({"tfs_z": 0.5, "mirostat_mode": 2, "top_k": None}) == {"mirostat": 2}
    assert options.sampling({"temp": -1.0}) == {"temperature": 1.0, "samplers": ["penalties"]}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"lora_path": "x.gguf"}, "lora_path: jaxllama has no LoRA adapters yet"),
        ({"lora_base": "x.gguf"}, "lora_base"),
        ({"draft_model": llama_cpp.LlamaPromptLookupDecoding()}, "draft_model: jaxllama has no speculative decoding yet"),
        ({"attention_type": llama_cpp.LLAMA_ATTENTION_TYPE_NON_CAUSAL}, "attention_type"),
        ({"type_k": llama_cpp.GGML_TYPE_Q8_0}, "type_k: jaxllama has no quantized KV cache yet; the types are f32, f16, bf16"),
        ({"rope_scaling_type": llama_cpp.LLAMA_ROPE_SCALING_TYPE_LONGROPE}, "rope_scaling_type: jaxllama has none, linear, yarn"),
    ],
)
def test_what_is_not_there_yet_is_an_error(loads, argument, message):
    with pytest.raises(NotImplementedError, match=message):
        Llama(jaxllama.embedded_model(), **argument)
    assert loads == []


def test_arguments_are_attributes(loads):
    """Those that llama-cpp-python has; the numbers of rows and of tokens at a time are its own too."""
    given = {"kv_overrides": {"general.name": "x"}, "n_batch": 600, "spm_infill": True, "rope_freq_base": 2e4, "pooling_type": 1, "last_n_tokens_size": 9}
    with pytest.warns(UserWarning, match="it has no effect"):
        found = Llama(jaxllama.embedded_model(), n_threads=3, n_gpu_layers=-1, tensor_split=[0.5], numa=True, n_ubatch=64, **given)
    assert (found.n_threads, found.n_threads_batch) == (3, thread_count())
    assert (found.numa, found.tensor_split, found.kv_overrides, found.spm_infill) == (1, [0.5], given["kv_overrides"], True)
    assert (found.lora_base, found.lora_scale, found.lora_path, found.draft_model, found.cache) == (None, 1.0, None, None, None)
    assert (found.n_batch, found.scores.shape[0], found.last_n_tokens_size) == (512, 600, 9)
    context, models = found.context_params, found.model_params
    assert (context.n_ctx, context.n_batch, context.n_ubatch, context.n_threads) == (512, 512, 64, 3)
    assert (context.rope_freq_base, context.pooling_type, context.type_k, context.embeddings) == (2e4, 1, llama_cpp.GGML_TYPE_F16, False)
    assert (models.n_gpu_layers, models.tensor_split, models.vocab_only) == (-1, [0.5], False)


def test_arguments_reach_the_model(loads):
    changed = {"rope_freq_base": 20000.0, "rope_freq_scale": 0.5, "rope_scaling_type": 2, "yarn_orig_ctx": 64, "yarn_ext_factor": 0.5, "yarn_beta_fast": 16.0}
    own = {"general.name": "x", "a": True, "b": 2, "c": 1.5}
    Llama(str(jaxllama.embedded_model()), n_ctx=64, n_batch=32, use_mmap=False, type_k=llama_cpp.GGML_TYPE_F32, kv_overrides=own, **changed)
    (given,) = loads
    fields = {field.key: field.value for field in given.pop("overrides")}
    assert given == {"n_ctx": 64, "n_batch": 32, "cache_type": "f32", "load_mode": "none"}
    rope = {"rope.freq_base": 20000.0, "rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 64}
    rope |= {"rope.scaling.yarn_ext_factor": 0.5, "rope.scaling.yarn_beta_fast": 16.0}
    assert fields == {**{f"llama.{key}": value for key, value in rope.items()}, **own}
    Llama(jaxllama.embedded_model(), chat_format="zephyr", last_n_tokens_size=9, yarn_attn_factor=2.0)
    assert loads[1]["cache_type"] is None
    assert [field.key for field in loads[1]["overrides"]] == ["llama.rope.scaling.attn_factor"]
    with pytest.raises(ValueError, match=r"Model path does not exist: nowhere\.gguf"):
        Llama("nowhere.gguf")
    with pytest.raises(ValueError, match="type_k and type_v: keys and values have the same type here, not f32 and f16"):
        Llama(jaxllama.embedded_model(), type_k=0, type_v=1)
    with pytest.raises(ValueError, match=r"kv_overrides: expected .* for a, found None"):
        Llama(jaxllama.embedded_model(), kv_overrides={"a": None})


def test_files_of_a_repository(monkeypatch, loads):
    asked = []
    hub = SimpleNamespace(
        list_repo_files=lambda repo: ["a-Q4_K_M.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "mmproj.gguf"],
        hf_hub_download=lambda repo, name, **options: asked.append((name, options)) or jaxllama.embedded_model(),
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert Llama.from_pretrained("u/r", "*Q4_K_M.gguf", cache_dir="c").model_path
    assert asked == [("a-Q4_K_M.gguf", {"local_dir": None, "cache_dir": "c"})]
    asked.clear()
    Llama.from_pretrained("u/r", "b-00001*", additional_files=["mm*"])
    assert [name for name, _ in asked] == ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "mmproj.gguf"]
    for pattern, message in (("*Q8*", "No file found in u/r matching"), ("*.gguf", "Multiple files found")):
        with pytest.raises(ValueError, match=message):
            Llama.from_pretrained("u/r", pattern)
    with pytest.warns(UserWarning, match="local_dir_use_symlinks"):
        Llama.from_pretrained("u/r", "a*", local_dir_use_symlinks=False)


def test_drafts_are_found_in_the_prompt():
    find = llama_cpp.LlamaPromptLookupDecoding.find_candidate_pred_tokens
    assert find(np.array([1, 2, 3, 1, 2, 3, 1, 2, 3]), max_ngram_size=3, num_pred_tokens=2).tolist() == [1, 2]
    assert find(np.arange(9), max_ngram_size=3, num_pred_tokens=2).tolist() == []
    assert llama_cpp.LlamaPromptLookupDecoding(1, 1)(np.array([7, 8, 7])).tolist() == [8]


@pytest.mark.exhaustive
def test_values_are_llama_cpp_pythons(shared_data):
    """On a real small model: texts, log-probabilities, tokens and embeddings, as recorded."""
    path = shared_data / "models" / "stories260K.gguf"
    recorded = json.loads((Path(__file__).parent / "reference" / "llama_cpp_python.json").read_text(encoding="utf-8"))
    found = answers(llama_cpp, path)
    assert found.keys() == recorded.keys()
    same(found, recorded)


def same(found, recorded) -> None:
    """The same keys, texts and whole numbers; other numbers within what rounding activations changes."""
    if isinstance(recorded, dict):
        assert {name for name in found if name not in ("id", "created", "model")} == recorded.keys()
        for name, value in recorded.items():
            same(found[name], value)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded)
        for one, other in zip(found, recorded, strict=True):
            same(one, other)
    elif isinstance(recorded, float):
        assert found == pytest.approx(recorded, rel=0.02, abs=0.02)
    else:
        assert found == recorded
