"""The house is as docs/architecture.md draws it; who may import whom is checked by lint-imports."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

import nlp_rnn
from tests.conftest import ROOT

PACKAGE = ROOT / "nlp_rnn"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "build" not in path.parts)
DRAWN = re.search(r"## The map\n(.*?)## The contracts", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)[1]


def test_every_file_is_on_the_map():
    drawn = set(re.findall(r"[\w/]+\.py|\w+/", DRAWN))
    for path in MODULES:
        parts = path.relative_to(PACKAGE).parts
        names = {f"{part}/" for part in parts[:-1]} | ({parts[-1]} if parts[-1][:2] != "__" else set())
        joined = "/".join(parts)
        assert names <= drawn or joined in drawn, f"{joined} is not on the map"


def test_everything_on_the_map_is_there():
    files = {path.name for path in MODULES}
    for name in set(re.findall(r"\w+\.py\b", DRAWN)):
        assert name in files, f"{name} is on the map and not in the package"


def test_the_contracts_name_every_room():
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    named = {name for line in layers for name in line.split(" | ")}
    rooms = {
        f"nlp_rnn.{path.stem}" for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    tasks = {f"nlp_rnn.tasks.{path.stem}" for path in (PACKAGE / "tasks").iterdir() if path.name[:2] != "__"}
    assert named == (rooms | tasks) - {"nlp_rnn.__init__", "nlp_rnn.tasks"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_fit(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 50, f"{node.name} has {lines} lines"


def test_there_is_one_version_number():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    assert f"## {nlp_rnn.__version__}" in (ROOT / "CHANGELOG.md").read_text()
