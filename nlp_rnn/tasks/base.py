"""What a task is: a name, a configuration, and plain functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nlp_rnn.errors import InputError


@dataclass(frozen=True)
class Assets:
    """What stands between text and tensors, saved with a run.

    Args:
        tokenizers: by name; a task with one calls it "tokenizer".
        labels: names of the classes, in the order of the outputs.
        vectors: initial embedding table `[vocabulary, dimensions]`; used at the start of training, not saved.
        notes: what is worth saying about how they came about.
        facts: whatever else a task must remember, as plain values.
    """

    tokenizers: Mapping[str, Any]
    labels: tuple[str, ...] = ()
    vectors: Any = None
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of a task that has one."""
        return self.tokenizers["tokenizer"]

    def save(self, folder: Path) -> None:
        """Writes `labels.json`, `facts.json` if there are any, and a folder per tokenizer."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, tokenizer in self.tokenizers.items():
            tokenizer.save(folder / name)
        labels = json.dumps(list(self.labels), ensure_ascii=False)
        (folder / "labels.json").write_text(labels + "\n", encoding="utf-8")
        if self.facts:
            facts = json.dumps(dict(self.facts), ensure_ascii=False)
            (folder / "facts.json").write_text(facts + "\n", encoding="utf-8")

    @staticmethod
    def fingerprint(folder: Path) -> str:
        """A digest of what `save` wrote."""
        digest = hashlib.blake2b(digest_size=8)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, folder: Path) -> Assets:
        """Reads what `save` wrote.

        Raises:
            InputError: the folder is not complete.
        """
        from nlp_rnn.text.tokenizers import load_tokenizer

        try:
            labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
            path = folder / "facts.json"
            facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (OSError, ValueError):
            raise InputError(f"{folder} is not complete; train again or copy the run anew.") from None
        tokenizers = {path.parent.name: load_tokenizer(path.parent) for path in folder.glob("*/tokenizer.json")}
        return cls(tokenizers, tuple(labels), facts=facts)


def refuse_settings(section: Any, where: str, task: str, *names: str) -> None:
    """Settings of a section, `where`, that a task has no use for must be as they are by default.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if getattr(section, name) != getattr(type(section)(), name):
            raise InputError(f"--{where}.{name} does nothing in {task}: leave it out.")


@dataclass(frozen=True)
class Task:
    """A task, in the order in which data flows through it. All fields are plain functions and classes.

    Args:
        name: as on the command line.
        Config: dataclass of its settings; sections of `nlp_rnn.config`.
        prediction: dataclass of one result; its first field is the input text, its field names are the keys of
            `--json` and the outputs of the SavedModel.
        read: (config, split) → `Records` or None.
        assets: (config, training records) → `Assets`.
        batches: (config, assets, records, seed) → `Batches`; a seed of None keeps an order fit for prediction.
        build: (config, assets) → `keras.Model`.
        loss: config → `keras.losses.Loss`, or None where the model's own `compute_loss` knows.
        decode: (outputs of `model.infer` by record, records, assets) → predictions.
        metrics: (records, predictions, outputs, assets) → flat dict; the first key drives early stopping.
        signatures: (config, model, assets) → `tf.function`s of the SavedModel by name.
        show: (prediction, record or None) → one line for a person; with a record, whether it was right.
        errors: (records, predictions, count) → lines on the mistakes that matter most.
        lower_is_better: whether less of the first metric is better.
        example: an input, for messages.
        commands: extra verbs: name → function (run, arguments, how the verb was called) → exit code.
        search: (config, assets) → the attribute `search` of the model, for tasks whose configuration has a section of
            that name, which may be changed after training.
        predict: instead of the verb of all tasks, where the task has options of its own for it: (arguments, how it was
            called, path → `Run`) → exit code.
    """

    name: str
    Config: type
    prediction: type
    read: Callable[..., Any]
    assets: Callable[..., Assets]
    batches: Callable[..., Any]
    build: Callable[..., Any]
    loss: Callable[..., Any]
    decode: Callable[..., list[Any]]
    metrics: Callable[..., dict[str, Any]]
    signatures: Callable[..., dict[str, Any]]
    show: Callable[..., str] = str
    errors: Callable[..., list[str]] | None = None
    lower_is_better: bool = False
    example: str = "A joyless slog."
    commands: Mapping[str, Callable[..., int]] = field(default_factory=dict)
    search: Callable[..., dict[str, Any]] | None = None
    predict: Callable[..., int] | None = None
