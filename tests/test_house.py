"""The shape of the house: imports go one way and never in a circle, the public names are the documented ones, files stay small."""

from __future__ import annotations

import ast
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import jaxllama

PACKAGE = Path(jaxllama.__file__).parent
# What each folder, and each file beside them, may import, itself apart. `__init__` stands for `import jaxllama` and the public names.
MAY_IMPORT = {
    "names": set(),
    "numeric": set(),
    "environment": set(),
    "formats": {"names"},
    "grammar": {"numeric"},
    "text": {"numeric", "formats", "grammar"},
    "kernels": {"environment"},
    "quant": {"numeric", "names", "environment", "formats", "kernels"},
    "layers": {"environment", "quant", "kernels"},
    "models": {"numeric", "environment", "formats", "quant", "layers"},
    "decode": {"numeric", "names", "environment", "quant", "models", "layers", "kernels", "grammar"},
    "hub": {"environment"},
    "prompt": {"numeric"},
    "pieces": {"decode", "text"},
    "score": {"decode"},
    "kept": {"decode"},
    "notebook": set(),
    "request": {"numeric", "text", "grammar", "decode"},
    "chat": {"text"},
    "answers": {"numeric", "names", "text", "grammar", "decode", "request", "pieces", "chat"},
    "api": {"numeric", "names", "formats", "grammar", "text", "models", "decode", "prompt", "pieces", "score", "kept", "request", "chat", "answers"},
    "loading": {"numeric", "decode", "names", "formats", "text", "quant", "models", "hub", "request", "notebook", "api"},
    "evaluate": {"names", "formats", "quant", "layers", "models", "decode", "api"},
    "__init__": {"environment", "formats", "grammar", "text", "quant", "models", "decode", "hub", "pieces", "score", "kept", "api", "loading", "evaluate"},
    "__main__": {"cli"},
    "llama": {"environment", "formats", "text", "grammar", "decode", "prompt", "pieces", "kept", "request", "chat", "api", "answers", "loading"},
    "cli": {"__init__", "environment", "formats", "grammar", "text", "quant", "models", "decode", "hub", "chat", "evaluate"},
}
NO_JAX = ("formats", "grammar", "text")


def modules(package: Path) -> dict[str, Path]:
    """The files of a package called jaxllama, by module name."""
    return {".".join(("jaxllama", *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__"): path for path in package.rglob("*.py")}


def imports(known: dict[str, Path], module: str) -> set[str]:
    """The modules that a module imports anywhere in its file, by absolute name; `from x import y` is x.y where that is a module."""
    found, path = set(), known[module]
    home = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = home[: len(home) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{name}.{a.name}" if f"{name}.{a.name}" in known else name for a in node.names}
    return found


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def wrong_ways(package: Path) -> list[str]:
    """Imports that `MAY_IMPORT` does not allow."""
    known = modules(package)
    return [
        f"{module} imports {name}"
        for module in known
        for name in imports(known, module)
        if name.split(".")[0] == "jaxllama" and room(name) not in MAY_IMPORT.get(room(module), set()) | {room(module)}
    ]


def circle(package: Path) -> list[str]:
    """Modules that import each other in a circle, or nothing; imports for the type checker count like others: what a file names, it knows."""
    known = modules(package)
    graph = {m: {n for n in imports(known, m) if n in known} for m in known}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_imports_go_one_way():
    assert wrong_ways(PACKAGE) == []
    assert MAY_IMPORT.keys() == {room(m) for m in modules(PACKAGE)}


def test_no_circles():
    assert circle(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "line", "imported"),
    [
        ("formats/a.py", "from jaxllama import api", "jaxllama.api"),
        ("formats/a.py", "from jaxllama import Model", "jaxllama"),
        ("formats/a.py", "import jaxllama", "jaxllama"),
        ("formats/a.py", "import jaxllama.decode.loop as loop", "jaxllama.decode.loop"),
        ("formats/a.py", "def f():\n    from .. import decode", "jaxllama.decode"),
        ("formats/gguf/a.py", "from ... import decode", "jaxllama.decode"),
        ("formats/gguf/a.py", "from ...decode import loop", "jaxllama.decode.loop"),
        ("formats/a.py", "from jaxllama.decode import loop", "jaxllama.decode.loop"),
        ("formats/a.py", "if TYPE_CHECKING:\n    from jaxllama.decode import anything", "jaxllama.decode"),
        ("hub.py", "from .api import load", "jaxllama.api"),
        ("request.py", "from . import chat", "jaxllama.chat"),
        ("environment.py", "from .hub import x", "jaxllama.hub"),
        ("new.py", "from .formats import a", "jaxllama.formats.a"),
    ],
)
def test_wrong_ways_are_seen(tmp_path, file, line, imported):
    for name in ("__init__", "api", "chat", "hub", "formats/a", "formats/gguf/__init__", "decode/__init__", "decode/loop", file[:-3]):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("import numpy\n")
    (tmp_path / "__init__.py").write_text("from .api import load\n")
    (tmp_path / "formats" / "__init__.py").write_text("from . import a\nfrom .gguf import b\n")
    assert wrong_ways(tmp_path) == []
    (tmp_path / file).write_text(line)
    module = file[:-3].replace("/", ".")
    assert wrong_ways(tmp_path) == [f"jaxllama.{module} imports {imported}"]


def test_circles_are_seen(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.py").write_text("from .b import x\n")
    (tmp_path / "text" / "b.py").write_text("import numpy\n")
    assert circle(tmp_path) == []
    (tmp_path / "text" / "c.py").write_text("def f():\n    from . import a\n")
    (tmp_path / "text" / "b.py").write_text("from jaxllama.text import c\n")
    assert set(circle(tmp_path)) == {"jaxllama.text.a", "jaxllama.text.b", "jaxllama.text.c"}


def test_files_and_text_know_nothing_of_jax():
    known = modules(PACKAGE)
    for module in known:
        if room(module) in NO_JAX:
            assert not {n.split(".")[0] for n in imports(known, module)} & {"jax", "flax"}, module


def test_no_file_is_long():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path


def test_public_names_exist_and_are_documented():
    for name in jaxllama.__all__:
        assert getattr(jaxllama, name).__doc__, name


def test_the_embedded_model_is_small():
    assert jaxllama.embedded_model().stat().st_size <= 4_000_000


def test_explained_mutants_are_of_lines_that_exist():
    explained = tomllib.loads((Path(__file__).parent / "mutation" / "survivors.toml").read_text(encoding="utf-8"))
    for file, reasons in explained.items():
        lines = {line.strip() for line in (PACKAGE.parent / file).read_text(encoding="utf-8").splitlines()}
        assert {key.partition(" :: ")[0] for key in reasons} <= lines, file
