"""What `--help` shows, and completion for bash."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from .option import Option, Verb
from .others import INFORM

_COLUMN = 28


def help_of(verb: Verb) -> str:
    """The help of a verb: what it does, its options in groups, and in short those that change nothing or are still to come."""
    width = max(60, min(shutil.get_terminal_size().columns, 130)) - 2
    lines = [f"usage: jaxllama {verb.name} [options]{' ' + verb.words if verb.words else ''}", ""]
    for paragraph in (verb.description or "").strip().split("\n\n"):
        lines += paragraph.splitlines() if "\n  " in paragraph else textwrap.wrap(paragraph, width)
        lines.append("")
    seen: set[str] = set()
    for group in verb.groups:
        new = [o for o in group if not o.idle and not o.later and not seen & set(o.names)]
        seen.update(name for o in new for name in o.names)
        if new:
            lines += [f"{group.title}:", *(line for option in new for line in _shown(option, width)), ""]
    for title, reason in (("accepted without effect:", "idle"), ("not supported yet:", "later")):
        found: dict[str, list[str]] = {}
        for option in (o for group in verb.groups for o in group if getattr(o, reason)):
            new = [name for name in (*option.names, *option.off) if name not in seen]
            seen.update(new)
            if new:
                found.setdefault(getattr(option, reason).removesuffix(" is"), []).append("/".join(new))
        if found:
            lines += [title, *(line for why, names in found.items() for line in _wrapped(f"{why}: {', '.join(names)}", width)), ""]
    if verb.epilog:
        lines += textwrap.wrap(verb.epilog, width)
    return "\n".join(lines).rstrip() + "\n"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False, break_long_words=False)


def _shown(option: Option, width: int) -> Iterator[str]:
    head = "  " + ", ".join(option.names) + (f" {option.kind.metavar}" if option.kind.metavar else "")
    yield from _beside(head, _explained(option), width)
    if option.off:
        yield from _beside("  " + ", ".join(option.off), option.off_help, width)


def _explained(option: Option) -> str:
    """An option's help, with its default and its variable."""
    default = ",".join(map(str, option.default)) if isinstance(option.default, tuple) else option.default
    text = option.help if option.is_switch or default in (None, "") else f"{option.help} (default: {default})"
    return f"{text} (env: {option.variable})" if option.variable else text


def _beside(head: str, text: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(text, width - _COLUMN, break_on_hyphens=False)
    if len(head) < _COLUMN - 1:
        yield head.ljust(_COLUMN) + (lines.pop(0) if lines else "")
    else:
        yield head
    yield from (" " * _COLUMN + line for line in lines)


def overview(verbs: Sequence[Verb]) -> str:
    """The help of the command itself."""
    lines = ["usage: jaxllama VERB [options]", "", "Run, quantize and evaluate GGUF models with JAX.", "", "verbs:"]
    lines += [f"  {verb.name:<16} {verb.summary}" for verb in verbs]
    lines += ["", "options:", *(line for option in INFORM for line in _shown(option, 100)), "", "`jaxllama VERB --help` lists the options of a verb."]
    return "\n".join(lines) + "\n"


def completion(verbs: Sequence[Verb]) -> str:
    """A script for bash: `source <(jaxllama --completion-bash)` completes verbs, options and files."""
    cases = []
    for verb in verbs:
        name = verb.name if verb.name != "run" else "run|-*"  # options alone are that verb's
        index = verb.index
        files = [name for name, (option, _) in index.items() if option.kind.files and name in option.names]
        wanted = [name for name, (option, _) in index.items() if not option.later]
        cases.append(f'        {name}) options="{" ".join(wanted)}"; files="{" ".join(files)}" ;;')
    own = " ".join([*(v.name for v in verbs), *(name for option in INFORM for name in option.names)])
    return _BASH.replace("@OWN@", own).replace("@CASES@", "\n".join(cases))


_BASH = """\
_jaxllama() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" options files
    case "${COMP_WORDS[1]}" in
@CASES@
    esac
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "@OWN@ $options" -- "$word")
    elif [[ " $files " == *" $before "* || "$word" != -* ]]; then
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
    fi
}
complete -F _jaxllama jaxllama
"""
