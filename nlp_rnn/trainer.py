"""Training from Python: what the verb `train` calls too."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.assets import Assets
from nlp_rnn.config.recipes import load_recipe
from nlp_rnn.config.sections import S, Settings, refuse_idle
from nlp_rnn.config.space import dotted
from nlp_rnn.config.values import check_ranges, override, read_yaml, settings_of
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.machine import total_memory
from nlp_rnn.registry import get_task
from nlp_rnn.training.folders import new_folder, sole_owner

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import AnyTask, Metrics
    from nlp_rnn.training.fit import Plan


_QUICK_RECORDS, _FEW_VALIDATION, _FEW_RECORDS = 300, 100, 10


def train(
    task: str,
    recipe: str = "starter",
    out: str | Path | None = None,
    config: str | Path | None = None,
    **sections: Any,
) -> AnyRun:
    """Trains a model.

    Args:
        task: name of the task.
        recipe: name of the settings to begin with.
        out: the run directory; by default `runs/<recipe>`, then `-2`, `-3`.
        config: a YAML file of settings that go before the recipe's.
        **sections: settings that go before both, such as `train={"epochs": 3}`; `data` may be data in memory too, or
            hold them: a list of dicts, a data set of `datasets`, a frame of pandas or polars.

    Returns:
        The finished run.

    Raises:
        InputError: data or settings are wrong; the message says what to do.

    Example:

        run = nlp_rnn.train("sentiment", recipe="starter", train={"epochs": 2})
        run.metrics["accuracy"]
    """
    settings = given_settings(task, recipe, config, sections)
    if settings.train.init_from or settings.train.teacher:
        from nlp_rnn.transfer import begun

        settings = begun(settings, [*dotted(sections), *dotted(read_yaml(config) if config else {})])
    return train_with(task, settings, out, recipe)


def train_with(task: str, settings: Settings, out: str | Path | None, recipe: str) -> AnyRun:
    """Trains with finished settings in a new run directory."""
    check_ranges(settings)
    from nlp_rnn.training.devices import is_chief

    given = Path(out) if out is not None else None
    folder = new_folder(given, recipe) if is_chief() else given or Path(recipe)  # only the chief writes there
    return _train_in(folder, get_task(task), settings, recipe, resuming=False)


def resume(
    path: str | Path, task: str | None = None, data: Mapping[str, object] | None = None, teacher: str = ""
) -> AnyRun:
    """Continues an interrupted run from its newest checkpoint, ending as if it had never stopped; one that has none yet
    begins anew.

    Args:
        path: the run directory.
        task: the task that it must be of, if that matters.
        data: where the data are now, such as `{"train": "moved.csv"}`; their contents must be the same.
        teacher: where `train.teacher` is now.

    Raises:
        InputError: there is nothing to continue, or the data or the settings have changed.
    """
    path = Path(path)
    from nlp_rnn.saved import read_settings

    found, settings = read_settings(path, task)
    if (path / "report.json").exists():
        raise InputError(f"{path} is finished; train again with another --out, or fine-tune it in a notebook.")
    if data:
        from nlp_rnn.data.memory import data_settings

        settings = override(settings, {"data": data_settings(data)})
    if teacher and not settings.train.teacher:
        raise InputError(f"{path} began without a teacher: leave --train.teacher out.")
    if settings.train.teacher:
        settings = override(settings, {"train": {"teacher": teacher or settings.train.teacher}})
        read_settings(Path(settings.train.teacher))  # before anything else: is it there?
    return _train_in(path, found, settings, path.name, resuming=True)


def given_settings(
    task: str, recipe: str, config: str | Path | None, sections: Mapping[str, object], cells: Sequence[str] = ()
) -> Settings:
    """The settings that Python gives; data in memory are kept in files, and those that do nothing are refused.

    Args:
        task: name of the task.
        recipe: name of the settings to begin with.
        config: a YAML file of settings that go before the recipe's.
        sections: settings that go before both.
        cells: those that will be trained, where they are several.

    Raises:
        InputError: they are wrong.
    """
    if "data" in sections:
        from nlp_rnn.data.memory import data_settings

        sections = {**sections, "data": data_settings(sections["data"])}
    settings = override(settings_for(task, recipe, config), at_own_pace(sections))
    check_ranges(settings)
    refuse_idle(settings, dotted(sections), cells)
    return settings


def settings_for(task: str, recipe: str, config: str | Path | None = None) -> Settings:
    """The task's settings: defaults, then the recipe, then the file."""
    found = get_task(task)
    settings = found.Config()
    layers = {"recipe": load_recipe(found.resources, task, recipe)} | ({"file": read_yaml(config)} if config else {})
    for layer, values in layers.items():
        for name in ("format", "assets", "begun_with"):  # of a run, whose config.yaml is given
            values.pop(name, None)
        if values.pop("task", task) != task:
            raise InputError(f'{config} contains settings of another task than "{task}".')
        settings = override(settings, values if layer == "recipe" else at_own_pace(values))
    return settings


def at_own_pace(sections: Mapping[str, object]) -> dict[str, Any]:
    """Settings that override a recipe's: where they say how many epochs or passes, its steps do not count."""
    train = sections.get("train")
    if not isinstance(train, Mapping) or {"epochs", "passes"}.isdisjoint(train) or "steps" in train:
        return dict(sections)
    return {**sections, "train": {**train, "steps": 0}}


def _train_in(out: Path, task: AnyTask, config: Settings, recipe: str, resuming: bool) -> AnyRun:
    """The whole of training: data, assets, batches, model, fit, measure, report."""
    from nlp_rnn.transfer import with_its_assets

    started = time.perf_counter()
    console.begin()
    config = with_absolute_paths(config)
    # Mistakes in names are seen before TensorFlow is imported, where it may be imported by then.
    splits = None if _decides_how_tensorflow_starts(config) else read_splits(task, config)
    config, strategy = prepare_machine(config)
    splits = splits or read_splits(task, config)
    import keras

    from nlp_rnn.report import write_report
    from nlp_rnn.run import Run
    from nlp_rnn.saved import begun_with_assets, load_assets
    from nlp_rnn.training import checkpoints
    from nlp_rnn.training.fit import fit
    from nlp_rnn.training.workers import own_folder

    with own_folder(out, resuming) as out, sole_owner(out):
        checkpoints.sweep(out)
        begins = not any((out / "checkpoints").glob("step-*"))
        keras.utils.set_random_seed(config.train.seed)
        if resuming and begun_with_assets(out) == Assets.fingerprint(out / "assets"):
            assets = load_assets(out)
        else:  # a new run, or one that was ended while what it had learned after training was added to them
            assets = with_its_assets(config, task.assets(config, splits["train"]))
        config, batches = batches_for(task, config, assets, splits)
        with strategy.scope() if strategy else nullcontext():
            model = built(task, config, assets)
        if begins:
            _begin(task, config, model, assets, batches["train"])
        run = Run(task, config, assets, model, out)
        if not resuming:
            run.save_settings(out)
        _describe(model, batches["train"], strategy)
        plan = _plan(run, splits, batches["train"])
        fitted = fit(model, plan, resuming)
        if fitted.best_epoch == config.train.epochs > 1 and config.data.train != ("starter",):
            console.print("The last epoch was the best: more may help (--train.epochs).")
        results = _measured(run, splits)
        run.save(out)
        seconds = time.perf_counter() - started
        write_report(run, splits, batches["train"], fitted, results, plan.fingerprints, recipe, seconds)
    return run


def _begin(task: AnyTask, config: Settings, model: keras.Model, assets: Assets, batches: EpochSource) -> None:
    """What a model is given before it is trained."""
    from nlp_rnn.transfer import take_weights

    if config.train.init_from:
        console.print(take_weights(config, model, assets))
    if task.prepare and (note := task.prepare(config, model, getattr(batches, "source", batches))):
        console.print(note)


def _measured(run: AnyRun, splits: Mapping[str, Records]) -> dict[str, Metrics]:
    """The metrics of each split but the training data; calibrates the model, and warns of one that has learned
    nothing."""
    honest = run.calibrate(splits["validation"])
    predictions, metrics = run.predict_and_measure(splits["validation"])
    results = {"validation": honest or metrics}
    outcome = run.task.outcome
    said = {outcome(prediction) for prediction in predictions} if outcome else set()
    if len(said) == 1 and len(predictions) >= _FEW_RECORDS:
        answer = next(iter(said)) or "nothing"
        console.warn(
            f"The model says the same of all {len(predictions):,} validation records ({answer}): it has not learned "
            f"the task. Train longer (--train.epochs), on more data, or with another --train.learning_rate."
        )
    for name in ("test",) if "test" in splits else ():
        results[name] = run.evaluate(splits[name])
    return results


# Settings that name files or folders.
PATHS = (
    *("data.train", "data.validation", "data.test"),
    *("embedding.vectors", "tokenizer.vocabulary", "train.init_from", "train.init_backward", "train.teacher"),
    *("embedding.states", "embedding.states_backward"),
)
# What may be other when a run is resumed: how long it trains, and what depends on where it runs.
_CHANGEABLE = (
    *("train.epochs", "train.patience", "train.checkpoint_seconds", "train.devices", "train.jit"),
    *(*PATHS, "data.format"),
)


def with_absolute_paths(config: S) -> S:
    """Files by absolute paths, so that a run can be resumed from another folder."""
    for setting, value in list(settings_of(config)):
        if setting.dotted in PATHS:
            places = [_absolute(place) for place in (value if isinstance(value, tuple) else (value,))]
            section = {setting.name: places if isinstance(value, tuple) else places[0]}
            config = override(config, {setting.section.rstrip("."): section})
    return config


def _absolute(place: str) -> str:
    is_file = place not in ("", "starter", "-") and os.path.exists(place)
    return os.path.abspath(place) if is_file else place


def _decides_how_tensorflow_starts(config: Settings) -> bool:
    return config.train.jit == "on" or "," in config.train.devices or "TF_CONFIG" in os.environ


def prepare_machine(config: S) -> tuple[S, tf.distribute.Strategy | None]:
    """Starts TensorFlow: → the configuration with the precision that it means here, and the strategy of its devices."""
    from nlp_rnn.startup import import_tensorflow, keep_what_xla_compiles
    from nlp_rnn.training.devices import is_chief, strategy_for

    if config.train.jit == "on":
        keep_what_xla_compiles()
    import_tensorflow()
    console.quiet = not is_chief()
    # A run keeps the precision that it began with, wherever it is taken.
    config = override(config, {"train": {"precision": config.train.dtype_policy}})
    if _is_quick():
        console.warn("NLP_RNN_QUICK is set: one epoch over few records.")
        config = override(config, {"train": {"epochs": 1, "steps": 0, "passes": 1}})
    return config, strategy_for(config.train)


def read_splits(task: AnyTask, config: Settings) -> dict[str, Records]:
    """The records of each split that there is."""
    found = {name: task.read(config, name) for name in ("train", "validation", "test")}
    splits = {name: records for name, records in found.items() if records is not None}
    if not _is_quick():
        return splits
    return {name: records.select(range(min(len(records), _QUICK_RECORDS))) for name, records in splits.items()}


def _is_quick() -> bool:
    """Whether `NLP_RNN_QUICK` asks for one epoch over few records, to see whether something runs at all."""
    return os.environ.get("NLP_RNN_QUICK", "0") not in ("", "0")


def batches_for(
    task: AnyTask, config: S, assets: Assets, splits: Mapping[str, Records]
) -> tuple[S, dict[str, EpochSource]]:
    """The batches of each split, and the configuration with what follows from the data; says what the data are."""
    from nlp_rnn.data.repeated import Repeated
    from nlp_rnn.data.summary import data_table, overlap_notes, split_sizes, vocabulary_notes
    from nlp_rnn.training.pace import pace_note, paced

    if "validation" not in splits:
        remedy = "hold some out with --data.validation_fraction above 0"
        if config.data.validation_fraction > 0:
            remedy = f"{len(splits['train']):,} training records are too few to hold some out of"
        raise InputError(f"There is no validation data: give some with --data.validation; {remedy}.")
    config, note = task.settle(config, assets, splits["train"])
    vocabularies = vocabulary_notes(assets, getattr(config, "tokenizer", None))
    overlaps = overlap_notes(splits, task.input.name) if task.outcome is not None else []
    for line in filter(None, [*assets.notes, *vocabularies, note, *overlaps]):
        console.print(line)
    batches = {name: task.batches(config, assets, records, config.train.seed) for name, records in splits.items()}
    count = max(len(splits["validation"]), len(getattr(batches["validation"], "lengths", ())))
    if count < _FEW_VALIDATION:
        choose = "1 validation record chooses" if count == 1 else f"{count} validation records choose"
        console.warn(f"Only {choose} the best epoch: results will be noisy.")
    sizes = {name: split_sizes(records, batches[name], task.count) for name, records in splits.items()}
    console.print(data_table(sizes, task.unit, splits["train"].noun))
    steps = batches["train"].steps_per_epoch
    train = paced(config.train, steps)
    if pace := pace_note(config.train, train, steps):
        console.print(pace)
    if train.passes > 1:
        batches["train"] = Repeated(batches["train"], train.passes)
    return replace(config, train=train), batches


def built(task: AnyTask, config: Settings, assets: Assets) -> keras.Model:
    """The model that the settings describe; settings that make no sense are an `InputError`."""
    memory = total_memory()
    for setting, value in settings_of(config):
        needed = 16 * value**2 if setting.name == "units" else 0  # the recurrent kernel of an LSTM
        if memory and needed > memory:
            raise InputError(
                f"{setting.dotted} is {value:,}: its weights alone take {needed / 1e9:,.0f} GB, and this machine has "
                f"{memory / 1e9:,.0f} GB."
            )
    try:
        return task.build(config, assets)
    except InputError:
        raise
    except ValueError as error:  # of a layer, whose settings make no sense
        raise InputError(f"No model can be built with these settings: {error}") from error


def _describe(model: keras.Model, batches: EpochSource, strategy: tf.distribute.Strategy | None) -> None:
    from nlp_rnn.training.devices import describe_kernels

    kernels = "; ".join(sorted(set(describe_kernels(model).values())))
    kernels += f" · {strategy.num_replicas_in_sync} devices" if strategy else ""
    console.print(f"{model.count_params():,} parameters · padding {batches.padding:.1%} · kernel {kernels}")


def _plan(run: AnyRun, splits: Mapping[str, Records], batches: EpochSource) -> Plan:
    from nlp_rnn.saved import begun_with_assets
    from nlp_rnn.training.fit import Plan
    from nlp_rnn.transfer import begin_lessons

    assert run.path is not None
    names = {"train": "training data", "validation": "validation data", "test": "test data"}
    fingerprints = {names[split]: records.fingerprint() for split, records in splits.items()}
    fingerprints["vocabulary"] = begun_with_assets(run.path)
    fingerprints |= begin_lessons(run.config, run.model, run.path / "assets", batches, fingerprints["training data"])
    settings = {setting.dotted: value for setting, value in settings_of(run.config)}
    return Plan(
        run.task.loss(run.config),
        run.config.train,
        batches,
        lambda: run.evaluate(splits["validation"]),
        run.task.metric,
        run.task.unit,
        run.path,
        fingerprints,
        settings,
        _CHANGEABLE,
    )
