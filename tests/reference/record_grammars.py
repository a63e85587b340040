"""Which tokens llama.cpp's grammar sampler allows on random walks, recorded as checksums; and a comparison of whole sets.

    python tests/reference/record_grammars.py PEER_PYTHON              # writes grammars.json
    python tests/reference/record_grammars.py PEER_PYTHON --compare    # shows differences, token by token

PEER_PYTHON is an interpreter with llama-cpp-python (extra `reference`). The vocabularies (ggml-vocab-*.gguf) come with llama.cpp: they are in the folder
`vendor/llama.cpp/models` of llama-cpp-python's source package.

Known differences, which are left out of the checksums: llama.cpp takes bytes that are no UTF-8 for characters (tokens with the bytes C0, C1 and F5 to FF, and
those that only complete an overlong form or a surrogate); here they are never allowed. It has no tokens of more than 255 bytes either.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from arguments import parser_of, peer_of

HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data" / "vocab"
VOCABULARIES = ("llama-bpe", "qwen2", "llama-spm")
WALKS, STEPS = 2, 12

_PEER = r"""
import ctypes, json, random, sys
import llama_cpp as lib
import numpy as np

vocabulary, given, out, walks, steps = sys.argv[1:]
quiet = lib.llama_log_callback(lambda *a: None)
lib.llama_log_set(quiet, None)
lib.llama_backend_init()
parameters = lib.llama_model_default_params()
parameters.vocab_only = True
model = lib.llama_model_load_from_file(vocabulary.encode(), parameters)
vocab = lib.llama_model_get_vocab(model)
size = lib.llama_vocab_n_tokens(vocab)
data = (lib.llama_token_data * size)()
found = {}
for name, text in json.load(open(given)).items():
    draw = random.Random(name)
    rows, sequences = [], []
    for walk in range(int(walks)):
        sampler = lib.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        assert sampler, name
        tokens = []
        for step in range(int(steps)):
            for i in range(size):
                data[i].id, data[i].logit, data[i].p = i, 0.0, 0.0
            array = lib.llama_token_data_array(data, size, -1, False)
            lib.llama_sampler_apply(sampler, ctypes.byref(array))
            view = np.frombuffer(data, dtype=[("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
            allowed = np.zeros(size, np.uint8)
            allowed[view["id"][np.isfinite(view["logit"])]] = 1
            rows.append(np.packbits(allowed, bitorder="little"))
            choices = [int(t) for t in np.flatnonzero(allowed) if not lib.llama_vocab_is_eog(vocab, int(t))]
            if not choices:
                break
            # Rare tokens as often as common ones would lead nowhere: short ones come first in most vocabularies.
            token = draw.choice(choices if draw.random() < 0.5 else choices[:40])
            lib.llama_sampler_accept(sampler, token)
            tokens.append(token)
        sequences.append((len(tokens), len(rows)))
        found[f"{name}/{walk}/tokens"] = np.asarray(tokens, np.int32)
        found[f"{name}/{walk}/sets"] = np.stack(rows)
        rows = []
        lib.llama_sampler_free(sampler)
np.savez_compressed(out, **found)
"""


def texts() -> dict[str, str]:
    """All grammars as GBNF."""
    sys.path.insert(0, str(HERE.parent / "grammar"))
    from grammars import GBNF, SCHEMAS

    from jaxllama.grammar import json_schema_to_gbnf

    return GBNF | {f"schema-{name}": json_schema_to_gbnf(schema) for name, schema in SCHEMAS.items()}


def peer_sets(peer: str, vocabulary: Path) -> dict[str, np.ndarray]:
    """What llama.cpp allows: tokens and packed sets of every walk."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "grammars.json", Path(folder) / "sets.npz"
        given.write_text(json.dumps(texts()))
        subprocess.run([peer, "-c", _PEER, str(vocabulary), str(given), str(out), str(WALKS), str(STEPS)], check=True)
        with np.load(out) as file:
            return dict(file)


def vocabulary_path(name: str, folder: Path = DATA) -> Path:
    return folder / f"ggml-vocab-{name}.gguf"


def clean(pieces: list[bytes]) -> np.ndarray:
    """bool[V], tokens that the known differences do not concern: whole characters, or the beginning or the end of one that can be valid."""

    def good(piece: bytes) -> bool:
        if any(b in (0xC0, 0xC1) or b >= 0xF5 for b in piece) or len(piece) > 255:
            return False
        body = piece.lstrip(bytes(range(0x80, 0xC0)))  # may end a character that another token began
        if len(piece) - len(body) > 3 or (body != piece and b"\xed" in piece):
            return False
        for cut in range(4):  # may begin one that another token ends
            try:
                body[: len(body) - cut].decode()
            except UnicodeDecodeError:
                continue
            tail = body[len(body) - cut :]
            return cut == 0 or (
                tail[0] >= 0xC2
                and not (
                    len(tail) > 1
                    and (
                        (tail[0] == 0xE0 and tail[1] < 0xA0)
                        or (tail[0] == 0xED and tail[1] > 0x9F)
                        or (tail[0] == 0xF0 and tail[1] < 0x90)
                        or (tail[0] == 0xF4 and tail[1] > 0x8F)
                    )
                )
            )
        return False

    return np.asarray([good(p) for p in pieces])


def checksum(bits: np.ndarray, keep: np.ndarray) -> str:
    """Of a set of tokens, without those that are left out."""
    import hashlib

    return hashlib.sha256(np.packbits(bits[: len(keep)].astype(bool) & keep).tobytes()).hexdigest()[:16]


def our_sets(vocabulary: Path, walks: dict[str, list[list[int]]]):
    """For every grammar and walk the sets bool[V] that we allow."""
    from jaxllama.formats.gguf import open_gguf
    from jaxllama.grammar import Grammar
    from jaxllama.grammar.tokens import TokenGrammar
    from jaxllama.grammar.trie import build_trie
    from jaxllama.text import Tokenizer

    tokenizer = Tokenizer.from_metadata(open_gguf(vocabulary).metadata)
    pieces = [tokenizer.piece(t, special=True) for t in range(len(tokenizer))]
    trie = build_trie(pieces, sorted(tokenizer.end))
    given = texts()
    for grammar, all_tokens in walks.items():
        bound = TokenGrammar(Grammar.from_gbnf(given[grammar]), trie)
        for walk, tokens in enumerate(all_tokens):
            state, sets = bound.start, []
            for token in [*tokens, None]:
                sets.append(bound.mask(state))
                if token is not None:
                    state = bound.advance(state, token)
            yield grammar, walk, sets, pieces


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("peer", type=peer_of, help="interpreter with llama-cpp-python")
    parser.add_argument("--compare", action="store_true", help="with ours, instead of recording")
    parser.add_argument("--vocabularies", type=Path, default=DATA, metavar="FOLDER", help="where ggml-vocab-*.gguf are")
    args = parser.parse_args()
    record = {}
    for name in VOCABULARIES:
        vocabulary = vocabulary_path(name, args.vocabularies)
        sets = peer_sets(args.peer, vocabulary)
        walks = {g: [sets[f"{g}/{w}/tokens"].tolist() for w in range(WALKS)] for g in texts()}
        entries: dict[str, list] = {g: [] for g in walks}
        different = 0
        for grammar, walk, ours, pieces in our_sets(vocabulary, walks):
            keep = clean(pieces)
            theirs = np.unpackbits(sets[f"{grammar}/{walk}/sets"], axis=1, bitorder="little")[:, : len(pieces)]
            entries[grammar].append({"tokens": walks[grammar][walk], "sets": [checksum(row, keep) for row in theirs]})
            for step, (mine, row) in enumerate(zip(ours, theirs, strict=False)):
                unequal = np.flatnonzero((mine[: len(pieces)] != row.astype(bool)) & keep)
                if len(unequal):
                    different += 1
                    if args.compare:
                        shown = [(int(t), pieces[t], bool(mine[t])) for t in unequal[:5]]
                        print(name, grammar, walk, step, b"".join(pieces[t] for t in walks[grammar][walk][:step]), len(unequal), shown)
        print(f"{name}: {different} sets differ")
        record[name] = entries
    if not args.compare:
        (HERE / "grammars.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
