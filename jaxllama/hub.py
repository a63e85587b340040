"""Where a model file comes from: a path, the model that ships with the package, or the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

_REPO = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_PREFERRED = "Q4_K_M"


def embedded_model() -> Path:
    """The small story model that ships with the package."""
    return Path(str(files("jaxllama") / "data" / "story-world.gguf"))


def find_model(path_or_repo: str | Path | None) -> Path:
    """The file behind what a user wrote.

    Args:
        path_or_repo: a path; or `user/repo[:quant]` on the hub, when no such path exists; or None for the embedded model.

    Raises:
        FileNotFoundError: it is neither.
    """
    if path_or_repo is None:
        return embedded_model()
    path = Path(path_or_repo)
    if path.exists():
        return path
    match = _REPO.fullmatch(str(path_or_repo))
    if match is None or str(path_or_repo).endswith(".gguf"):
        raise FileNotFoundError(f"{path_or_repo}: no such file (and not a hub repository, which looks like user/name or user/name:Q4_K_M)")
    return download(match[1], quant=match[2])


def download(repo: str, *, quant: str | None = None, file: str | None = None) -> Path:
    """Fetch a GGUF file (all its shards) from the hub into the hub's own cache; only the first time.

    Args:
        repo: `user/name`.
        quant: which of several files, by a part of its name such as Q8_0; Q4_K_M, then the first, by default.
        file: the exact file instead.

    Raises:
        ImportError: huggingface_hub is not installed.
        FileNotFoundError: the repository has no such file.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise ImportError("downloading models needs huggingface_hub: pip install 'jaxllama[hub]'") from None
    names = sorted(huggingface_hub.list_repo_files(repo))
    first = file or choose_file(repo, names, quant)
    if first not in names:
        raise FileNotFoundError(f"{repo} has no file {first}; it has {', '.join(n for n in names if n.endswith('.gguf')) or 'no GGUF files'}")
    shard = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", first)
    wanted = [f"{shard[1]}-{i:05d}-of-{shard[2]}.gguf" for i in range(1, int(shard[2]) + 1)] if shard else [first]
    paths = [Path(huggingface_hub.hf_hub_download(repo, name)) for name in wanted]
    return paths[0]


def choose_file(repo: str, names: Sequence[str], quant: str | None) -> str:
    """The file that is meant among those of a repository."""
    models = [n for n in names if n.endswith(".gguf") and "mmproj" not in n.lower() and not re.search(r"-0000[2-9]-of-|-000[1-9]\d-of-", n)]
    for wanted in [quant] if quant else [_PREFERRED]:
        pattern = re.compile(rf"(?<![A-Za-z0-9]){re.escape(wanted)}(?![A-Za-z0-9_])", re.IGNORECASE)
        for name in models:
            if pattern.search(name):
                return name
    if quant or not models:
        raise FileNotFoundError(f"{repo} has no GGUF file{f' with {quant} in its name' if quant else ''}; it has {', '.join(models) or 'none'}")
    return models[0]
