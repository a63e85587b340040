"""Record what llama.cpp measures on the embedded model in float32: perplexities, divergence, importance, multiple choice.

python tests/reference/record_evaluation.py FOLDER        # with llama.cpp's llama-perplexity and llama-imatrix

The source package of llama-cpp-python has all of llama.cpp; CMake makes the two of it, in build/bin:

    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36 && tar -xf llama_cpp_python-0.3.36.tar.gz
    cmake -S llama_cpp_python-0.3.36/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF
    cmake --build build --target llama-perplexity llama-imatrix
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

from arguments import only_argument

import jaxllama
from jaxllama.formats.importance import read_importance

HERE = Path(__file__).parent
WATCHED = ("blk.0.attn_q.weight", "blk.2.attn_output.weight", "blk.4.ffn_down.weight")


def make_models(folder: Path) -> tuple[Path, Path]:
    """The embedded model in F32, and in Q8_0 as it is."""
    return jaxllama.quantize_file(jaxllama.embedded_model(), folder / "f32.gguf", "F32", allow_requantize=True), jaxllama.embedded_model()


def main() -> None:
    tools = Path(only_argument(__doc__, "FOLDER", "with llama-perplexity and llama-imatrix"))
    text, found = str(HERE / "stories.txt"), {}

    def run(tool: str, *options: str) -> str:
        done = subprocess.run([str(tools / tool), "-t", "2", *options], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    with tempfile.TemporaryDirectory() as folder:
        model, quantized = make_models(Path(folder))
        base, matrix = f"{folder}/base.kld", f"{folder}/imatrix.gguf"
        shown = run("llama-perplexity", "-m", str(model), "-f", text, "-c", "128", "--kl-divergence-base", base)
        found["windows"] = [float(v) for v in re.findall(r"\[\d+\]([\d.]+),", shown)]
        found["final"] = [float(v) for v in re.findall(r"PPL = ([\d.]+) \+/- ([\d.]+)", shown)[0]]
        shown = run("llama-perplexity", "-m", str(model), "-f", text, "-c", "256", "-b", "256", "--ppl-stride", "100", "--chunks", "5")
        found["strided"] = [float(v) for v in re.findall(r"\[\d+\]([\d.]+),", shown)]
        shown = run("llama-perplexity", "-m", str(quantized), "-c", "128", "--kl-divergence-base", base, "--kl-divergence")
        found["divergence"] = dict(re.findall(r"^([^\n:]+): +(-?[\d.]+)", shown[shown.index("======") :], re.M))
        run("llama-imatrix", "-m", str(model), "-f", text, "-c", "128", "-o", matrix)
        entries = read_importance(matrix).entries
        found["importance"] = {name: [entries[name].counts.tolist(), entries[name].sums[0, ::16].tolist()] for name in WATCHED}
        shown = run("llama-perplexity", "-m", str(model), "-f", str(HERE / "hellaswag.txt"), "--hellaswag", "-c", "512")
        found["hellaswag"] = [float(v) for v in re.findall(r"^\d+\t([\d.]+)%", shown, re.M)]
        shown = run("llama-perplexity", "-m", str(model), "-f", str(HERE / "winogrande.csv"), "--winogrande", "-c", "512")
        found["winogrande"] = [[float(a), float(b)] for a, b in re.findall(r"^\d+\t[\d.]+\t *(-?[\d.]+) +(-?[\d.]+)", shown, re.M)]
    Path(HERE / "evaluation.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
