"""Several runs as one: an ensemble is a run, with which everything can be done that can be done with a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.config.sections import split_seed
from nlp_rnn.config.values import to_dict
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.run import Run, load
from nlp_rnn.saved import begun_with_assets, weights_digest
from nlp_rnn.transfer import differing, reads_backwards

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun
    from nlp_rnn.tasks.base import Metrics


def ensemble(members: Sequence[str | Path], out: str | Path, task: str | None = None) -> AnyRun:
    """Joins runs of one task to a run that says the mean of what they say, and measures it.

    Classifiers, language models, translators and recognizers mean their probabilities at each step, taggers the scores
    of their chains, forecasters their quantiles. What is calibrated on validation data is calibrated anew. N-grams
    count once, as the mean of those of the members, with a weight that is fitted anew.

    Args:
        members: run directories. They must have the same vocabularies and labels, as runs that differ in
            `train.seed` have, where `data.seed` is given. The first says what is measured on, and what the settings of
            the new run are. Of an ensemble the members are taken.
        out: where the run is written.
        task: the task that they must be of, if that matters.

    Returns:
        The run. Its `report["members"]` has the metrics of each member.

    Raises:
        InputError: they do not fit together.

    Example:

        run = nlp_rnn.ensemble(["runs/a", "runs/b", "runs/c"], "runs/abc")
        run.metrics["accuracy"], [member["metrics"] for member in run.report["members"]]
    """
    started = time.perf_counter()
    runs = _fitting([load(path, task) for path in members])
    first, out = runs[0], Path(out)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out} exists; choose another --out.")
    splits = _splits(runs)
    from nlp_rnn.models.ensemble import ensemble_of

    try:
        model = ensemble_of([run.model for run in runs])
    except ValueError as error:
        raise InputError(f"These runs cannot be joined: {error}.") from error
    joined = Run(first.task, first.config, first.assets, model)
    honest = joined.calibrate(splits["validation"]) if "validation" in splits else None
    results = {name: joined.evaluate(records) for name, records in splits.items()}
    if honest is not None:
        results["validation"] = honest
    of_members = [member for run in runs for member in _members_of(run, splits, first)]
    joined.report = _report(runs, joined, results, splits, of_members, time.perf_counter() - started)
    joined.save(out)
    return joined


def _fitting(runs: Sequence[AnyRun]) -> Sequence[AnyRun]:
    """Runs that can be joined.

    Raises:
        InputError: they cannot.
    """
    if len(runs) < 2:
        raise InputError("An ensemble needs two runs or more.")
    first = runs[0]
    for run in runs[1:]:
        if run.task.name != first.task.name:
            raise InputError(
                f"{run.path} is of the task {run.task.name} and {first.path} of {first.task.name}: give runs of one "
                f"task."
            )
        assert run.path is not None
        assert first.path is not None
        if others := differing(run.path / "assets", first.path / "assets", (_assets_of(run), _assets_of(first))):
            raise InputError(
                f"{run.path} and {first.path} cannot be joined: {others}. Train the members on the same records, such "
                f"as with --data.seed 0 beside other values of --train.seed."
            )
        if reads_backwards(run.config) != reads_backwards(first.config):
            raise InputError(f"{run.path} and {first.path} read in opposite directions (data.backward).")
    seen: dict[str, Any] = {}
    for run in runs:
        inside = [member.get("weights") for member in run.report.get("members", ())]
        for digest in {*inside, weights_digest(run.model)} - {None}:
            if digest in seen:
                raise InputError(f"{seen[digest]} and {run.path} have the same weights: leave one of them out.")
            seen[digest] = run.path
    return runs


def _members_of(run: AnyRun, splits: Mapping[str, Records], first: AnyRun) -> list[dict[str, Any]]:
    """What the report says of a member, or of the members of one that is an ensemble. Figures that its own report has
    of other records are measured anew."""
    assert run.path is not None
    if "members" in run.report:
        return list(run.report["members"])
    metrics = run.report.get("metrics", {})
    if (to_dict(run.config.data), split_seed(run.config)) != (to_dict(first.config.data), split_seed(first.config)):
        metrics = {name: run.evaluate(records) for name, records in splits.items()}
    return [{"run": str(run.path.resolve()), "metrics": metrics, "weights": weights_digest(run.model)}]


def _assets_of(run: AnyRun) -> str:
    """A digest of what the run's vocabularies were before anything was calibrated."""
    assert run.path is not None
    return str(run.report.get("assets") or begun_with_assets(run.path))


def _splits(runs: Sequence[AnyRun]) -> dict[str, Records]:
    """Records that no member was trained on."""
    first = runs[0]
    same = len({run.report.get("fingerprint") for run in runs}) == 1
    try:
        found = {name: first.task.read(first.config, name) for name in ("validation", "test")}
    except InputError as error:
        if first.task.calibrate is not None:  # what is usual cannot be learned anew
            raise
        console.warn(f"The data of {first.path} cannot be read, so that nothing is measured or calibrated: {error}")
        return {}
    if not same:
        found = {name: found[name] for name in found if getattr(first.config.data, name)}
        console.warn(
            "The members were trained on different records, so that parts that one of them held out were seen by "
            "others: only data that are given as --data.validation or --data.test are measured on."
        )
    splits = {name: records for name, records in found.items() if records is not None}
    if first.task.calibrate is not None and "validation" not in splits:
        raise InputError(
            f"There are no validation data that no member was trained on, from which the task {first.task.name} learns "
            f"what is usual: train the members with --data.seed 0."
        )
    return splits


def _report(
    runs: Sequence[AnyRun],
    joined: AnyRun,
    results: Mapping[str, Metrics],
    splits: Mapping[str, Records],
    members: list[dict[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    """That of the first member, where it holds for all; the rest is the ensemble's."""
    first = runs[0].report
    kept = ("task", "fingerprint", "device", "versions", "assets", "padding")
    records = {"train": first.get("records", {}).get("train", 0)}
    return {
        **{name: first[name] for name in kept if name in first},
        "recipe": "ensemble",
        "members": members,
        "metrics": dict(results),
        "parameters": joined.model.count_params(),
        "records": {**records, **{name: len(some) for name, some in splits.items()}},
        "training_seconds": round(sum(run.report.get("training_seconds", 0.0) for run in runs), 2),
        "seconds": round(seconds, 2),
        "weights": weights_digest(joined.model),
    }
