"""Many trainings with other settings, each chosen by what the earlier ones gave: what `nlp-rnn sweep` does.

Optuna chooses (Akiba et al. 2019), by its tree-structured Parzen estimator, and keeps the study in a database that many
machines may share. Each training is a process of its own with a run directory.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nlp_rnn.config.sections import Settings, split_seed
from nlp_rnn.config.space import Between, Choice, Space, nested
from nlp_rnn.config.values import check_ranges, override, settings_of
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.metrics.trials import Sweep, Trial
from nlp_rnn.processes import TrainingFailed, refuse_standard_input, train_apart
from nlp_rnn.registry import get_task
from nlp_rnn.trainer import PATHS, at_own_pace, read_splits, with_absolute_paths

if TYPE_CHECKING:
    import optuna

    from nlp_rnn.tasks.base import AnyTask

Pruner = Literal["median", "hyperband", "none"]
_HEARD, _SILENT = 30.0, 600.0  # seconds from sign of life to sign of life, and after which a trial counts as lost
_OPENINGS = 4
_FAILURES = 3  # at the beginning, after which nothing is tried any more
_FOR_IMPORTANCE = 10  # finished trials


@dataclass(frozen=True)
class Plan:
    """What is swept, and how.

    Args:
        task: name of the task.
        settings: those of all trials but for what is varied.
        space: what is varied.
        recipe: name of the settings, for the reports.
        out: the folder of the runs.
        storage: URL of the database; None for a file in `out`.
        name: of the study in the database.
        pruner: by which rule trainings that look bad are ended.
    """

    task: str
    settings: Settings
    space: Space
    recipe: str
    out: Path
    storage: str | None = None
    name: str = "sweep"
    pruner: Pruner = "median"


def sweep(
    plan: Plan, trials: int, seconds: float | None = None, after: Callable[[Sweep], None] = lambda found: None
) -> Sweep:
    """Trains until the study has as many trials as are wanted, those of other processes and machines among them.

    Args:
        plan: what is swept.
        trials: how many the study shall have; failed ones do not count.
        seconds: after which no further trial is begun.
        after: called after each trial.

    Returns:
        All trials of the study.

    Raises:
        InputError: the folder or the database holds another study, or the first three trainings failed.
        Interrupted: a training was; the same call goes on with it.
    """
    task, began = get_task(plan.task), time.monotonic()
    check_ranges(plan.settings)
    refuse_standard_input(plan.settings, "sweep")
    plan = prepared(plan)
    study = _study(task, plan)
    while seconds is None or time.monotonic() - began < seconds:
        with _next(study, plan, trials) as trial:
            if trial is None:
                break
            _try(task, study, plan, trial)
        _stop_where_all_fail(study)
        after(_found(task, study))
    return _found(task, study)


def prepared(plan: Plan) -> Plan:
    """The plan with settings that mean the same everywhere: paths are absolute, and where the seed of training is
    varied, the same records are held out in all trials."""
    settings = with_absolute_paths(plan.settings)
    if "train.seed" in plan.space:
        settings = override(settings, {"data": {"seed": split_seed(settings)}})
    return replace(plan, settings=settings)


def _study(task: AnyTask, plan: Plan) -> optuna.Study:
    """Opens or begins the study.

    Raises:
        InputError: it is another one.
    """
    try:
        import optuna
        import sqlalchemy
    except ImportError:
        raise InputError('A sweep needs Optuna: pip install "nlp-rnn[sweep]".') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if plan.out.exists() and not plan.out.is_dir():
        raise InputError(f"{plan.out} is a file: give a folder with --out.")
    if (plan.out / "config.yaml").exists():
        raise InputError(f"{plan.out} holds a run: choose another --out.")
    data = {name: records.fingerprint() for name, records in read_splits(task, plan.settings).items()}
    plan.out.mkdir(parents=True, exist_ok=True)
    pruners: dict[Pruner, Any] = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
        "hyperband": optuna.pruners.HyperbandPruner(),
        "none": optuna.pruners.NopPruner(),
    }
    url = plan.storage or f"sqlite:///{plan.out.resolve() / 'study.db'}"
    for left in reversed(range(_OPENINGS)):
        try:
            study = optuna.create_study(
                storage=optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": _patience(url)}),
                study_name=plan.name,
                direction="minimize" if task.metric.lower_is_better else "maximize",
                pruner=pruners[plan.pruner],
                load_if_exists=True,
            )
            break
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:
            # Another process may be making the same tables.
            if left and isinstance(error, (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.OperationalError)):
                time.sleep(1)
                continue
            raise InputError(_why_closed(url, error)) from None
    _check_same(study, plan, data)
    # Several workers that began alike would try the same.
    study.sampler = optuna.samplers.TPESampler(seed=plan.settings.train.seed + len(study.trials))
    return study


def _why_closed(url: str, error: Exception) -> str:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
    driver = "pymysql, and write mysql+pymysql://…" if url.startswith("mysql") else "psycopg2-binary"
    remedy = f" Install the driver of the database, such as {driver}." if isinstance(error, ImportError) else ""
    return f"The study in {_without_password(url)} cannot be opened: {reason}.{remedy}"


def _patience(url: str) -> dict[str, Any]:
    return {"timeout": 60} if url.startswith("sqlite") else {}


def _without_password(url: str) -> str:
    import sqlalchemy

    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def _check_same(study: optuna.Study, plan: Plan, data: Mapping[str, str]) -> None:
    """A study goes on with the task, the settings, the space, the data and the pruner that it began with.

    Raises:
        InputError: they are others.
    """
    asked = {
        "task": plan.task,
        # Files may be elsewhere on another machine.
        "settings": {s.dotted: value for s, value in settings_of(plan.settings) if s.dotted not in PATHS},
        "space": {name: [type(one).__name__, *vars(one).values()] for name, one in plan.space.items()},
        "data": dict(data),
        "pruner": plan.pruner,
    }
    kept, asked = study.user_attrs.get("asked"), json.loads(json.dumps(asked))
    if kept is None:
        study.set_user_attr("asked", asked)
        return
    if differ := [key for key in asked if kept.get(key, asked[key]) != asked[key]]:
        where = "give another --out" if plan.storage is None else "give another --name"
        now, then = asked["settings"], kept.get("settings", {})
        names = ", ".join(name for name in now if then.get(name) != now[name]) if differ == ["settings"] else ""
        raise InputError(
            f"The study {plan.name} was begun with other {differ[0]}{f' ({names})' if names else ''}: {where}."
        )


# One trial.


@contextmanager
def _next(study: optuna.Study, plan: Plan, wanted: int) -> Iterator[optuna.Trial | None]:
    """A trial of this folder that was cut off, or a new one; None where there are enough. No other process has it
    meanwhile."""
    import optuna

    states = optuna.trial.TrialState
    for left in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
        if left.user_attrs.get("folder") == _place(plan, left.number):
            with _owner(plan, left.number) as is_ours:
                if is_ours:
                    yield optuna.Trial(study, left._trial_id)
                    return
        elif time.time() - left.user_attrs.get("heard", _began(left)) > _SILENT:
            study.tell(left.number, state=states.FAIL, skip_if_finished=True)
    if sum(trial.state != states.FAIL for trial in study.get_trials(deepcopy=False)) >= wanted:
        yield None
        return
    trial = study.ask()
    trial.set_user_attr("heard", time.time())
    with _owner(plan, trial.number):
        trial.set_user_attr("folder", _place(plan, trial.number))
        yield trial


def _began(trial: optuna.trial.FrozenTrial) -> float:
    return trial.datetime_start.timestamp() if trial.datetime_start else time.time()


def _place(plan: Plan, number: int) -> str:
    return f"{socket.gethostname()}:{_folder(plan, number).resolve()}"


def _folder(plan: Plan, number: int) -> Path:
    return plan.out / f"trial-{number}"


@contextmanager
def _owner(plan: Plan, number: int) -> Iterator[bool]:
    """Whether no other process has this trial; it is ours meanwhile."""
    with open(plan.out / f".trial-{number}.lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def suggested(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """What a trial shall try, by dotted name."""
    found: dict[str, Any] = {}
    for name, one in space.items():
        if isinstance(one, Choice):
            found[name] = trial.suggest_categorical(name, one.values)
        elif _is_whole(one):
            found[name] = trial.suggest_int(name, int(one.low), int(one.high), step=int(one.step or 1), log=one.log)
        else:
            found[name] = trial.suggest_float(name, one.low, one.high, step=one.step, log=one.log)
    return found


def _is_whole(one: Between) -> bool:
    return all(isinstance(number, int) for number in (one.low, one.high))


def _try(task: AnyTask, study: optuna.Study, plan: Plan, trial: optuna.Trial) -> None:
    """Trains with what is suggested, and tells the study what came of it."""
    from optuna.trial import TrialState

    folder, values = _folder(plan, trial.number), suggested(trial, plan.space)
    what = " ".join(f"{name.split('.')[-1]}={_short(value)}" for name, value in values.items())
    if (same := _same_as(study, trial)) is not None:
        study.tell(trial, same.value, state=same.state)
        console.print(f"Trial {trial.number}: {what}, as trial {same.number}: it is not trained again.")
        return
    console.print(f"Trial {trial.number}: {what} …")
    measured = _Measured(trial, folder, f"val_{task.metric.name}", plan.pruner != "none")
    try:
        settings = settings_of_trial(plan, values)
        finished = train_apart(plan.task, settings, plan.recipe, folder, measured.goes_on)
    except TrainingFailed as error:
        trial.set_user_attr("reason", str(error))
        study.tell(trial, state=TrialState.FAIL)
        console.warn(str(error))
        return
    if not finished:
        study.tell(trial, state=TrialState.PRUNED)
        shutil.rmtree(folder)
        console.print(f"Trial {trial.number} looked worse than the others after {measured.count} epochs: ended.")
        return
    measured.report()
    value = json.loads((folder / "report.json").read_text(encoding="utf-8"))["metrics"]["validation"][task.metric.name]
    study.tell(trial, value)
    console.print(f"Trial {trial.number}: {task.metric.name} {value:.4g}; the best so far {study.best_value:.4g}.")


def _same_as(study: optuna.Study, trial: optuna.Trial) -> optuna.trial.FrozenTrial | None:
    """An earlier trial with the same settings, which would give the same."""
    from optuna.trial import TrialState

    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if other.params == trial.params and other.number != trial.number:
            return other
    return None


def settings_of_trial(plan: Plan, values: Mapping[str, Any]) -> Settings:
    """The settings of all trials with those of one, by dotted name."""
    return override(plan.settings, at_own_pace(nested(values)))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Measured:
    """Tells the study what the epochs of a training give, and asks it whether to go on."""

    def __init__(self, trial: optuna.Trial, folder: Path, name: str, prunes: bool) -> None:
        self.trial, self.path, self.name, self.prunes = trial, folder / "metrics.jsonl", name, prunes
        known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        self.count = len(known)  # of a trial that was cut off
        self.heard = 0.0

    def report(self) -> bool:
        """Reports new epochs; → whether there were any."""
        lines = self.path.read_text(encoding="utf-8").split("\n")[:-1] if self.path.exists() else []
        new = lines[self.count :]
        for line in new:
            self.count += 1
            self.trial.report(float(json.loads(line)[self.name]), self.count)
        return bool(new)

    def goes_on(self) -> bool:
        """Whether the training shall go on."""
        if time.monotonic() - self.heard > _HEARD:
            self.heard = time.monotonic()
            self.trial.set_user_attr("heard", time.time())
        return not (self.report() and self.prunes and self.trial.should_prune())


def _stop_where_all_fail(study: optuna.Study) -> None:
    """Raises InputError: the first trainings all failed."""
    from optuna.trial import TrialState

    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    if len(ended) >= _FAILURES and all(trial.state == TrialState.FAIL for trial in ended):
        reason = ended[-1].user_attrs.get("reason", "they were lost.")
        raise InputError(f"The first {len(ended)} trials all failed. The last: {reason}")


# What was found.


def _found(task: AnyTask, study: optuna.Study) -> Sweep:
    """A study as plain values."""
    states = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    trials = []
    for one in study.get_trials(deepcopy=False):
        values = one.intermediate_values
        trials.append(
            Trial(
                one.number,
                states.get(one.state.name, "running"),
                dict(one.params),
                one.value if one.value is not None else values[max(values)] if values else None,
                len(values),
                one.duration.total_seconds() if one.duration else None,
                one.user_attrs.get("reason", ""),
            )
        )
    metric = task.metric
    return Sweep(task.name, metric.name, metric.lower_is_better, trials, _importance(study, trials))


def _importance(study: optuna.Study, trials: list[Trial]) -> dict[str, float]:
    import optuna

    finished = [trial for trial in trials if trial.state == "finished"]
    if len(finished) < _FOR_IMPORTANCE or len({trial.value for trial in finished}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
