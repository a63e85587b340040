"""Files of a Hugging Face repository, by patterns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path


def fetch(
    repo_id: str,
    filename: str | None,
    additional_files: Sequence[str] | None = None,
    local_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Download the one file that fits a pattern, with all parts of a split model, and others beside it.

    Returns:
        Where the file lies.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: no file fits a pattern, or several do.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise ImportError("Llama.from_pretrained needs huggingface_hub: pip install 'jaxllama[hub]'") from None
    names = huggingface_hub.list_repo_files(repo_id)

    def one(pattern: str) -> str:
        found = [name for name in names if fnmatch(name, pattern)]
        if len(found) != 1:
            raise ValueError(f"{'No file' if not found else 'Multiple files'} found in {repo_id} matching {pattern}; it has {', '.join(names)}")
        return found[0]

    first = one(filename or "*.gguf")
    shard = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", first)
    parts = [f"{shard[1]}-{n:05d}-of-{shard[2]}.gguf" for n in range(1, int(shard[2]) + 1)] if shard else [first]
    wanted = dict.fromkeys([*parts, *map(one, additional_files or ())])
    paths = [Path(huggingface_hub.hf_hub_download(repo_id, name, local_dir=local_dir, cache_dir=cache_dir)) for name in wanted]
    return paths[0]
