"""Record llama.cpp's logits of the models in `models.py`: a prompt in one batch, then the last four tokens one by one, with a float32 cache.

    python tests/reference/record.py --logits "PEER_PYTHON path/to/peer/logits.py"

where the command takes MODEL OUT.npz --tokens IDS --steps N and runs llama.cpp. Run it again only when a model is added or changed.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from models import MODELS, TOKENS, write_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--logits", required=True, help="the command that records")
args = parser.parse_args()
found = {}
with tempfile.TemporaryDirectory() as folder:
    for name in MODELS:
        model, out = Path(folder) / "model.gguf", Path(folder) / "out.npz"
        write_model(name, model)
        subprocess.run([*shlex.split(args.logits), model, out, "--tokens", ",".join(map(str, TOKENS)), "--steps", "4"], check=True)
        found[name] = np.load(out)["logits"]
np.savez_compressed(Path(__file__).with_name("logits.npz"), **found)
