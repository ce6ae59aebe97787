"""The contract of a task: a name, a configuration, and plain functions in the order in which data flows.

TensorFlow and Keras are imported inside the functions, so that `--help` need not load them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from nlp_rnn.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from _typeshed import DataclassInstance

    from nlp_rnn.assets import Assets
    from nlp_rnn.config.sections import Settings
    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.data.records import Records
    from nlp_rnn.export.signatures import Signature
    from nlp_rnn.run import AnyRun, Run
    from nlp_rnn.tasks.inputs import Input

C = TypeVar("C", bound="Settings")
P = TypeVar("P")
O = TypeVar("O", bound="DataclassInstance")  # noqa: E741
Features: TypeAlias = dict[str, Any]
"""Tensors of a batch by name."""
Outputs: TypeAlias = dict[str, Any]
"""What a model gives for each record, by name: arrays `[records, …]`, or lists of an array each."""
Metrics: TypeAlias = dict[str, Any]
"""Results by name: numbers, and for those of each label a dict of numbers."""

Signatures: TypeAlias = "Mapping[str, Signature | tf.types.experimental.PolymorphicFunction]"
"""The functions of a SavedModel by name; `serving_default` is one of them."""


@dataclass(frozen=True)
class Metric:
    """The metric that decides which weights are best, and when training stops.

    Args:
        name: as `evaluate` has it.
        lower_is_better: whether less of it is better.
        tie: another metric, of which less is better: it decides between equal ones. Without it the loss of training
            does.
    """

    name: str
    lower_is_better: bool = False
    tie: str = ""


@dataclass(frozen=True)
class NoOptions:
    """Nothing can be changed after training."""


class Shown(Protocol):
    """What a command shows; `__rich__`, where there is one, shows it in colour on a terminal."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""

    def __str__(self) -> str:
        """Lines for a person."""


@dataclass(frozen=True)
class Command(Generic[O]):
    """A verb of a task beside those of all tasks. `--json` and the run are added to its options.

    Args:
        name: the verb.
        help: what it does, in one sentence.
        Options: a dataclass of its options.
        results: (run, options) → what is shown, one after the other.
    """

    name: str
    help: str
    Options: type[O]
    results: Callable[[AnyRun, O], Iterable[Shown]]


def refuse_other_models(run: AnyRun, fits: bool, verb: str, needs: str) -> None:
    """A function of one kind of model must get a run of that kind.

    Args:
        run: what it got.
        fits: whether its model is of that kind.
        verb: the function, for the message.
        needs: what it needs, for the message.

    Raises:
        InputError: it is not.
    """
    if not fits:
        raise InputError(f"{verb} needs {needs}; this run is of the task {run.task.name}.")


def labels_of(records: Records) -> Counter[str]:
    """How often each label occurs, where the records have a "label"."""
    has_labels = len(records) and "label" in records[0]
    return Counter(records.column("label") if has_labels else ())


def infer_logits(model: keras.Model, features: Features, options: object) -> Outputs:
    """What a model has as `infer(features)`, or else its logits."""
    return model.infer(features) if hasattr(model, "infer") else {"logits": model(features, training=False)}


def settled(config: C, assets: Assets, records: Records) -> tuple[C, str]:
    """For a task whose settings do not depend on the data."""
    return config, ""


def changed_options(task: AnyTask, config: Settings, changes: Mapping[str, object]) -> Any:
    """What may be changed after training, as the configuration has it but for the changes.

    Raises:
        InputError: there is no such option, or it is out of range.
    """
    from nlp_rnn.config.values import check_ranges

    options = task.options(config)
    known = [field.name for field in fields(options)]
    if unknown := [name for name in changes if name not in known]:
        near = did_you_mean(unknown[0], known) if known else ""
        raise InputError(f'The task {task.name} has no option "{unknown[0]}" that may be changed after training.{near}')
    try:
        options = replace(options, **changes)
        check_ranges(options)
    except TypeError as error:
        raise InputError(f"An option of {task.name} has a value of another kind: {error}.") from None
    return options


def no_options(config: Settings) -> NoOptions:
    """For a task in which nothing can be changed after training."""
    return NoOptions()


class Asked(NamedTuple):
    """What a served model was asked.

    Attributes:
        record: with the input.
        config: the settings that the model was trained with.
    """

    record: Mapping[str, Any]
    config: Any


@dataclass(frozen=True)
class Answers(Generic[P]):
    """How predictions are made of what a model answers that is served elsewhere.

    Args:
        signature: the one to ask.
        prediction: (a row of its outputs by name, as plain values; options; what was asked) → a prediction.
        takes_options: whether it heeds the options; else the server's hold.
        arguments: (inputs, what the model says of itself) → the arguments of the signature, where the input alone does
            not tell them; None where the model does not say enough.
    """

    signature: str
    prediction: Callable[[dict[str, Any], Any, Asked], P]
    takes_options: bool = False
    arguments: Callable[[Sequence[Any], Mapping[str, Any]], dict[str, Any] | None] | None = None


@dataclass(frozen=True)
class Task(Generic[C, P, O]):
    """A task, in the order in which data flows through it.

    Args:
        name: as on the command line.
        Config: dataclass of its settings; sections of `nlp_rnn.config.sections`.
        Prediction: dataclass of one result; its field names are the keys of `--json` and the columns of tables.
        input: how one input looks.
        metric: what decides which epoch is best; the first of what `evaluate` returns.
        read: (config, split) → records, or None where there is no such split. The splits are "train", "validation",
            "test" and "predict", whose records need no labels.
        assets: (config, training records) → what stands between raw input and tensors.
        batches: (config, assets, records, seed) → batches; a seed of None keeps an order fit for prediction.
        build: (config, assets) → the model.
        loss: config → a Keras loss, or None where the model's own `compute_loss` knows.
        decode: (outputs, records, assets, options) → a prediction for each record. A prediction that stands for several
            results has them as `ranked`.
        evaluate: (records, predictions, outputs, assets) → metrics.
        signatures: (config, model, assets) → `Signature`s of the SavedModel, or `tf.function`s, by name.
        answers: how predictions are made of what a served model answers.
        settle: (config, assets, training records) → the config with what follows from the data where it is not given,
            and a sentence that says so.
        outcome: prediction → what it says, so that a model that says the same of all records is noticed.
        fits: (model, assets) → whether a model that was loaded belongs to the assets.
        unit: what the steps of its sequences are called: "tokens", "frames", "steps".
        resources: the package that holds its `recipes/` and its `starter/` corpus; empty for none.
        infer: (model, features of a batch, options) → outputs of that batch.
        Options: dataclass of what may be changed after training, such as the width of a search; `predict`,
            `evaluate` and Python take it.
        options: config → its values for a run.
        count: records → how often each label occurs, for the table of the data; by default those of the field "label".
        show: (prediction, record or None) → a line for a person; with a record, whether it was right.
        errors: (records, predictions, count) → lines on the mistakes that matter most.
        confidences: (labelled records, predictions) → how sure each thing that was predicted is, and whether it is
            right.
        picture: (run, input, options) → something with `plot()` and `str`, for `predict --plot`. The input is an
            argument, or the records that were read where `goes_on`.
        commands: further verbs.
        synonyms: other names of `predict` that users know: name → what it does.
        predicts_lines: whether predictions are lines of text, so that `predict --output` may be any file.
        goes_on: whether `predict` without inputs goes on from the end of the run's own data.
        example: assets → an input that fits a run with these; by default that of `input`.
        calibrate: (run, validation records) → metrics or None, where something must be learned after training, other
            than what the model's own `calibrate` learns.
        prepare: (config, model, training batches) → what is worth saying, where the model learns something of the
            training data before the training itself.
        modules: names of modules that the script for other runtimes, `plain.py` among the resources, imports: they are
            put beside it.
        also: another task that is meant on the command line where its settings, one of its recipes or one of its runs
            are named.
        baselines: (config, training records, test records) → the metric of simple methods, by name, for comparisons.
        remarks: metrics → sentences on what they mean, such as that a simple method does better.
    """

    name: str
    Config: type[C]
    Prediction: type[P]
    input: Input
    metric: Metric
    read: Callable[[C, str], Records | None]
    assets: Callable[[C, Records], Assets]
    batches: Callable[[C, Assets, Records, int | None], EpochSource]
    build: Callable[[C, Assets], keras.Model]
    loss: Callable[[C], keras.losses.Loss | None]
    decode: Callable[[Outputs, Records, Assets, O], Sequence[Any]]
    evaluate: Callable[[Records, Sequence[P], Outputs, Assets], Metrics]
    signatures: Callable[[C, keras.Model, Assets], Signatures]
    answers: Answers[P] | None = None
    settle: Callable[[C, Assets, Records], tuple[C, str]] = settled
    outcome: Callable[[P], Hashable] | None = None
    fits: Callable[[Any, Assets], bool] | None = None
    unit: str = "tokens"
    resources: str = ""
    infer: Callable[[Any, Features, O], Outputs] = infer_logits
    Options: type[O] = NoOptions  # type: ignore[assignment]
    options: Callable[[C], O] = no_options  # type: ignore[assignment]
    count: Callable[[Records], Counter[str]] = labels_of
    show: Callable[[P, dict[str, Any] | None], str] = lambda prediction, record: str(prediction)
    errors: Callable[[Records, Sequence[P], int], list[str]] | None = None
    confidences: Callable[[Records, Sequence[P]], tuple[Sequence[float], Sequence[bool]]] | None = None
    picture: Callable[[Run[C, P, O], Any, O], Any] | None = None
    commands: tuple[Command[Any], ...] = ()
    synonyms: Mapping[str, str] | None = None
    predicts_lines: bool = False
    goes_on: bool = False
    example: Callable[[Assets], Any] | None = None
    calibrate: Callable[[Run[C, P, O], Records], Metrics | None] | None = None
    prepare: Callable[[C, Any, EpochSource], str] | None = None
    modules: tuple[str, ...] = ()
    also: str = ""
    baselines: Callable[[C, Records, Records], Mapping[str, float]] = lambda config, train, test: {}
    remarks: Callable[[Metrics], list[str]] = lambda metrics: []

    def example_for(self, assets: Assets) -> Any:
        """An input that fits a run with these assets."""
        return self.input.example if self.example is None else self.example(assets)


AnyTask: TypeAlias = Task[Any, Any, Any]
