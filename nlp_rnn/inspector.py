"""A run looked at from all sides, for `nlp-rnn inspect`: inside its layers, its confidences, its errors, its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.analysis.observation import (
    Observed,
    attention_of,
    gate_use,
    head_use,
    memory_of,
    observe,
    states_of,
    unit_use,
)
from nlp_rnn.errors import InputError
from nlp_rnn.metrics.classification import softmax
from nlp_rnn.metrics.inspection import Doubt, Doubts, Inspection, confident_disagreements
from nlp_rnn.run import Run
from nlp_rnn.trainer import built

if TYPE_CHECKING:
    from nlp_rnn.data.records import Records
    from nlp_rnn.run import AnyRun

_HARDEST, _NEIGHBOURS, _DOUBTS = 15, 5, 50
_BINS = 15  # as in the expected calibration error of `evaluate`
_SPECIAL, _FREQUENT, _SHOWN = 4, 12, 60


def inspect(run: AnyRun, records: Records, source: str, folds: int = 0) -> Inspection:
    """Looks at a run.

    Args:
        run: any that has a `stack`.
        records: labelled ones, to look with.
        source: what they are.
        folds: of a cross-validation on the training data, which finds labels that are likely wrong; 0 for none.

    Raises:
        InputError: the model has no stack, or labels cannot be looked for.
    """
    task = run.task
    if members := run.report.get("members"):
        raise InputError(f"{run.path} is an ensemble: inspect its members, such as {members[0]['run']}.")
    if not hasattr(getattr(run.model, "stack", None), "run"):
        raise InputError(f"The model of the task {task.name} has no stack of layers to look into.")
    found = observe(run, records)
    names = ["input", *(f"layer {number + 1}" for number in range(len(found.levels)))][: len(found.reach) - 1]
    outputs = run.infer(records)
    predictions = task.decode(outputs, records, run.assets, run.options())
    row = int(np.argsort(found.lengths)[len(found.lengths) // 2])
    unit, lengths = _lengths(run, records, found)
    looked = f"{_counted(len(records), 'record')}: {source}; into the layers with {_counted(len(found.lengths), 'row')}"
    return Inspection(
        task=task.name,
        cell=run.config.stack.cell,
        unit=unit,
        records=looked,
        lengths=lengths,
        reach={name: _relative(reach) for name, reach in zip(names, found.reach, strict=False)},
        memory={name: memory_of(reach) for name, reach in zip(names, found.reach, strict=False)},
        gates=gate_use(found),
        units=unit_use(found),
        states=states_of(found, row).tolist(),
        steps=_steps_of(run, found, row),
        heads=head_use(found),
        attention_by_head=attention_of(found, row, _SHOWN),
        neighbours=_neighbours(run, records),
        attention=_entropies(outputs),
        calibration=_calibration(run, records, predictions),
        needed=list(_needed(run, records)),
        looked_with=len(records),
        pooling=getattr(getattr(run.config, "head", None), "pooling", ""),
        metric=task.metric.name,
        lower_is_better=task.metric.lower_is_better,
        hardest=task.errors(records, predictions, _HARDEST) if task.errors else [],
        doubts=doubtful_labels(run, folds) if folds else None,
    )


def _lengths(run: AnyRun, records: Records, found: Observed) -> tuple[str, list[int]]:
    """What the steps of the layers are called, and how many the inputs have."""
    read = [value for value in found.features.values() if value.ndim > 1]
    by_steps = any(value.shape[1] == found.vectors.shape[1] for value in read)
    lengths = np.asarray(getattr(run.batches_of(records), "lengths", ()))
    if not by_steps or not len(lengths) or found.lengths.max() > lengths.max():  # a text that goes on, say
        lengths = found.lengths
    return run.task.unit if by_steps else "steps of the layers", lengths.tolist()


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _relative(reach: np.ndarray) -> list[float]:
    known = reach[np.isfinite(reach)]
    return (known / max(known.max(initial=0.0), 1e-30)).tolist()


def _steps_of(run: AnyRun, found: Observed, row: int) -> list[str]:
    ids = found.features.get("tokens", found.features.get("source"))
    pieces = _pieces(run)
    if ids is None or not pieces:
        return []
    return [pieces[k] for k in ids[row, : found.lengths[row]].tolist()]


def _pieces(run: AnyRun) -> list[str]:
    """What each id of the tokenizer of inputs stands for; none without one."""
    tokenizer: Any = run.assets.get("tokenizer") or run.assets.get("source")
    if not hasattr(tokenizer, "pieces"):
        return []
    from nlp_rnn.text.tokenizer import UNKNOWN

    pieces = [piece.decode("utf-8", "replace") for piece in tokenizer.pieces()]
    pieces[UNKNOWN] = "(unknown)"
    return pieces


def _neighbours(run: AnyRun, records: Records) -> dict[str, list[tuple[str, float]]]:
    """The nearest vectors of frequent tokens, those that are words where they can be."""
    pieces = _pieces(run)
    embedding: Any = getattr(run.model, "source_embedding", None) or getattr(run.model, "embedding", None)
    embedding = getattr(embedding, "tokens", embedding)
    if not hasattr(embedding, "embeddings") or len(pieces) < 2 * _FREQUENT:
        return {}
    counts: Counter[int] = Counter()
    for _, features in run.batches_of(records).indexed():
        ids = features.get("tokens", features.get("source"))
        counts.update([] if ids is None else ids[ids >= _SPECIAL].tolist())
    common = [k for k, _ in counts.most_common() if _is_readable(pieces[k])]
    words = [k for k in common if len(pieces[k].strip()) > 3] or common
    table = np.array(embedding(np.arange(len(pieces), dtype=np.int32)[None])[0], np.float32)
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    seen = np.array([k for k in range(_SPECIAL, len(pieces)) if _is_readable(pieces[k])])
    found = {}
    for word in words[:_FREQUENT]:
        cosines = table[seen] @ table[word]
        best = [seen[k] for k in np.argsort(-cosines)[: _NEIGHBOURS + 1] if seen[k] != word][:_NEIGHBOURS]
        found[pieces[word].strip()] = [(pieces[k].strip(), float(table[k] @ table[word])) for k in best]
    return found


def _is_readable(piece: str) -> bool:
    """Whether it is more than blanks, and no control character or part of one."""
    return bool(piece.strip()) and piece.isprintable() and "\ufffd" not in piece


def _entropies(outputs: Any) -> list[float]:
    """Of each record, the entropy of attention weights over the tokens, as a part of that of equal weights."""
    found = []
    for weights in outputs.get("weights", ()):
        known = np.asarray(weights, np.float64)
        known = known[known > 0]
        if len(known) > 1:
            found.append(float(-(known * np.log(known)).sum() / np.log(len(known))))
    return found


def _calibration(run: AnyRun, records: Records, predictions: Sequence[object]) -> list[tuple[float, float, int]]:
    """Predictions in bins of their confidence."""
    if run.task.confidences is None:
        return []
    confidence, right = (np.asarray(part, float) for part in run.task.confidences(records, predictions))
    bins = np.clip((confidence * _BINS).astype(int), 0, _BINS - 1)
    return [
        (float(confidence[bins == k].mean()), float(right[bins == k].mean()), int((bins == k).sum()))
        for k in range(_BINS)
        if (bins == k).any()
    ]


def _needed(run: AnyRun, records: Records) -> Iterator[tuple[int, float]]:
    """The quality where only the last tokens of each text are read: of classifiers of tokens, whose rows are texts."""
    import tensorflow as tf

    from nlp_rnn.models.classifier import SequenceClassifier

    if not isinstance(run.model, SequenceClassifier) or run.model.reads != "tokens":
        return
    batches = list(run.batches_of(records).indexed())
    longest = max(int((features["tokens"] != 0).sum(1).max()) for _, features in batches)
    kept = [2**k for k in range(12) if 2**k < longest]
    for count in [*kept, longest]:
        logits: dict[int, np.ndarray] = {}
        for indices, features in batches:
            tokens = _last_tokens(features["tokens"], count)
            found = run.task.infer(run.model, {"tokens": tf.constant(tokens)}, run.options())["logits"].numpy()
            logits |= dict(zip(map(int, indices), found, strict=False))
        outputs = {"logits": np.stack([logits[k] for k in range(len(records))])}
        predictions = run.task.decode(outputs, records, run.assets, run.options())
        metrics = run.task.evaluate(records, predictions, outputs, run.assets)
        yield count, float(metrics[run.task.metric.name])


def _last_tokens(tokens: np.ndarray, count: int) -> np.ndarray:
    """The last tokens of rows that are padded with 0."""
    found = np.zeros((len(tokens), count), np.int32)
    for row, ids in enumerate(tokens):
        last = ids[ids != 0][-count:]
        found[row, : len(last)] = last
    return found


# Labels that are likely wrong.


def doubtful_labels(run: AnyRun, folds: int) -> Doubts:
    """Labels of a run's training data that are likely wrong, by cross-validation with its settings.

    Args:
        run: of a task whose records have one label each.
        folds: parts, each of which is judged by a model that was trained on the others.

    Raises:
        InputError: the records have no labels, or there are too few of them.
    """
    records = run.task.read(run.config, "train")
    labels = run.assets.get("labels")
    if records is None or labels is None or not len(records) or "label" not in records[0]:
        raise InputError(f"Likely wrong labels are found where records have one label, not in {run.task.name}.")
    if len(records) < 10 * folds:
        raise InputError(f"{len(records)} records are too few for {folds} folds: ten for each are needed.")
    fold_of = np.random.default_rng(run.config.train.seed).permutation(len(records)) % folds
    probabilities = np.zeros((len(records), len(labels)))
    for fold in range(folds):
        inside, outside = (np.flatnonzero(part).tolist() for part in (fold_of != fold, fold_of == fold))
        model = _trained(run, records.select(inside))
        outputs = model.infer(records.select(outside))
        probabilities[outside] = softmax(np.asarray(outputs["logits"]))
    rows = list(records)
    given = np.array([labels.index(row["label"]) for row in rows])
    places = confident_disagreements(probabilities, given)
    most = [
        Doubt(
            rows[k]["text"],
            rows[k]["label"],
            labels[likely],
            float(probabilities[k, given[k]]),
            int(rows[k].get("line") or k + 1),
        )
        for k, likely in places[:_DOUBTS]
    ]
    return Doubts(len(places), len(records), float((probabilities.argmax(1) == given).mean()), most)


def _trained(run: AnyRun, records: Any) -> AnyRun:
    """A new model with the settings of a run, trained on some records for as many epochs as the run was."""
    from nlp_rnn.training.compiling import compile_model

    config = run.config
    train = replace(config.train, epochs=len(run.history) or config.train.epochs)
    found = Run(run.task, config, run.assets, built(run.task, config, run.assets))
    batches = run.task.batches(config, run.assets, records, train.seed)
    steps = batches.steps_per_epoch * max(train.passes, 1)
    compile_model(found.model, run.task.loss(config), train, steps)
    found.model.fit(batches.dataset().repeat(), epochs=train.epochs, steps_per_epoch=steps, shuffle=False, verbose=0)
    return found
