"""The notebook of docs: it runs from top to bottom, and shows who is like whom."""

from __future__ import annotations

import base64
import re
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from PIL import Image

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
ROWS = 4
"""Videos whose neighbours are shown."""


class ThisPython(AsyncKernelManager):
    """A kernel of the environment that the tests run in, whatever is installed elsewhere."""

    kernel_spec = KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def check_shown(notebook: Any) -> None:
    """No cell ended in an error, and the neighbours of four videos are shown and are of their kind."""
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    told = [output for output in outputs(notebook) if output.output_type == "stream"]
    assert {output.name for output in told} == {"stdout"}
    text = "".join(output.text for output in told)
    assert "49 uploads: 48 videos, 1 failures" in text
    rows = re.findall(r"^(\w+)-\d: (.+)$", text, re.MULTILINE)
    assert len(rows) == ROWS
    for kind, neighbours in rows:
        kinds = re.findall(r"(\w+)-\d ", neighbours)
        assert kinds.count(kind) >= 4, f"{kind} has the neighbours {neighbours}"
    pictures = [output.data["image/jpeg"] for output in outputs(notebook) if "image/jpeg" in output.get("data", {})]
    assert len(pictures) == ROWS + 2, "and what words and a picture find"
    for picture in pictures:
        with Image.open(BytesIO(base64.b64decode(picture))) as shown:
            pixels = np.asarray(shown)[:150]  # above the words
        cells = [pixels[:, left : left + 84] for left in range(0, pixels.shape[1] - 83, 90)]
        assert len(cells) >= 6
        assert all(cell.std() > 5 for cell in cells), "something is seen in every place"


def test_the_tour_is_kept_as_it_ran() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    check_shown(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert TOUR.stat().st_size < 1 << 20
    assert not re.search(r"/(home|root|tmp|work|Users)/", TOUR.read_text()), "it says nothing of a machine"


@pytest.mark.ci
@pytest.mark.timeout(1200)
def test_the_tour_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    notebook = nbformat.read(TOUR, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = NotebookClient(notebook, km=ThisPython(), timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    check_shown(notebook)
