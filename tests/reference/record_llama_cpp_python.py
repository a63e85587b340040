"""Record what llama-cpp-python makes of a small model: completions, their log-probabilities, tokens and embeddings.

peer/bin/python tests/reference/record_llama_cpp_python.py MODEL.gguf > tests/reference/llama_cpp_python.json   (../shared/data/models/stories260K.gguf)
"""

import json
import sys
from typing import Any

import llama_cpp  # type: ignore[import-not-found]
from arguments import only_argument
from llama_calls import answers


def rounded(found: Any) -> Any:
    """Numbers of five digits, and nothing that differs from run to run."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items() if name not in ("id", "created", "model")}
    if isinstance(found, list):
        return [rounded(value) for value in found]
    return round(float(found), 5) if hasattr(found, "dtype") or isinstance(found, float) else found


def main(path: str) -> None:
    json.dump(rounded(answers(llama_cpp, path)), sys.stdout, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    main(only_argument(__doc__, "MODEL.gguf", "a small model"))
