"""A task with small data: trained once, exported once, and loaded in one fresh process."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nlp_rnn.run import load
from nlp_rnn.trainer import train

if TYPE_CHECKING:
    from nlp_rnn.run import AnyRun


@dataclass(eq=False)
class Subject:
    """A task with data and settings so small that training it takes seconds.

    Args:
        task: its name.
        settings: sections of its configuration; its epochs, at least two, of at least four batches each.
        write: folder → settings of `data`, after writing the data there.
        inputs: some inputs, one of them a most unusual one.
        environment: variables for the fresh process, such as PYTHONPATH.
    """

    task: str
    settings: dict[str, Any]
    write: Callable[[Path], dict[str, Any]]
    inputs: Sequence[Any]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    shared: ClassVar[Path | None] = None
    """A folder in which several processes find what one of them has trained and exported."""

    def __str__(self) -> str:
        return self.task

    @cached_property
    def folder(self) -> Path:
        """A folder of its own, gone with the subject, or that of all processes."""
        if self.shared is not None:
            folder = self.shared / str(self)
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        self._temporary = tempfile.TemporaryDirectory(prefix=f"nlp-rnn-{self.task}-")
        return Path(self._temporary.name)

    @cached_property
    def data(self) -> dict[str, Any]:
        """Settings of `data`."""
        known = self.folder / "data.json"
        with self._alone():
            if not known.is_file():
                folder = self.folder / "data"
                folder.mkdir()
                known.write_text(json.dumps(self.write(folder)))
        return json.loads(known.read_text())

    @cached_property
    def run(self) -> AnyRun:
        """The trained run."""
        sections, path = self.sections, self.folder / "run"
        with self._alone():
            if (path / "report.json").is_file():
                return load(path)
            with copied_at(self.folder / "cut-off", self.settings["train"]["epochs"] - 2, batch=2):
                return train(self.task, out=path, **sections)

    def _alone(self) -> AbstractContextManager[Any]:
        """No other process makes anything of the subject meanwhile."""
        if self.shared is None:
            return nullcontext()
        from filelock import FileLock

        return FileLock(self.folder / "lock")

    @property
    def cut_off(self) -> Path:
        """The run directory as a power cut in the last epoch but one would have left it."""
        assert self.run
        return self.folder / "cut-off"

    @property
    def path(self) -> Path:
        """The directory of the trained run."""
        assert self.run.path is not None
        return self.run.path

    @property
    def sections(self) -> dict[str, Any]:
        """All settings, those of `data` among them."""
        return {**self.settings, "data": {**self.data, **self.settings.get("data", {})}}

    @cached_property
    def exported(self) -> Path:
        """Its SavedModel."""
        run, path = self.run, self.folder / "export"
        with self._alone():
            return path if path.exists() else run.export(path)

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """Those of the run for the inputs, as plain values."""
        return [dataclasses.asdict(prediction) for prediction in self.run(list(self.inputs))]


@contextmanager
def copied_at(to: Path, epoch: int, batch: int) -> Iterator[None]:
    """Has a checkpoint written at a position, and then copies the run directory."""
    from nlp_rnn.training.callbacks import Checkpointer

    is_due, save = Checkpointer.is_due, Checkpointer._save

    def is_there(self: Checkpointer) -> bool:
        return (self.position.epoch, self.position.batch) == (epoch, batch)

    def save_and_copy(self: Checkpointer) -> None:
        save(self)
        if is_there(self):
            shutil.copytree(self.folder.parent, to)

    Checkpointer.is_due = lambda self: is_there(self) or is_due(self)  # type: ignore[method-assign]
    Checkpointer._save = save_and_copy  # type: ignore[method-assign]
    try:
        yield
    finally:
        Checkpointer.is_due, Checkpointer._save = is_due, save  # type: ignore[method-assign]


_CHILD = """
import json, sys
import tensorflow as tf
jobs = json.load(open(sys.argv[1]))
found = {}
for job in jobs:
    for library in job["libraries"]:
        __import__(library)
    signatures = tf.saved_model.load(job["export"]).signatures
    specs = signatures["serving_default"].structured_input_signature[1]
    given = {name: tf.constant(values, specs[name].dtype) for name, values in job["arguments"].items()}
    outputs = signatures["serving_default"](**given)
    plain = lambda x: [plain(y) for y in x] if isinstance(x, list) else x.decode() if isinstance(x, bytes) else x
    served = {name: plain(value.numpy().tolist()) for name, value in outputs.items()}
    none = signatures["serving_default"](**{name: value[:0] for name, value in given.items()})
    rows = {name: len(value.numpy()) for name, value in none.items()}
    found[job["task"]] = {"served": served, "rows of none": rows, "signatures": sorted(signatures)}
assert "nlp_rnn" not in sys.modules, "an export must not need this package"
import dataclasses, nlp_rnn
for job in jobs:
    run = nlp_rnn.load(job["run"])
    found[job["task"]]["predictions"] = [dataclasses.asdict(prediction) for prediction in run(job["inputs"])]
json.dump(found, open(sys.argv[2], "w"))
"""


def in_a_fresh_process(subjects: Sequence[Subject]) -> dict[str, Any]:
    """By task: what the export served and the run predicted, in a process that has imported nothing before, without
    GPUs."""
    from nlp_rnn.export.savedmodel import libraries_of

    jobs = [
        {
            "task": subject.task,
            "run": str(subject.path),
            "export": str(subject.exported),
            "libraries": libraries_of(subject.run.assets),
            "inputs": list(subject.inputs),
            "arguments": subject.run.task.input.serving_arguments(subject.inputs),
        }
        for subject in subjects
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    for subject in subjects:
        environment |= subject.environment
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("jobs.json", "found.json")]
        paths[0].write_text(json.dumps(jobs))
        command = [sys.executable, "-c", _CHILD, *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(paths[1].read_text())
