"""`jaxllama inspect`: print the metadata and tensors of a GGUF file. The header is enough: a file whose download is under way is told as such."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np

from jaxllama.formats.gguf import Field, GGUFFile, ValueType, open_gguf

from .loading import overrides
from .log import Log
from .options import Group, Option, Verb
from .options.kinds import text

_SHOWN_ITEMS, _SHOWN_TEXT = 6, 120


OVERRIDE = Group(
    "metadata",
    Option(("--override-kv",), "override_kv", "override metadata of the file; TYPE is int, float, bool or str", text("KEY=TYPE:VALUE,..."), many=True),
)


def run(args: SimpleNamespace, log: Log) -> int:
    """Carry the verb out; returns the exit status."""
    file = open_gguf(args.words[0], overrides=overrides(args), header_only=True)
    sys.stdout.write("\n".join(describe(file)) + "\n")
    return 0


def describe(file: GGUFFile) -> Iterator[str]:
    """The report, line by line."""
    shard = file.shards[0]
    order = "little" if shard.byte_order == "<" else "big"
    split = f", {len(file.shards)} files" if len(file.shards) > 1 else ""
    yield f"{file.path}: GGUF version {shard.version}, {order} endian, {file.nbytes:,} bytes{split}"
    for missing in file.missing:
        yield f"not complete: {missing}"
    yield f"\nmetadata ({len(file.fields)})"
    for f in file.fields.values():
        yield f"  {f.key:<44} {_type_name(f):<14} {_shown(f)}"
    yield f"\ntensors ({len(file.tensors)})"
    for t in file.tensors.values():
        shape = "[" + ", ".join(map(str, t.shape)) + "]"
        yield f"  {t.name:<36} {t.type.name:<8} {shape:<24} {t.nbytes:>14,} bytes"
    yield "\nformats"
    for name in sorted({t.type.name for t in file.tensors.values()}):
        chosen = [t for t in file.tensors.values() if t.type.name == name]
        yield _sum(name, len(chosen), sum(t.nbytes for t in chosen), sum(t.size for t in chosen))
    everything = file.tensors.values()
    yield _sum("all", len(file.tensors), sum(t.nbytes for t in everything), sum(t.size for t in everything))


def _sum(name: str, count: int, nbytes: int, weights: int) -> str:
    each = nbytes / weights if weights else 0.0
    return f"  {name:<8} {count:5d} tensors {nbytes:>14,} bytes {weights:>14,} weights {each:7.4f} bytes per weight ({8 * each:.3f} bits)"


def _type_name(f: Field) -> str:
    return f"{f.item.name}[{len(f.value)}]" if f.type is ValueType.ARRAY and f.item is not None else f.type.name


def _shown(f: Field) -> str:
    if f.type is ValueType.ARRAY:
        items = f.value[:_SHOWN_ITEMS].tolist() if isinstance(f.value, np.ndarray) else f.value[:_SHOWN_ITEMS]
        shown = ", ".join(repr(i) if isinstance(i, str) else str(i) for i in items) + (", ..." if len(f.value) > _SHOWN_ITEMS else "")
    else:
        shown = repr(f.value) if isinstance(f.value, str) else str(f.value)
    return shown if len(shown) <= _SHOWN_TEXT else shown[:_SHOWN_TEXT] + "..."


EPILOG = "FILE: a GGUF file; of a split model, the first"
VERB = Verb("inspect", "print the metadata and tensors of a GGUF file", __doc__, run, (OVERRIDE,), words="FILE", least=1, most=1, epilog=EPILOG)
