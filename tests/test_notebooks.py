"""Every notebook runs from top to bottom."""

from __future__ import annotations

import time

import nbformat
import pytest

from tests.conftest import ROOT

LONG = ("04_translation",)
PATHS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in LONG else [])
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
]


@pytest.mark.notebooks
@pytest.mark.parametrize("path", PATHS)
def test_notebook_runs(path, tmp_path):
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) < 25
    assert all(not cell.get("outputs") for cell in notebook.cells), "notebooks are kept without outputs"
    began = time.monotonic()
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert time.monotonic() - began < 600
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert "image/png" in kinds
    assert "text/html" in kinds
    assert not [output for output in outputs if output.output_type == "error"]
