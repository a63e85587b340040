"""Where a model file comes from: a path, the model that ships with the package, or the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

_REPO = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_PREFERRED = "Q4_K_M"
_PATIENCE = 10.0  # seconds


def embedded_model() -> Path:
    """The small story model that ships with the package."""
    return Path(str(files("jaxllama") / "data" / "story-world.gguf"))


def find_model(path_or_repo: str | Path | None, **access: Any) -> Path:
    """The file behind what a user wrote.

    Args:
        path_or_repo: a path; or `user/repo[:quant]` on the hub, when no such path exists; or None for the embedded model.
        **access: `token` and `offline`, as for `download`.

    Raises:
        FileNotFoundError: it is neither.
    """
    if path_or_repo is None:
        return embedded_model()
    if not isinstance(path_or_repo, (str, os.PathLike)):
        raise TypeError(f"expected the path of a GGUF file, or user/name of a hub repository, found {path_or_repo!r}")
    if str(path_or_repo) == "":
        raise FileNotFoundError("the name of the model is empty; None means the one in the package")
    path = Path(path_or_repo)
    if path.exists():
        return path
    match = _REPO.fullmatch(str(path_or_repo))
    if match is None or str(path_or_repo).endswith(".gguf"):
        raise FileNotFoundError(f"{path_or_repo}: no such file (and not a hub repository, which looks like user/name or user/name:Q4_K_M)")
    return download(match[1], quant=match[2], **access)


def download(repo: str, *, quant: str | None = None, file: str | None = None, token: str | None = None, offline: bool = False) -> Path:
    """Fetch a GGUF file (all its shards) from the hub into the hub's own cache; only the first time. What is there already serves without a network, too.

    Args:
        repo: `user/name`.
        quant: which of several files, by a part of its name such as Q8_0; Q4_K_M, then the first, by default.
        file: the exact file instead.
        token: for repositories that need one; the stored one by default.
        offline: ask nobody.

    Raises:
        ImportError: huggingface_hub is not installed.
        FileNotFoundError: the repository does not exist, or has no such file.
        ConnectionError: the hub cannot be reached, or refuses, and the file is not in the cache.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise ImportError("downloading models needs huggingface_hub: pip install 'jaxllama[hub]'") from None
    refusal = "it is not in the cache, and nobody was asked (offline)"
    names: list[str] | None = None
    if not offline:
        try:  # one request: listing files is tried again for half a minute where there is no network
            names = sorted(sibling.rfilename for sibling in huggingface_hub.model_info(repo, token=token, timeout=_PATIENCE).siblings or [])
        except Exception as error:  # of several libraries, by the version of huggingface_hub
            refusal = _refusal(repo, error)
    names = _cached(repo) if names is None else names
    if names is None:
        raise ConnectionError(f"{repo}: {refusal}")
    first = file or choose_file(repo, names, quant)
    if first not in names:
        raise FileNotFoundError(f"{repo} has no file {first}; it has {', '.join(n for n in names if n.endswith('.gguf')) or 'no GGUF files'}")
    shard = re.fullmatch(r"(.*)-00001-of-(\d{5})\.gguf", first)
    wanted = [f"{shard[1]}-{i:05d}-of-{shard[2]}.gguf" for i in range(1, int(shard[2]) + 1)] if shard else [first]
    try:
        paths = [Path(huggingface_hub.hf_hub_download(repo, name, token=token, local_files_only=offline)) for name in wanted]
    except Exception as error:
        raise ConnectionError(f"{repo}: {_refusal(repo, error)}") from None
    return paths[0]


def _refusal(repo: str, error: Exception) -> str:
    """One line about what went wrong with the hub.

    Raises:
        FileNotFoundError: there is no such repository.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404):
        raise FileNotFoundError(f"{repo}: the hub has no such repository, or it needs a token (-hft, HF_TOKEN)") from None
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the hub cannot be reached ({said}), and the file is not in the cache"


def _cached(repo: str) -> list[str] | None:
    """The files of a repository that were downloaded before; None where there are none."""
    import huggingface_hub

    try:
        folder = Path(huggingface_hub.snapshot_download(repo, local_files_only=True))
    except (OSError, ValueError):
        return None
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) or None


def downloaded() -> list[str]:
    """The GGUF files in the hub's cache, as `user/repo:file`; without huggingface_hub none."""
    try:
        import huggingface_hub
    except ImportError:
        return []
    try:
        repos = huggingface_hub.scan_cache_dir().repos
    except huggingface_hub.CacheNotFound:
        return []
    return sorted(
        {f"{repo.repo_id}:{file.file_name}" for repo in repos for revision in repo.revisions for file in revision.files if file.file_name.endswith(".gguf")}
    )


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
