"""Every notebook runs from top to bottom under -m slow; what it names exists, by default."""

from __future__ import annotations

import ast
import importlib.util
import re

import nbformat
import pytest

import nlp_rnn
from nlp_rnn.registry import get_task
from tests.conftest import ROOT

PATHS = [pytest.param(path, id=path.stem) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.mark.parametrize("path", PATHS)
def test_a_notebook_is_short_and_names_what_there_is(path):
    """Code that parses, without outputs, whose names of this package and settings exist."""
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) < 25
    assert all(not cell.get("outputs") for cell in notebook.cells), "notebooks are kept without outputs"
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for node in ast.walk(ast.parse(re.sub(r"^[%!].*", "", code, flags=re.MULTILINE))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nlp_rnn"):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "nlp_rnn":
            assert hasattr(nlp_rnn, node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "nlp_rnn.train":
            task = ast.literal_eval(node.args[0])
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Dict) and keyword.arg != "data":
                    section = getattr(get_task(task).Config(), keyword.arg)
                    assert {ast.literal_eval(key) for key in keyword.value.keys if key is not None} <= set(
                        vars(section)
                    ), keyword.arg


@pytest.mark.slow  # some minutes: all trainings in full
@pytest.mark.notebooks
@pytest.mark.parametrize("path", PATHS)
def test_notebook_runs_in_full(path, tmp_path):
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert {"image/png", "text/html"} <= {kind for output in outputs for kind in output.get("data", {})}
