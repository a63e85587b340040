"""What a grammar costs: preparing it, and each token inside the decode loop, beside llama.cpp's grammar sampler.

    python benchmarks/grammar.py VOCAB.gguf ...             # vocabulary-only files will do
    python benchmarks/grammar.py --model MODEL.gguf         # decoding with and without a grammar

llama.cpp is measured where `JAXLLAMA_PEER` names a Python that has llama-cpp-python.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxllama
from jaxllama.decode import Programs
from jaxllama.decode.constraint import advance, masked
from jaxllama.decode.grammars import Grammars
from jaxllama.formats.gguf import open_gguf
from jaxllama.grammar import Grammar, json_schema_to_gbnf
from jaxllama.grammar.trie import build_trie
from jaxllama.text import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "grammar"))
from grammars import GBNF, SCHEMAS  # type: ignore[import-not-found]

_PEER = r"""
import ctypes, json, sys, time
import llama_cpp as lib
quiet = lib.llama_log_callback(lambda *a: None)
lib.llama_log_set(quiet, None)
lib.llama_backend_init()
parameters = lib.llama_model_default_params()
parameters.vocab_only = True
model = lib.llama_model_load_from_file(sys.argv[1].encode(), parameters)
vocab = lib.llama_model_get_vocab(model)
size = lib.llama_vocab_n_tokens(vocab)
data = (lib.llama_token_data * size)()
for text, tokens in json.load(open(sys.argv[2])):
    begun = time.perf_counter()
    sampler = lib.llama_sampler_init_grammar(vocab, text.encode(), b"root")
    prepared, total, first = time.perf_counter() - begun, 0.0, None
    for token in tokens:
        for i in range(size):
            data[i].id, data[i].logit = i, 0.0
        array = lib.llama_token_data_array(data, size, -1, False)
        begun = time.perf_counter()
        lib.llama_sampler_apply(sampler, ctypes.byref(array))
        lib.llama_sampler_accept(sampler, token)
        total += time.perf_counter() - begun
        first = prepared + total if first is None else first
    print(json.dumps([first, total / len(tokens)]))
"""


def walk(text: str, tokenizer: Tokenizer, pieces: list[bytes]) -> list[int]:
    """A text that the grammar accepts, in the tokens that the tokenizer makes of it."""
    return tokenizer.encode(text, add_special=False)


def sample_of(name: str) -> str:
    """A JSON text for the schema or the grammar."""
    if name == "json":
        return json.dumps({"name": "A longer text, with words", "list": [1, 2.5, {"deep": [True, None, "x"]}], "more": {"a": "b" * 20, "c": -17}}, indent=2)
    draw = random.Random(1)
    values = {}
    properties, required = SCHEMAS["thirty"]["properties"], SCHEMAS["thirty"]["required"]
    for key in [*required, *(k for k in properties if k not in required)]:  # the order in which grammars want them
        schema = properties[key]
        kind = schema.get("type")
        values[key] = (
            schema["enum"][draw.randrange(3)]
            if "enum" in schema
            else {"string": "some words in it", "integer": 1234, "array": [1.5, 2, 33], "object": {"x": "text", "y": True}}[kind]
        )
    return json.dumps(values, separators=(",", ":"))


def in_the_loop(grammars: Grammars, grammar: Grammar, tokens: list[int], size: int) -> tuple[float, float]:
    """Seconds a token of masking and advancing in a compiled loop over these tokens, and those of the loop without a grammar."""
    running = grammars.start([grammar])
    start = running.constraint
    for token in tokens:  # everything that the loop meets is made before
        running.constraint = _advance(grammars.device, running.constraint, jnp.asarray([token], jnp.int32), jnp.asarray([True]))
        running.take(0, [token])
        running.settle()
    given = jnp.asarray(tokens, jnp.int32)
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((1, size)), jnp.float32)
    found = []
    for program in (_with, _without):
        program(grammars.device, start, given, logits).block_until_ready()
        best = float("inf")
        for _ in range(15):
            begun = time.perf_counter()
            program(grammars.device, start, given, logits).block_until_ready()
            best = min(best, (time.perf_counter() - begun) / len(tokens))
        found.append(best)
    return found[0], found[1]


_advance = jax.jit(advance)


@jax.jit
def _with(tables, constraint, tokens, logits):
    def body(i, carry):
        constraint, total = carry
        total += masked(logits + total[:, None] * 1e-9, constraint).max(-1)
        return advance(tables, constraint, tokens[i][None], jnp.asarray([True])), total

    constraint, total = jax.lax.fori_loop(0, tokens.shape[0], body, (constraint, jnp.zeros(1)))
    return total + constraint.state.astype(jnp.float32)


@jax.jit
def _without(tables, constraint, tokens, logits):
    return jax.lax.fori_loop(0, tokens.shape[0], lambda i, total: total + (logits + total[:, None] * 1e-9).max(-1), jnp.zeros(1))


def measure(path: str) -> None:
    begun = time.perf_counter()
    tokenizer = Tokenizer.from_metadata(open_gguf(path).metadata)
    loaded = time.perf_counter()
    pieces = [tokenizer.piece(t, special=True) for t in range(len(tokenizer))]
    trie = build_trie(pieces, sorted(tokenizer.end))
    print(f"{Path(path).name}: {len(pieces)} tokens; its tree is built in {time.perf_counter() - loaded:.2f} s (the tokenizer: {loaded - begun:.2f} s)")
    grammars = Grammars(lambda: trie, len(pieces), Programs())
    grammars.start([Grammar.from_choices(["x"])])  # compiles
    jobs = []
    for name, text in (("json", GBNF["json"]), ("thirty", json_schema_to_gbnf(SCHEMAS["thirty"]))):
        tokens = tokenizer.encode(sample_of(name), add_special=False)
        begun = time.perf_counter()
        grammar = Grammar.from_gbnf(text)
        running = grammars.start([grammar])
        first = time.perf_counter() - begun
        misses, made = grammars.misses, grammars.seconds
        for token in tokens:
            running.constraint = _advance(grammars.device, running.constraint, jnp.asarray([token], jnp.int32), jnp.asarray([True]))
            running.take(0, [token])
            running.settle()
        misses, made = grammars.misses - misses, grammars.seconds - made
        begun = time.perf_counter()
        grammars.start([grammar])
        again = time.perf_counter() - begun
        with_, without = in_the_loop(grammars, grammar, tokens, len(pieces))
        jobs.append((text, tokens))
        print(
            f"  {name}: first token {1e3 * first:.1f} ms, again {1e3 * again:.1f} ms;"
            f" {len(tokens)} tokens, {misses} times tables were made, {1e3 * made:.0f} ms;"
            f" each token {1e6 * (with_ - without):.0f} us"
        )
    if "JAXLLAMA_PEER" in os.environ:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(jobs, file)
            file.flush()
            out = subprocess.run([os.environ["JAXLLAMA_PEER"], "-c", _PEER, path, file.name], check=True, capture_output=True, text=True).stdout
        for name, line in zip(("json", "thirty"), out.splitlines(), strict=True):
            first, each = json.loads(line)
            print(f"  llama.cpp {name}: first token {1e3 * first:.1f} ms, each token {1e6 * each:.0f} us")


def decode(path: str) -> None:
    model = jaxllama.load(path, n_ctx=2048)
    loose = Grammar.from_gbnf(GBNF["json"].replace("root   ::= ws value ws", "root ::= array"))
    for repeat in range(4):
        rates = []
        for grammar in (None, loose):
            result = model.generate("[", n_predict=150, grammar=grammar, seed=repeat, ignore_eos=True, logit_bias={"]": -100.0})
            rates.append((result.timings.decode_rate, len(result.tokens)))
        print(f"decode without {rates[0][0]:.1f}, with a grammar {rates[1][0]:.1f} tokens/s ({rates[1][1]} tokens): {rates[1][0] / rates[0][0]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabularies", nargs="*")
    parser.add_argument("--model")
    args = parser.parse_args()
    for path in args.vocabularies:
        measure(path)
    if args.model:
        decode(args.model)


if __name__ == "__main__":
    main()
