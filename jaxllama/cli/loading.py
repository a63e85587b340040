"""Loading a model as the command line says, with progress on a terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn

from jaxllama.environment import set_threads, thread_count, use_compilation_cache
from jaxllama.formats.gguf import Field, GGUFFile, field_of, open_gguf, parse_overrides

from .log import Log
from .named import named

if TYPE_CHECKING:
    from jaxllama import Model
    from jaxllama.chat import Chat

_LOAD_MODES = {"mlock": "none", "mmap+mlock": "mmap", "dio": "none"}  # llama.cpp's, and what comes nearest


def chat_template(args: SimpleNamespace) -> str | None:
    """The template that the options of CHAT name, or None for the file's own."""
    if getattr(args, "chat_template_file", None):
        with named("--chat-template-file"):
            return Path(args.chat_template_file).read_text(encoding="utf-8")
    return getattr(args, "chat_template", None)


def told_if_guessed(chats: Chat, log: Log) -> Chat:
    """The same chats; where nobody named a template, the user is told which one it is."""
    from jaxllama.chat import GUESSED

    if not chats.guessed:
        return chats
    log.warning(f"{GUESSED}; --chat-template takes another")
    return chats.with_template("chatml")


def template_variables(args: SimpleNamespace) -> dict[str, Any]:
    """The variables that the options of CHAT give to the template."""
    found: Any = {}
    if args.chat_template_kwargs:
        try:
            found = json.loads(args.chat_template_kwargs)
        except json.JSONDecodeError as error:
            raise ValueError(f"--chat-template-kwargs: expected a JSON object: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"--chat-template-kwargs: expected a JSON object, found {args.chat_template_kwargs}")
    if args.reasoning_effort not in (None, "default"):
        found["reasoning_effort"] = args.reasoning_effort
    return {"preserve_reasoning": args.reasoning_preserve} | found


def model_path(args: SimpleNamespace) -> Path:
    """The file of the options of MODEL, downloaded where it has to be."""
    from jaxllama.hub import download, find_model

    if args.hf_repo:
        repo, _, quant = args.hf_repo.partition(":")
        return download(repo, quant=quant or None, file=args.hf_file, token=args.hf_token, offline=args.offline)
    if args.hf_file:
        raise ValueError("-hff: names a file in a repository, which -hf names")
    return find_model(args.model, token=args.hf_token, offline=args.offline)


def overrides(args: SimpleNamespace) -> list[Field]:
    """The metadata of `--override-kv`."""
    return parse_overrides(",".join(args.override_kv)) if args.override_kv else []


def rope_overrides(args: SimpleNamespace, path: Path, own: list[Field]) -> list[Field]:
    """The options of ROPE, as metadata of the file.

    Args:
        own: other overrides, of which one may name another architecture.
    """
    factor = args.rope_scale if args.rope_scale is not None else 1 / args.rope_freq_scale if args.rope_freq_scale is not None else None
    if args.rope_scaling == "none":
        factor = 1.0
    found = {
        "scaling.type": args.rope_scaling,
        "scaling.factor": factor,
        "freq_base": args.rope_freq_base,
        "scaling.original_context_length": args.yarn_orig_ctx or None,
        "scaling.yarn_ext_factor": args.yarn_ext_factor,
        "scaling.attn_factor": args.yarn_attn_factor,
        "scaling.yarn_beta_slow": args.yarn_beta_slow,
        "scaling.yarn_beta_fast": args.yarn_beta_fast,
    }
    given = {key: value for key, value in found.items() if value is not None}
    if not given:
        return []
    architecture = open_gguf(path, overrides=own, header_only=True).get("general.architecture", "llama")
    return [field_of(f"{architecture}.rope.{key}", value) for key, value in given.items()]


def tell_added(file: GGUFFile, given: list[Field], log: Log) -> None:
    """A word about metadata of `--override-kv` that replace nothing: perhaps their key has a typing error."""
    for key in sorted({f.key for f in given} - file.shards[0].fields.keys()):
        log.warning(f"--override-kv: the file has no '{key}'; it is added, and has no effect if nothing reads it")


def open_model(args: SimpleNamespace, log: Log) -> GGUFFile:
    """The opened file of the options of MODEL, for verbs that need no weights."""
    given = overrides(args)
    file = open_gguf(model_path(args), overrides=given)
    tell_added(file, given, log)
    return file


def start(args: SimpleNamespace) -> None:
    """Start JAX with the threads of `-t` and the cache of COMPILE; before the first array, since neither can be changed then.

    Raises:
        ValueError: there is no device.
    """
    set_threads(args.threads)
    if not args.no_compile_cache:
        use_compilation_cache(args.compile_cache)
    check_device()


def check_device() -> None:
    """Start JAX's backend.

    Raises:
        ValueError: it has none, as with JAX_PLATFORMS=cuda on a machine without a GPU.
    """
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the second where the platform's package is not installed
        asked = os.environ.get("JAX_PLATFORMS")
        reason = (str(error).splitlines() or ["is JAX's package for it installed?"])[0]
        raise ValueError(f"JAX finds no device{f' for JAX_PLATFORMS={asked}' if asked else ''}: {reason}") from None


def load_mode(args: SimpleNamespace) -> str:
    """The mode of `-lm`, or of `--mmap` and `--no-mmap`, in the words of `load`."""
    mode: str = args.load_mode if args.mmap is None else "mmap" if args.mmap else "none"
    return _LOAD_MODES.get(mode, mode)


def load_model(args: SimpleNamespace, log: Log, *, n_ctx: int | None) -> Model:
    """The model of the options of MODEL, CONTEXT and ROPE; after `start`."""
    cache_type = args.cache_type or args.cache_type_v
    if args.cache_type_v not in (None, cache_type):  # before a large file is read
        raise ValueError(f"-ctk {args.cache_type} -ctv {args.cache_type_v}: K and V of different types are not supported yet")
    import jaxllama

    given = overrides(args)
    path = model_path(args)
    rope = rope_overrides(args, path, given)
    with log.progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task("loading", total=None)
        model = jaxllama.load(
            path,
            n_ctx=n_ctx,
            n_batch=min(args.n_batch, args.n_ubatch),
            exact=args.exact,
            cache_type=cache_type,
            overrides=[*given, *rope],
            check_tensors=args.check_tensors,
            load_mode=load_mode(args),
            chat_template=chat_template(args),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    tell_added(model.file, given, log)
    if model.n_ctx > (trained := model.config.n_ctx_train):
        log.warning(f"-c {model.n_ctx}: the model was trained with at most {trained} tokens; beyond those it may write nonsense")
    model.programs.notify = lambda name: log.status(f"preparing {name} ...")
    log.detail(f"{model}, n_batch={model.n_batch}, cache_type={model.cache_type}, {thread_count()} threads")
    return model
