"""Record llama.cpp's logits of the models in `models.py`: a prompt in one batch, then the last four tokens one by one, with a float32 cache.

    python tests/reference/record.py PEER_PYTHON                        # all of them
    python tests/reference/record.py PEER_PYTHON NAME ...               # these; the others stay as they are recorded
    python tests/reference/record.py PEER_PYTHON --compare [NAME ...]   # shows how far llama.cpp is from what is recorded, and writes nothing

PEER_PYTHON is an interpreter with llama-cpp-python (extra `reference`). Run it again only when a model is added or changed.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from arguments import parser_of, peer_of
from models import MODELS, TOKENS, write_model

HERE = Path(__file__).parent
RECORD = HERE / "logits.npz"
STEPS = 4


def measure(peer: str, names: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """llama.cpp's logits f32[tokens, vocabulary] of models."""
    with tempfile.TemporaryDirectory() as folder:
        model, tokens, out = (Path(folder) / name for name in ("model.gguf", "tokens.json", "logits.npy"))
        tokens.write_text(json.dumps(TOKENS))
        for name in names:
            write_model(name, model)
            subprocess.run([peer, HERE / "peer_logits.py", model, tokens, str(STEPS), out], check=True)
            yield name, np.load(out)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("peer", type=peer_of, help="interpreter with llama-cpp-python")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; all by default")
    parser.add_argument("--compare", action="store_true", help="with what is recorded, instead of recording")
    args = parser.parse_intermixed_args(arguments)
    if unknown := sorted(set(args.names) - set(MODELS)):
        parser.error(f"there is no model '{unknown[0]}'; there are {', '.join(MODELS)}")
    recorded = dict(np.load(RECORD)) if RECORD.exists() else {}
    for name, logits in measure(args.peer, args.names or list(MODELS)):
        if args.compare:
            error = ((logits - recorded[name]) ** 2).sum() / (recorded[name] ** 2).sum() if name in recorded else np.nan
            print(f"{name:24} normalised mean squared error {error:.2e}")
        recorded[name] = logits
    if not args.compare:
        np.savez_compressed(RECORD, **{name: recorded[name] for name in MODELS if name in recorded})


if __name__ == "__main__":
    main()
