"""Loading a model as the command line says, with progress on a terminal."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from jaxllama import Model


@contextmanager
def loading(console: Console) -> Iterator[Progress]:
    """A progress bar on stderr; nothing where stderr is no terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def load_model(args: argparse.Namespace, console: Console, *, n_ctx: int | None) -> Model:
    """The model of the options in `flags.MODEL`, `flags.CONTEXT` and `flags.COMPILE`."""
    import jaxllama
    from jaxllama.hub import download
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
    path = download(args.hf_repo.partition(":")[0], quant=args.hf_repo.partition(":")[2] or None, file=args.hf_file) if args.hf_repo else args.model
    with loading(console) as progress:
        task = progress.add_task("loading", total=None)
        model = jaxllama.load(
            path,
            n_ctx=n_ctx,
            n_batch=args.n_batch,
            exact=args.exact,
            cache_type=args.cache_type,
            overrides=jaxllama.parse_overrides(args.override_kv) if args.override_kv else (),
            check_tensors=args.check_tensors,
            load_mode=args.load_mode,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    model.programs.notify = lambda name: console.print(f"compiling {name} ...", style="dim", highlight=False) if console.is_terminal else None
    return model
