"""The shape of the house: imports go one way, the public names are the documented ones, files stay small."""

from __future__ import annotations

import ast
from pathlib import Path

import jaxllama

PACKAGE = Path(jaxllama.__file__).parent
# What each room may know of; a room may always use itself.
MAY_IMPORT = {
    "formats": set(),
    "grammar": set(),
    "text": {"formats", "grammar"},
    "kernels": set(),
    "quant": {"formats", "kernels"},
    "layers": {"quant", "kernels"},
    "models": {"formats", "quant", "layers"},
    "decode": {"models", "layers", "kernels", "grammar"},
    "evaluate": {"formats", "quant", "layers", "models", "decode", "api"},
}
NO_JAX = ("formats", "grammar", "text")


def imports(path: Path) -> set[str]:
    """Absolute names of the modules a file imports."""
    found = set()
    package = ["jaxllama", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            found.add(".".join([*base, *([node.module] if node.module else [])]))
    return found


def test_imports_go_one_way():
    for room, allowed in MAY_IMPORT.items():
        for path in (PACKAGE / room).rglob("*.py"):
            rooms = {name.split(".")[1] for name in imports(path) if name.startswith("jaxllama.")} - {"environment"}
            assert rooms <= allowed | {room}, f"{path.relative_to(PACKAGE)} imports {rooms - allowed - {room}}"


def test_files_and_text_know_nothing_of_jax():
    for room in NO_JAX:
        for path in (PACKAGE / room).rglob("*.py"):
            assert not {n.split(".")[0] for n in imports(path)} & {"jax", "flax"}, path


def test_no_file_is_long():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 500, path


def test_public_names_exist_and_are_documented():
    for name in jaxllama.__all__:
        assert getattr(jaxllama, name).__doc__, name


def test_the_embedded_model_is_small():
    assert jaxllama.embedded_model().stat().st_size <= 4_000_000
