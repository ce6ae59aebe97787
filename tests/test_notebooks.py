"""Every notebook runs from top to bottom: quickly by default, as a reader would run it with -m slow."""

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


def assert_shows_something(kinds):
    assert "image/png" in kinds
    assert "text/html" in kinds


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
                    assert {ast.literal_eval(key) for key in keyword.value.keys} <= set(vars(section)), keyword.arg


@pytest.mark.notebooks
@pytest.mark.parametrize("path", PATHS[:1])  # the others run in full, under -m slow
def test_notebook_runs_with_short_trainings(path, tmp_path, monkeypatch):
    """In this process; each training is one epoch over few records."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.pylabtools import select_figure_formats
    from IPython.utils.capture import capture_output

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """Figures are shown in place."""

    monkeypatch.setenv("NLP_RNN_QUICK", "1")
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(path, as_version=4)
    Shell.clear_instance()
    shell, kinds = Shell.instance(), set()
    select_figure_formats(shell, {"png"})
    try:
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            with capture_output() as captured:
                result = shell.run_cell(re.sub(r"(?<=epochs=)\d+", "1", cell.source))
            result.raise_error()
            kinds |= {kind for output in captured.outputs for kind in output.data}
            kinds |= set(shell.display_formatter.format(result.result)[0])
    finally:
        Shell.clear_instance()
    assert_shows_something(kinds)


@pytest.mark.slow  # some minutes: all trainings in full
@pytest.mark.notebooks
@pytest.mark.parametrize("path", PATHS)
def test_notebook_runs_in_full(path, tmp_path):
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert_shows_something({kind for output in outputs for kind in output.get("data", {})})
