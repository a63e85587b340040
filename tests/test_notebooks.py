"""What is stored in the notebooks. That their cells run is checked by running them (`--nbmake`)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
_OF_A_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|Users|tmp|usr|opt|var|work|mnt)/|[A-Z]:\\\\|0x[0-9a-f]{8,}")


def faults(notebook: dict) -> list[str]:
    """What should not be stored: cells that did not run or not in order, complaints, paths and addresses of a machine, times of a run."""
    found = []
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        if cell["execution_count"] != number:
            found.append(f"code cell {number} ran as number {cell['execution_count']}")
        for output in cell["outputs"]:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                found.append(f"code cell {number} complained")
            data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
            if match := _OF_A_MACHINE.search(json.dumps([output.get("text"), data])):
                found.append(f"code cell {number} shows {match[0]}")
    found += [f"cell {number} has metadata {sorted(cell['metadata'])}" for number, cell in enumerate(notebook["cells"]) if cell["metadata"]]
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_those_of_one_whole_run(path):
    assert faults(json.loads(path.read_text())) == []


def test_every_fault_is_found():
    assert len(NOTEBOOKS) >= 5

    def cell(count: int | None = 1, metadata: dict | None = None, **output: object) -> dict:
        return {"cell_type": "code", "execution_count": count, "metadata": metadata or {}, "outputs": [output] if output else []}

    stream = {"output_type": "stream", "name": "stdout"}
    assert faults({"cells": [cell(), cell(2, **stream, text=["2 / 3, a/b, and/or 0x1F"])]}) == []
    for wrong in (
        cell(None),
        cell(7),
        cell(output_type="error"),
        cell(output_type="stream", name="stderr", text=["a warning"]),
        cell(**stream, text=["saved to /tmp/x"]),
        cell(output_type="execute_result", data={"text/plain": ["<object at 0x7f0011223344>"]}),
        cell(metadata={"execution": {}}),
    ):
        assert len(faults({"cells": [wrong]})) == 1, wrong
