"""The table of architectures. An architecture is one entry, made in `families`: metadata -> Config, and the tensors beside its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from jaxllama.formats.gguf import GGUFError, GGUFFile

from .config import Config
from .layer import Layer
from .metadata import Metadata
from .tensors import Tensors, embedding, matrix, merged, optional, vector


@dataclass(frozen=True)
class Architecture:
    """Attributes:
    config: what a file of this architecture describes.
    tensors: those beside the layers.
    """

    config: Callable[[Metadata], Config]
    tensors: Callable[[Config], Tensors]


ARCHITECTURES: dict[str, Architecture] = {}


def decoder_tensors(config: Config) -> Tensors:
    """The tensors of a model that reads tokens and gives logits. The output matrix may be missing: then it is the embedding."""
    return merged(
        embedding("token_embd", config.n_vocab, config.n_embd),
        vector(config.output_norm, config.n_embd),
        optional(matrix("output", config.n_vocab, config.n_embd)),
    )


def register(name: str, config: Callable[[Metadata], Config], tensors: Callable[[Config], Tensors] = decoder_tensors) -> None:
    """Add an entry; `name` is the file's `general.architecture`."""
    ARCHITECTURES[name] = Architecture(config, tensors)


def architecture_of(file: GGUFFile) -> Architecture:
    """The entry for a file.

    Raises:
        GGUFError: there is none.
    """
    name = file.require("general.architecture")
    if name not in ARCHITECTURES:
        near = get_close_matches(str(name), ARCHITECTURES, 1)
        expected = f"a supported architecture ({', '.join(sorted(ARCHITECTURES))})"
        raise GGUFError(file.path, "general.architecture", expected=expected, found=f"{name}; do you mean {near[0]}?" if near else name)
    return ARCHITECTURES[name]


def read_config(file: GGUFFile) -> Config:
    """The `Config` of a file.

    Raises:
        GGUFError: its architecture is unknown, or its metadata contradict each other.
    """
    config = architecture_of(file).config(Metadata(file))
    return replace(config, layers=tuple(_with_extras(layer, i, config.n_embd, file.tensors) for i, layer in enumerate(config.layers)))


def _with_extras(layer: Layer, number: int, width: int, there: Iterable[str] | Mapping[str, object]) -> Layer:
    """The layer with the optional tensors that a file has for it."""
    found = (name for name, row in layer.tensors(width).items() if row.optional and row.kind != "unread" and f"blk.{number}.{name}" in there)
    return replace(layer, extras=frozenset(found))
