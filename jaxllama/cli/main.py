"""The command `jaxllama`, with its verbs."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from io import TextIOWrapper
from types import SimpleNamespace

from . import apply_template, bench, chat, grammar, imatrix, inspect, perplexity, quantize, run, tokenize
from .log import Log
from .named import said
from .options import UsageError, Verb, parse
from .options.show import completion, help_of, overview

VERBS = (run.VERB, chat.VERB, tokenize.VERB, apply_template.VERB, grammar.VERB, quantize.VERB, imatrix.VERB, perplexity.VERB, bench.VERB, inspect.VERB)
_OTHER_NAMES = {"completion": "run", "cli": "chat"}  # llama.cpp's
_LATER = {
    "serve": "a server is",
    "server": "a server is",
    "download": "downloading alone is",
    "get": "downloading alone is",
    "embedding": "a verb for embeddings is",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. An error of the user's is one line on stderr, not a traceback."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # see `quiet_interrupt`
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        return _main(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter can flush at its end
        return 141
    except KeyboardInterrupt:
        return 130


def _main(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    name = _OTHER_NAMES.get(first, f"--{first}" if first in ("help", "version") else first)
    named = next((verb for verb in VERBS if verb.name == name), None)
    if named is None and not name.startswith("-"):
        return _unknown(name)
    verb = named or run.VERB  # the options alone: what llama.cpp's program does with them
    try:
        args = parse(verb, arguments[1:] if named else [name, *arguments[1:]])
    except UsageError as error:
        print(f"jaxllama {verb.name}: {error}\n`jaxllama {verb.name} --help` lists the options", file=sys.stderr)
        return 2
    if args.asked == "help":
        print(help_of(verb) if named else overview(VERBS), end="")
    elif args.asked:
        try:
            _inform(args.asked)
        except (ValueError, OSError, ImportError) as error:
            print(f"jaxllama: {error}", file=sys.stderr)
            return 1
    else:
        return _run(verb, args, ["no verb: this is `jaxllama run`"] * (named is None) + args.told)
    return 0


def _run(verb: Verb, args: SimpleNamespace, told: list[str]) -> int:
    try:
        log = Log(args)
    except OSError as error:
        print(f"jaxllama: --log-file: {said(error)}", file=sys.stderr)
        return 1
    with log:
        for line in told:
            log.info(line, dim=True)
        try:
            return verb.run(args, log)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, ImportError, MemoryError) as error:
            log.error(f"jaxllama: {_of_option(verb, said(error))}")
            return 1


def _of_option(verb: Verb, text: str) -> str:
    """An error of the package's, whose names are Python's: where it begins with an option's, it is told under the option's name here."""
    name, colon, rest = text.partition(": ")
    option = next((option for option, uses in verb.index.values() if uses and option.to == name and colon), None)
    return f"{option.names[0]}: {rest}" if option else text


def _unknown(name: str) -> int:
    if not name:
        print(overview(VERBS), end="")
        return 2
    near = difflib.get_close_matches(name, [v.name for v in VERBS], 1)
    if name in _LATER:
        print(f"jaxllama {name}: {_LATER[name]} not supported yet", file=sys.stderr)
    else:
        found = f"did you mean `jaxllama {near[0]}`?" if near else f"there are {', '.join(v.name for v in VERBS)}"
        print(f"jaxllama: there is no verb {name!r}; {found}", file=sys.stderr)
    return 2


def _inform(asked: str) -> None:
    if asked == "version":
        from jaxllama import __version__

        print(f"jaxllama {__version__}")
    elif asked == "completion_bash":
        print(completion(VERBS), end="")
    elif asked == "cache_list":
        from jaxllama.hub import downloaded

        found = downloaded()
        print(f"number of models in cache: {len(found)}", *(f"{n:4d}. {name}" for n, name in enumerate(found, 1)), sep="\n")
    else:
        import jax

        from .loading import check_device

        check_device()
        print("Available devices:", *(f"  {device.platform.upper()}{device.id}: {device.device_kind}" for device in jax.devices()), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
