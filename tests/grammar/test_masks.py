"""Which tokens a grammar allows: against llama.cpp's recorded sets, against a slow matcher, and on the device against the host."""

from __future__ import annotations

import json
import random
import sys
import time
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest
from grammars import GBNF, SCHEMAS, UNLIMITED
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import telling

import jaxllama
from jaxllama.decode import Programs, constraint
from jaxllama.decode.constraint import advance, masked
from jaxllama.decode.grammars import Grammars
from jaxllama.formats.gguf import open_gguf
from jaxllama.grammar import Grammar, GrammarError, json_schema_to_gbnf
from jaxllama.grammar.automaton import Automaton
from jaxllama.grammar.rows import WHOLE, RowMaker
from jaxllama.grammar.tables import Tables, TablesFull
from jaxllama.grammar.tokens import TokenGrammar
from jaxllama.grammar.trie import Trie, build_trie
from jaxllama.grammar.walk import Place, Unsafe, advanced, may_end, start_of
from jaxllama.kernels.assemble import kernels_run
from jaxllama.text import Tokenizer

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.insert(0, str(REFERENCE))
from record_grammars import VOCABULARIES, checksum, clean, vocabulary_path  # noqa: E402

ALL = GBNF | {f"schema-{name}": json_schema_to_gbnf(schema) for name, schema in SCHEMAS.items()}
RECORD = json.loads((REFERENCE / "grammars.json").read_text())


@cache
def vocabulary(name: str) -> tuple[Trie, list[bytes]]:
    path = jaxllama.embedded_model() if name == "embedded" else vocabulary_path(name)
    if not path.exists():
        pytest.skip("shared/data is not beside this checkout")
    tokenizer = Tokenizer.from_metadata(open_gguf(path).metadata)
    pieces = [tokenizer.piece(t, special=True) for t in range(len(tokenizer))]
    return build_trie(pieces, sorted(tokenizer.end)), pieces


@pytest.mark.parametrize("name", telling(VOCABULARIES, ("llama-spm",)))
def test_the_sets_are_llama_cpps(name):
    """On recorded walks through all grammars exactly the recorded tokens are allowed, but for those that are no UTF-8."""
    trie, pieces = vocabulary(name)
    keep = clean(pieces)
    assert keep.mean() > 0.98
    for grammar, walks in RECORD[name].items():
        bound = TokenGrammar(Grammar.from_gbnf(ALL[grammar]), trie)
        for walk in walks if name == VOCABULARIES[0] else walks[:1]:
            place = bound.start
            for step, wanted in enumerate(walk["sets"]):
                assert checksum(bound.mask(place), keep) == wanted, (grammar, b"".join(pieces[t] for t in walk["tokens"][:step]))
                if step < len(walk["tokens"]):
                    place = bound.advance(place, walk["tokens"][step])


@pytest.mark.parametrize("name", telling(ALL, ALL.keys() - {"schema-pattern", "schema-pattern-properties"}))
def test_masks_are_what_the_matcher_accepts(name):
    """On random walks a token is allowed exactly when a slow matcher on characters accepts its text."""
    trie, pieces = vocabulary("embedded")
    grammar = Grammar.from_gbnf(ALL[name])
    bound, matcher, draw = TokenGrammar(grammar, trie), grammar.matcher, random.Random(name)
    texts = {}
    for token in np.flatnonzero(np.diff(trie.starts)):
        try:
            texts[int(token)] = pieces[token].decode()
        except UnicodeDecodeError:
            continue  # a part of a character: the next test looks at those
    for _ in range(3):
        place, where = bound.start, matcher.start
        for _ in range(6 if name == "two-readings" else 25):  # its texts have more and more readings
            allowed = bound.mask(place)
            assert allowed[trie.ends[0]] == matcher.accepts(where)
            for token in draw.sample(sorted(texts), 100) + [t for t in np.flatnonzero(allowed).tolist() if t in texts][:100]:
                assert allowed[token] == bool(matcher.advance(where, texts[token])), texts[token]
            choices = [t for t in np.flatnonzero(allowed).tolist() if t in texts]
            if not choices:
                break
            token = draw.choice(choices)
            place, where = bound.advance(place, token), matcher.advance(where, texts[token])


@pytest.mark.parametrize("framing", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_automata_are_the_matcher(name, framing):
    """Character by character, with stacks cut and not."""
    grammar = Grammar.from_gbnf(ALL[name])
    automaton, matcher, draw = Automaton(grammar.rules, framing=framing), grammar.matcher, random.Random(name)
    alphabet = sorted({chr(c) for c in range(32, 127)} | set("\n\t\réäぁ龯😀€"))
    for _ in range(5):
        place, where, text = start_of(automaton), matcher.start, ""
        for _ in range(60):
            following = {}
            for char in draw.sample(alphabet, 12) + draw.sample('{}[]",:0123456789 ', 4) + list(' "{'):
                try:
                    found = advanced(automaton.states, place, char.encode())
                except Unsafe:
                    assert framing
                    return  # this is what the automaton without frames is for
                wanted = matcher.advance(where, char)
                assert (found is not None) == bool(wanted), (text, char)
                if found is not None:
                    assert may_end(automaton.states, found) == matcher.accepts(wanted), (text, char)
                    following[char] = found, wanted
            if not following:
                break
            char = draw.choice(sorted(following))
            place, where = following[char]
            text += char


UNCLEAR = 'root ::= "(" p ")" [a-c]*\np ::= "a" q "." | "b"\nq ::= p r\nr ::= "." "." | "c"*'


def test_how_grammars_are_followed():
    tiers = {name: Grammar.from_gbnf(text).tier for name, text in ALL.items()}
    assert tiers["list"] == tiers["chess"] == "states"
    assert tiers["json"] == tiers["arithmetic"] == tiers["schema-person"] == "stack"
    assert {name: tier for name, tier in tiers.items() if tier.startswith("sets")} == {
        "two-readings": "sets: the longer a text, the more ways there are to read it",
    }
    assert Grammar.from_gbnf(UNCLEAR).tier == "sets: what follows a rule may also go on with it, for example at '.'"


def test_invalid_utf8_is_never_allowed():
    """A difference to llama.cpp, on purpose; and where its partial characters exclude too much, ours do not."""
    pieces = [bytes([b]) for b in range(256)] + [b"\xed\xa0", b"\xe0\x80", b"\xf4\x90", b"\xc3", b"</s>"]
    bound = TokenGrammar(Grammar.from_gbnf("root ::= [^a\u00e9]+"), build_trie(pieces, [260]))
    allowed = set(np.flatnonzero(bound.mask(bound.start)).tolist())
    assert allowed == {b for b in range(1, 128) if b != ord("a")} | set(range(0xC2, 0xF5)) | {259}  # no NUL: llama.cpp leaves such tokens out
    half = bound.advance(bound.start, 0xC3)
    assert not bound.mask(half)[0xA9]
    assert bound.mask(half)[0xA8]


@pytest.mark.parametrize("kernel", telling([True, False], [True]))
def test_the_device_is_the_host(kernel, monkeypatch):
    """Every grammar, in one batch and one after the other, takes the same places and allows the same tokens on the device; nothing is compiled for it."""
    if not kernel:
        monkeypatch.setattr(constraint, "kernels_run", lambda: False)
    elif not kernels_run():
        pytest.skip("no kernels on this processor")
    jax.clear_caches()
    programs = Programs()
    trie, pieces = vocabulary("embedded")
    grammars = Grammars(lambda: trie, len(pieces), programs)
    step = jax.jit(lambda *a: advance(*a))  # its own: what was compiled with the kernel is another program
    draw = random.Random(1)
    names, compiled = list(ALL), None
    for start in range(0, len(names), 4):
        batch = [Grammar.from_gbnf(ALL[n]) for n in (names[start : start + 4] * 4)[:4]]
        running = grammars.start(batch)
        hosts = [TokenGrammar(g, trie) for g in batch]
        places = [h.start for h in hosts]
        compiled = compiled or programs.count
        for _ in range(20):
            bits = np.unpackbits(np.asarray(running.constraint.mask).view(np.uint8), axis=1, bitorder="little")[:, : len(pieces)].astype(bool)
            tokens, active = np.zeros(4, np.int32), np.zeros(4, bool)
            for slot, (host, place) in enumerate(zip(hosts, places, strict=True)):
                np.testing.assert_array_equal(bits[slot], host.mask(place), err_msg=f"{names[start : start + 4]} {slot}")
                choices = [t for t in np.flatnonzero(bits[slot]).tolist() if t not in trie.ends]
                if choices:
                    tokens[slot], active[slot] = draw.choice(choices), True
                    places[slot] = host.advance(place, int(tokens[slot]))
            running.constraint = step(grammars.device, running.constraint, jnp.asarray(tokens), jnp.asarray(active))
            for slot in range(4):
                running.take(slot, [int(tokens[slot])] * bool(active[slot]))
            running.settle(active.tolist())
    assert programs.count == compiled
    assert step._cache_size() == 1


def test_masked_logits():
    trie, pieces = vocabulary("embedded")
    grammars = Grammars(lambda: trie, len(pieces), Programs())
    running = grammars.start([Grammar.from_choices(["yes", "no"]), None])
    logits = jnp.zeros((2, len(pieces)))
    found = np.asarray(masked(logits, running.constraint))
    assert {pieces[t] for t in np.flatnonzero(np.isfinite(found[0]))} <= {b"y", b"ye", b"yes", b"n", b"no"}
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_written_validates(story_model, name):
    """Whatever the model would like to say, what it writes under a schema is valid under it."""
    schema = SCHEMAS[name]
    results = story_model.generate(
        ["{", "Once upon"], n_predict=300, json_schema=schema, temperature=[1.0, 3.0], seed=[1, 2], logit_bias={" ": -5, "\n": -5, "\t": -9}
    )
    for result in results:
        if result.reason in ("limit", "context"):
            assert name in UNLIMITED
            assert Grammar.from_json_schema(schema).place(result.text)  # as far as it goes
            continue
        assert result.reason == "end", result
        jsonschema.validate(json.loads(result.text), schema, cls=jsonschema.Draft202012Validator, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def test_choices_and_expressions(story_model):
    assert story_model.generate("A", choice=["alpha", "beta"], seed=1).text in ("alpha", "beta")
    import re

    for seed in range(3):
        text = story_model.generate("Once", regex=r"(the|a) [a-z]{3,9}( [0-9]+)?\.", n_predict=60, seed=seed).text
        assert re.fullmatch(r"(the|a) [a-z]{3,9}( [0-9]+)?\.", text)


def test_a_dead_end_has_its_own_reason(story_model):
    """Texts that no token can begin end with their own reason, and nothing is raised."""
    impossible = 'root ::= [^\\x00-\\U0010FFFF] "a"'
    result = story_model.generate("Once", grammar=impossible, n_predict=5)
    assert (result.text, result.tokens, result.reason) == ("", [], "grammar")
    later = story_model.generate("Once", grammar='root ::= "a" [^\\x00-\\U0010FFFF]', n_predict=5)
    assert (later.text, later.reason) == ("a", "grammar")
    both = story_model.generate(["Once", "Once"], grammar=[impossible, None], n_predict=5, seed=1)
    assert [r.reason for r in both] == ["grammar", "limit"]
    assert len(both[1].tokens) == 5


def test_what_a_grammar_allows_may_be_forbidden(story_model):
    """Where biases leave nothing that the grammar allows, the text ends; nothing else is written."""
    for _ in range(2):
        result = story_model.generate("Once", grammar='root ::= "ab"', n_predict=9, seed=1, ignore_eos=True)
        assert (result.text, result.reason) == ("ab", "grammar")
    letters = [t for t in range(len(story_model.tokenizer)) if b"ab".startswith(story_model.tokenizer.piece(t, special=True))]
    result = story_model.generate("Once", grammar='root ::= "ab"', n_predict=9, logit_bias=dict.fromkeys(letters, False))
    assert (result.text, result.tokens, result.reason) == ("", [], "grammar")


def test_generations_side_by_side(monkeypatch):
    """Two streams of one model in turns, while the tables are emptied under them."""
    model = jaxllama.load(n_ctx=256, exact=True)
    wanted = [model.generate("Once", grammar=ALL[name], n_predict=40, seed=2).tokens for name in ("program", "json")]
    streams = [model.stream("Once", grammar=ALL[name], n_predict=40, seed=2) for name in ("program", "json")]
    found: list[list[int]] = [[], []]
    open_streams = [0, 1]
    while open_streams:
        for n in list(open_streams):
            piece = next(streams[n], None)
            if piece is None:
                open_streams.remove(n)
            elif piece.token is not None:
                found[n].append(piece.token)
            if len(found[n]) % 7 == 3:
                model.grammars.forget()
    assert found == wanted


def test_a_slot_with_a_grammar_does_not_change_the_others(story_model):
    alone = story_model.generate("Once upon a time", n_predict=30, seed=5)
    batch = story_model.generate(["Once upon a time", "x"], n_predict=30, seed=[5, 6], grammar=[None, ALL["json"]])
    assert batch[0].tokens == alone.tokens
    constrained = story_model.generate("x", n_predict=30, seed=6, grammar=ALL["json"])
    assert batch[1].tokens == constrained.tokens


def test_grammars_change_without_compiling(story_model):
    story_model.generate("x", n_predict=5, grammar=ALL["json"])
    count = story_model.programs.count
    for name in ("list", "chess", "two-readings", "schema-thirty"):
        story_model.generate("x", n_predict=5, grammar=ALL[name], seed=3)
    assert story_model.programs.count == count


def test_a_grammar_that_needs_sets_is_followed_all_the_same(story_model):
    grammar = Grammar.from_gbnf('root ::= p\np ::= "a" p "a" | "a" p | "b"')
    for seed in range(5):
        result = story_model.generate("Once", grammar=grammar, n_predict=40, seed=seed, logit_bias={"b": -2})
        assert result.reason in ("end", "limit")
        assert grammar.accepts(result.text) or (result.reason == "limit" and grammar.place(result.text))


def test_full_tables_are_emptied(story_model, monkeypatch):
    """When there is no room left, what is not in use goes, and texts go on where they stood."""
    from jaxllama.grammar import tables

    wanted = story_model.generate("Once", grammar=ALL["program"], n_predict=60, seed=1).text
    model = jaxllama.load(n_ctx=256, exact=True)
    monkeypatch.setattr(tables, "MOST_STATES", 700)
    for name in ("chess", "json", "schema-person", "csv", "words"):
        text = model.generate("Once", grammar=ALL[name], n_predict=60, seed=1).text
        assert Grammar.from_gbnf(ALL[name]).place(text)
    assert model.generate("Once", grammar=ALL["program"], n_predict=60, seed=1).text == wanted


def test_texts_are_read_again_into_empty_tables(story_model, monkeypatch):
    """A text with named tokens, which needs rows to be read again, and meets tables that others have filled."""
    grammars = story_model.grammars
    running = grammars.start([Grammar.from_gbnf("root ::= (<[5]> | <[6]>)*")])
    running.take(0, [5, 6])
    full, prepare = [grammars.tables], Tables.prepare

    def of_some_room(self: Tables, place: Place) -> None:
        if self in full:
            raise TablesFull
        prepare(self, place)

    monkeypatch.setattr(Tables, "prepare", of_some_room)
    running._begin_again()
    assert grammars.tables not in full
    assert not running.outdated
    full.append(grammars.tables)
    with pytest.raises(GrammarError, match="cannot be followed: its tables are too large"):
        running._begin_again()


@pytest.mark.parametrize("name", ["schema-lengths", "schema-long"])
def test_long_texts_cost_no_states(name):
    """`maxLength: 10000` has as many states as `maxLength: 10`."""
    schema = {"type": "string", "maxLength": 10 if name == "schema-lengths" else 10000}
    automaton = Automaton(Grammar.from_json_schema(schema).rules)
    place = start_of(automaton)
    for byte in b'"' + b"abc\\n" * 1 + "é".encode() * 1:
        found = advanced(automaton.states, place, bytes([byte]))
        assert found is not None
        place = found
    assert len(automaton.states.accepts) < 30


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 45))
@settings(max_examples=60)
def test_counted_texts(low, more, length):
    """From `low` to `low + more` characters, exactly."""
    grammar = Grammar.from_gbnf(f'root ::= "<" [a-zé]{{{low},{low + more}}} ">"')
    automaton = Automaton(grammar.rules)
    place = advanced(automaton.states, start_of(automaton), ("<" + "é" * length + ">").encode())
    assert (place is not None and may_end(automaton.states, place)) == (low <= length <= low + more)


PIECES = [
    b"<",
    b"a",
    b"aa",
    b"aaaa",
    b"a-",
    b"a-a",
    b"-",
    b"a>",
    b"aa>",
    b"(a)",
    b"(a",
    b")",
    b")>",
    b"a-(",
    b">",
    b"(",
    b"<" + b"a" * 12,
    b"<" + b"a" * 12 + b">",
]
TOKENS = build_trie([*PIECES, b""], [len(PIECES)])


@pytest.mark.parametrize("item", ["[a-z]", '"(" | [a-z] "-"?', 'x\nx ::= [a-z] "-"? | "(" x ")"'])
@given(st.integers(0, 15), st.integers(0, 10), st.randoms(use_true_random=False))
@settings(max_examples=12)
def test_counted_tokens(item, low, more, draw):
    """Tokens of several items, with and without what comes after them, up to the very end."""
    body, _, rules = item.partition("\n")
    grammar = Grammar.from_gbnf(f'root ::= "<" ({body}){{{low},{low + more}}} ">"\n{rules}')
    bound, matcher = TokenGrammar(grammar, TOKENS), grammar.matcher
    place, where = bound.start, matcher.start
    for _ in range(40):
        allowed = bound.mask(place)
        following = [matcher.advance(where, piece.decode()) for piece in PIECES]
        assert allowed.tolist() == [*map(bool, following), matcher.accepts(where)]
        if not any(following):
            break
        token = draw.choice([t for t in range(len(PIECES)) if following[t]])
        place, where = bound.advance(place, token), following[token]


NAMED = [
    '<[1]> "a"',
    '!<[1]> "a"',
    '(<[2]> | "a") [a-]*',
    '(!<[3]> "-" | "a") "a"*',
    '"a"* <[7]> root?',
    'x "-"\nx ::= "a" <[1]> | "b"',
    f'<[{len(PIECES)}]> | <[99]> | "a"',
]


@pytest.mark.parametrize("rules", NAMED)
def test_tokens_by_number(rules):
    """Tokens that are named, those that are any other one, and the same texts written otherwise."""
    grammar = Grammar.from_gbnf(f"root ::= {rules}")
    bound, matcher, draw = TokenGrammar(grammar, TOKENS), grammar.matcher, random.Random(rules)
    for first in range(len(PIECES)):
        place, where, tokens = bound.start, matcher.start, []
        for _ in range(8):
            following = [matcher.advance_token(where, t, piece.decode()) for t, piece in enumerate(PIECES)]
            assert bound.mask(place).tolist() == [*map(bool, following), matcher.accepts(where)], tokens
            if not any(following):
                break
            token = first if following[first] and not tokens else draw.choice([t for t in range(len(PIECES)) if following[t]])
            tokens.append(token)
            place, where = bound.advance(place, token), following[token]
        again = TokenGrammar(grammar, TOKENS)
        assert again.mask(again.advance_all(tokens)).tolist() == bound.mask(place).tolist()


def test_what_frames_cannot_tell_is_followed_without():
    grammar = Grammar.from_gbnf(UNCLEAR)
    framed, bound, matcher = Automaton(grammar.rules), TokenGrammar(grammar, build_trie([bytes([b]) for b in range(127)], [126])), grammar.matcher
    unsafe = 0
    waiting = [("", bound.start, matcher.start)]
    while waiting:
        text, place, where = waiting.pop()
        allowed = bound.mask(place)
        for char in "(a.bc)":
            following = matcher.advance(where, char)
            assert allowed[ord(char)] == bool(following), text + char
            if following and len(text) < 6:
                waiting.append((text + char, bound.advance(place, ord(char)), following))
        try:
            assert advanced(framed.states, start_of(framed), text.encode()) is not None, text
        except Unsafe:
            unsafe += 1
    assert unsafe


def test_tokens_that_frames_cannot_tell_are_left_open():
    """A row allows only what every place of its state takes, and leaves out only what none takes."""
    pieces = [a.encode() + b.encode() for a in "(a.bc)" for b in ["", *"(a.bc)"]]
    trie = build_trie([*pieces, b""], [len(pieces)])
    host = Tables(trie)
    framed, whole = Automaton(Grammar.from_gbnf(UNCLEAR).rules, host.states), 0
    maker = RowMaker(framed, trie)
    waiting = [(start_of(framed), 5)]
    while waiting:
        place, left = waiting.pop()
        row = maker.row(place.state)
        left_open = dict(zip(row.open.tolist(), row.offsets.tolist(), strict=True))
        for token, piece in enumerate(pieces):
            try:
                found = advanced(framed.states, place, piece)
            except Unsafe:
                assert token not in row.allowed
                whole += left_open.get(token) == WHOLE
                if token in left_open:
                    with pytest.raises(Unsafe):
                        host.prepare(place)
                continue
            assert found is not None or token not in row.allowed
            assert found is None or token in row.allowed or token in left_open
            if found is not None and left and len(piece) == 1:
                waiting.append((found, left - 1))
    assert whole


# With the message of the refusal; empty where they are followed.
HOSTILE = {
    "deep": ("root ::= " + "(" * 5000 + '"a"' + ")" * 5000, "the grammar is nested too deeply"),
    "wide": ("root ::= " + " | ".join(f'"{n}"' for n in range(20000)), "the grammar is ambiguous: more than 20000 ways to read the same text"),
    "optional": ("root ::= " + '"a"? ' * 1000, ""),
    "nested counts": ("root ::= ((([a-z]{0,40} [0-9]{0,40}){0,40} x){0,40}){0,10}\nx ::= [a-z]{0,40}", "line 1, column 37: this expands to 3240 repetitions"),
    "ambiguous": ('root ::= a a a a a a a a\na ::= ("x" | "x" "x" | "x" "x" "x")*', ""),
    "exponential": ("root ::= [ab]* [a] [ab]{18} [c]", ""),
    "many rules": ("\n".join(["root ::= r0", *(f'r{n} ::= "x" r{n + 1} | "y"' for n in range(3000)), 'r3000 ::= "z"']), ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_grammars_are_bounded(story_model, name):
    """They are refused with a clear error, or followed; neither takes long."""
    grammar, message = HOSTILE[name]
    begun = time.process_time()  # what else the machine does is not counted
    if message:
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            story_model.generate("Once", grammar=grammar, n_predict=20, seed=1)
        assert len(str(caught.value)) < 2000
    else:
        assert story_model.generate("Once", grammar=grammar, n_predict=20, seed=1).reason in ("end", "limit")
    assert time.process_time() - begun < 30
