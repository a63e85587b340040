"""Loading a model as the command line says, with progress on a terminal."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from jaxllama.formats.gguf import Field, GGUFFile, open_gguf, parse_overrides

if TYPE_CHECKING:
    from jaxllama import Model
    from jaxllama.chat import Chat


@contextmanager
def loading(console: Console) -> Iterator[Progress]:
    """A progress bar on stderr; nothing where stderr is no terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def chat_template(args: argparse.Namespace) -> str | None:
    """The template that `flags.CHAT` name, or None for the file's own."""
    if getattr(args, "chat_template_file", None):
        return Path(args.chat_template_file).read_text(encoding="utf-8")
    return getattr(args, "chat_template", None)


def told_if_guessed(chats: Chat, console: Console) -> Chat:
    """The same chats; where nobody named a template, the user is told which one it is."""
    from jaxllama.chat import GUESSED

    if not chats.guessed:
        return chats
    tell(console, f"{GUESSED}; --chat-template takes another")
    return chats.with_template("chatml")


def tell(console: Console, warning: str) -> None:
    console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)


def template_variables(args: argparse.Namespace) -> dict[str, Any]:
    """The variables of `--chat-template-kwargs`."""
    if not args.chat_template_kwargs:
        return {}
    try:
        found = json.loads(args.chat_template_kwargs)
    except json.JSONDecodeError as error:
        raise ValueError(f"--chat-template-kwargs: expected a JSON object: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"--chat-template-kwargs: expected a JSON object, found {args.chat_template_kwargs}")
    return found


def model_path(args: argparse.Namespace) -> Path:
    """The file of the options in `flags.MODEL`, downloaded where it has to be."""
    from jaxllama.hub import download, find_model

    if args.hf_repo:
        return download(args.hf_repo.partition(":")[0], quant=args.hf_repo.partition(":")[2] or None, file=args.hf_file)
    return find_model(args.model)


def overrides(args: argparse.Namespace) -> list[Field]:
    """The metadata of `--override-kv`."""
    return parse_overrides(args.override_kv) if args.override_kv else []


def tell_added(file: GGUFFile, console: Console) -> None:
    """A word about metadata of `--override-kv` that replace nothing: perhaps their key has a typing error."""
    for key in file.fields.keys() - file.shards[0].fields.keys():
        tell(console, f"--override-kv: the file has no '{key}'; it is added, and has no effect if nothing reads it")


def open_model(args: argparse.Namespace, console: Console) -> GGUFFile:
    """The opened file of the options in `flags.MODEL`, for verbs that need no weights."""
    file = open_gguf(model_path(args), overrides=overrides(args))
    tell_added(file, console)
    return file


def load_model(args: argparse.Namespace, console: Console, *, n_ctx: int | None) -> Model:
    """The model of the options in `flags.MODEL`, `flags.CONTEXT` and `flags.COMPILE`."""
    import jaxllama
    from jaxllama.models import LOAD_MODES
    from jaxllama.models.state import CACHE_TYPES

    if args.n_batch < 1:  # before a large file is read
        raise ValueError(f"-b: expected a positive number of tokens, found {args.n_batch}")
    if args.cache_type is not None and args.cache_type not in CACHE_TYPES:
        raise ValueError(f"-ctk: expected one of {', '.join(CACHE_TYPES)}, found {args.cache_type!r}")
    if args.load_mode not in LOAD_MODES:
        raise ValueError(f"-lm: expected one of {', '.join(LOAD_MODES)}, found {args.load_mode!r}")

    if not args.no_compile_cache:
        jaxllama.use_compilation_cache(args.compile_cache)
    path = model_path(args)
    with loading(console) as progress:
        task = progress.add_task("loading", total=None)
        model = jaxllama.load(
            path,
            n_ctx=n_ctx,
            n_batch=args.n_batch,
            exact=args.exact,
            cache_type=args.cache_type,
            overrides=overrides(args),
            check_tensors=args.check_tensors,
            load_mode=args.load_mode,
            chat_template=chat_template(args),
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    tell_added(model.file, console)
    if model.n_ctx > (trained := model.config.n_ctx_train):
        tell(console, f"-c {model.n_ctx}: the model was trained with at most {trained} tokens; beyond those it may write nonsense")
    model.programs.notify = lambda name: console.print(f"compiling {name} ...", style="dim", highlight=False) if console.is_terminal else None
    return model
