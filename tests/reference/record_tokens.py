"""Record llama.cpp's ids of thousands of texts as checksums, for every vocabulary beside the project, every name of a pre-tokenizer, and `vocabularies.py`.

    python tests/reference/record_tokens.py PEER_PYTHON                 # writes tokens.npz
    python tests/reference/record_tokens.py PEER_PYTHON --only NAME     # records those alone; the others stay as they are
    python tests/reference/record_tokens.py PEER_PYTHON --compare       # shows where ours differ, and writes nothing

PEER_PYTHON is an interpreter with llama-cpp-python (extra `reference`). The vocabularies (ggml-vocab-*.gguf) come with llama.cpp: they are in the folder
`vendor/llama.cpp/models` of llama-cpp-python's source package.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
from arguments import parser_of, peer_of
from texts import texts
from vocabularies import VOCABULARIES, metadata, write_vocabulary

from jaxllama import Tokenizer, open_gguf
from jaxllama.text.pretokenizers import PRETOKENIZERS

HERE = Path(__file__).parent
RECORD = HERE / "tokens.npz"
DATA = HERE.parents[2] / "shared" / "data" / "vocab"
PER_FILE, PER_NAME = 10_000, 600


def checksum(ids: list[int]) -> int:
    return zlib.crc32(np.asarray(ids, "<i4").tobytes())


def cases(name: str, tokenizer: Tokenizer, count: int) -> list[tuple[str, bool, bool]]:
    """(text, add_special, parse_special); the names of the test's parameters are also the seeds."""
    special = [tokenizer.vocabulary.tokens[i] for i in tokenizer.vocabulary.of_type(3, 4)][:200]  # type: ignore[arg-type]
    found = texts(count, zlib.crc32(name.encode()), special)
    return [(text, number % 2 == 0, number % 3 == 0) for number, text in enumerate(found)]


def sources(only: str = "", vocabularies: Path = DATA) -> dict[str, tuple[dict, int]]:
    """name -> (metadata, number of texts), of all that can be recorded, or of one; without vocabularies, of those that are made."""
    if only.startswith("made:"):
        return {only: (metadata(only[5:]), PER_NAME * 4)}
    wanted = "gpt-2" if only.startswith("pre:") else only or "*"
    found = {
        file.stem.removeprefix("ggml-vocab-"): (dict(open_gguf(file).metadata), PER_FILE) for file in sorted(vocabularies.glob(f"ggml-vocab-{wanted}.gguf"))
    }
    if only and not only.startswith("pre:"):
        return found
    skipped = ("gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace")  # of raw text, see vocabularies.py
    for base, _ in [found["gpt-2"]] if "gpt-2" in found else []:
        found |= {f"pre:{name}": (base | {"tokenizer.ggml.pre": name}, PER_NAME) for name in PRETOKENIZERS if name not in skipped}
    return found | {f"made:{name}": (metadata(name), PER_NAME * 4) for name in VOCABULARIES}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("peer", type=peer_of, help="interpreter with llama-cpp-python")
    parser.add_argument("--compare", action="store_true", help="with ours, instead of recording")
    parser.add_argument("--only", default="", help="names that begin like this")
    parser.add_argument("--vocabularies", type=Path, default=DATA, metavar="FOLDER", help="where ggml-vocab-*.gguf are")
    args = parser.parse_args()
    recorded: dict[str, np.ndarray] = dict(np.load(RECORD)) if RECORD.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        model, asked, answered = (Path(folder) / name for name in ("model.gguf", "texts.json", "ids.json"))
        for name, (values, count) in sources(vocabularies=args.vocabularies).items():
            if not name.startswith(args.only):
                continue
            write_vocabulary(values, model)
            tokenizer = Tokenizer.from_metadata(values)
            found = cases(name, tokenizer, count)
            asked.write_text(json.dumps(found))
            done = subprocess.run([args.peer, HERE / "peer_tokens.py", model, asked, answered], capture_output=True, text=True)
            if done.returncode:
                print(name, "llama.cpp failed:", done.stderr[-300:])
                continue
            answer = json.loads(answered.read_text())
            recorded[name] = np.array([checksum(ids) for ids in answer["ids"]], np.uint32)
            recorded[f"end:{name}"] = np.array(answer["end"], np.int32)
            if args.compare:
                different = [(case, ids) for case, ids in zip(found, answer["ids"], strict=True) if tokenizer.encode(*case) != ids]
                ends = "" if set(answer["end"]) == tokenizer.end else f"ends {answer['end'][:9]}"
                print(f"{name:28} {len(different):5} of {len(found)} differ", ends, flush=True)
                for case, ids in sorted(different, key=lambda d: len(d[0][0]))[:2]:
                    print("   ", ascii(case), "\n      llama.cpp", ids, "\n      ours     ", tokenizer.encode(*case))
    if not args.compare:
        np.savez_compressed(RECORD, **recorded)


if __name__ == "__main__":
    main()
