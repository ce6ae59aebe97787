"""Training from Python: what the verb `train` calls too."""

from __future__ import annotations

import errno
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.config import check_ranges, load_recipe, override, read_yaml
from nlp_rnn.errors import InputError
from nlp_rnn.registry import get_task
from nlp_rnn.tasks.base import Assets, Task

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import Run


def train(
    task: str,
    recipe: str = "starter",
    out: str | Path | None = None,
    config: str | Path | None = None,
    **sections: Any,
) -> Run:
    """Trains a model.

    Args:
        task: name of the task.
        recipe: name of the settings to begin with.
        out: the run directory; by default `runs/<recipe>`, then `-2`, `-3`.
        config: a YAML file of settings that go before the recipe's.
        **sections: settings that go before both, such as `train={"epochs": 3}`.

    Returns:
        The finished run.

    Raises:
        InputError: data or settings are wrong; the message says what to do.

    Example:

        run = nlp_rnn.train("sentiment", recipe="starter", train={"epochs": 2})
        run.metrics["accuracy"]
    """
    settings = override(settings_for(task, recipe, config), sections)
    return train_with(task, settings, out, recipe)


def train_with(task: str, settings: Any, out: str | Path | None, recipe: str) -> Run:
    """Trains with finished settings in a new run directory."""
    check_ranges(settings)
    from nlp_rnn.training.devices import is_chief

    given = Path(out) if out is not None else None
    folder = _new_folder(given, recipe) if is_chief() else given or Path(recipe)  # only the chief writes there
    return _train_in(folder, get_task(task), settings, recipe, resuming=False)


def resume(path: str | Path, task: str | None = None) -> Run:
    """Continues an interrupted run from its newest checkpoint, ending as if it had never stopped.

    Raises:
        InputError: there is none, or it is finished.
    """
    path = Path(path)
    from nlp_rnn.run import read_settings

    found, settings = read_settings(path, task)
    if (path / "report.json").exists():
        raise InputError(f"{path} is finished; train anew with another --out, or fine-tune it in a notebook.")
    return _train_in(path, found, settings, path.name, resuming=True)


def _train_in(out: Path, task: Task, config: Any, recipe: str, resuming: bool) -> Run:
    """The whole of training: data, assets, batches, model, fit, measure, report."""
    started = time.perf_counter()
    from nlp_rnn.training.devices import (
        describe_kernels,
        import_tensorflow,
        is_chief,
        keep_what_xla_compiles,
        strategy_for,
    )

    if config.train.jit == "on":
        keep_what_xla_compiles()
    import_tensorflow()
    # A run keeps the precision that it began with, wherever it is taken.
    config = override(config, {"train": {"precision": config.train.dtype_policy}})
    strategy = strategy_for(config.train)
    import keras

    from nlp_rnn.data.summary import data_table
    from nlp_rnn.report import write_report
    from nlp_rnn.run import Run, evaluate_records
    from nlp_rnn.training.fit import fit
    from nlp_rnn.training.progress import console
    from nlp_rnn.training.workers import own_folder

    found = {name: task.read(config, name) for name in ("train", "validation", "test")}
    splits: dict[str, Records] = {name: records for name, records in found.items() if records is not None}
    console.quiet = not is_chief()
    with own_folder(out, resuming) as out, _sole_owner(out):
        keras.utils.set_random_seed(config.train.seed)
        assets = Assets.load(out / "assets") if resuming else task.assets(config, splits["train"])
        if "validation" not in splits:
            raise InputError("There is no validation data: name some, or let data.validation_fraction cut it off.")
        if len(splits["validation"]) < 100:
            count = len(splits["validation"])
            console.print(f"[yellow]Only {count} validation records choose the best epoch: results will vary much.[/]")
        for note in assets.notes:
            console.print(note)
        batches = {name: task.batches(config, assets, records, config.train.seed) for name, records in splits.items()}
        console.print(data_table(splits, batches))
        with strategy.scope() if strategy else nullcontext():
            model = _built(task, config, assets)
        run = Run(task, config, assets, model, out)
        if not resuming:
            run.save_settings(out)
        kernels = "; ".join(sorted(set(describe_kernels(model).values())))
        kernels += f" · {strategy.num_replicas_in_sync} devices" if strategy else ""
        padding = batches["train"].padding
        console.print(f"{model.count_params():,} parameters · padding {padding:.1%} · recurrent kernel {kernels}")
        fingerprints = {
            "training data": splits["train"].fingerprint(),
            "vocabulary": Assets.fingerprint(out / "assets"),
        }
        fitted = fit(
            model,
            task.loss(config),
            config.train,
            batches["train"],
            lambda: evaluate_records(run, splits["validation"]),
            out,
            fingerprints,
            resuming,
            task.lower_is_better,
        )
        run.calibrate(splits["validation"])
        measured = [name for name in splits if name != "train"]
        results = {name: evaluate_records(run, splits[name]) for name in measured}
        run.save(out)
        seconds = time.perf_counter() - started
        write_report(run, splits, batches["train"], fitted, results, fingerprints, recipe, seconds)
    return run


def settings_for(task: str, recipe: str, config: str | Path | None = None) -> Any:
    """The task's settings: defaults, then the recipe, then the file."""
    settings = get_task(task).Config()
    layers = [load_recipe(task, recipe)] + ([read_yaml(config)] if config else [])
    for values in layers:
        values.pop("format", None)
        if values.pop("task", task) != task:
            raise InputError(f'{config} holds settings of another task than "{task}".')
        settings = override(settings, values)
    return settings


def _built(task: Task, config: Any, assets: Assets) -> Any:
    try:
        return task.build(config, assets)
    except InputError:
        raise
    except ValueError as error:  # of a layer, whose settings make no sense
        raise InputError(f"No model can be built with these settings: {error}") from error


# What a run that was ended before its first checkpoint leaves: it may be written over.
_BEFORE_TRAINING = {".lock", "config.yaml", "assets", "metrics.jsonl"}


def _new_folder(out: Path | None, recipe: str) -> Path:
    if out is None:
        out, number = Path("runs") / recipe, 1
        while out.exists():
            number += 1
            out = Path("runs") / f"{recipe}-{number}"
    elif (out / "report.json").exists():
        raise InputError(f"{out} holds a finished run; choose another --out.")
    elif (out / "checkpoints").exists():
        raise InputError(f"{out} holds an unfinished run: continue it with --resume {out}, or choose another --out.")
    elif out.is_dir() and {path.name for path in out.iterdir()} - _BEFORE_TRAINING:
        raise InputError(f"{out} holds other files; choose another --out.")
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose another --out.")
    return out


@contextmanager
def _sole_owner(out: Path) -> Iterator[None]:
    """Holds the run directory's lock; the system releases it even if this process is killed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another --out.") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another process is training in {out}: wait for it, or choose another --out.") from None
        yield
