"""What a run has learned, taken into a new one: `--init-from`.

The vocabulary, the embedding and the layers of the stack come from the run, of whatever task it is; of a run of the
same task also the head and what else fits. `train.layer_decay` and `train.unfreeze` say how they go on learning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_rnn.assets import INDEX, Assets
from nlp_rnn.config.sections import S, Settings, split_seed
from nlp_rnn.config.space import nested
from nlp_rnn.config.values import override, settings_of
from nlp_rnn.display.console import console
from nlp_rnn.errors import InputError
from nlp_rnn.saved import load_assets, model_in, read_settings, report_in, weights_digest

if TYPE_CHECKING:
    import keras

    from nlp_rnn.data.batching import EpochSource
    from nlp_rnn.tasks.base import AnyTask

_OF_ALL_TASKS = ("tokenizer", "embedding", "stack")
_NEVER = ("data", "train", "search", "score", "augment")
# What a run has in its weights, whatever files it once came from.
_VECTORS = {"embedding.vectors": "", "embedding.extra_words": 0}
_STATES = {"embedding.states": "", "embedding.states_backward": ""}
# How it learns, and where it began, rather than what it is.
_LEARNS = ("dropout", "word_dropout", "weight_drop", "replace_rare", "trainable")
_FREE = (*_LEARNS, "vectors", "extra_words", "states", "states_backward", "vocabulary")
_JUDGE, _READERS = "judge.json", "states.json"  # assets: what is learned after training; language models that are read


def decided(config: Settings) -> dict[str, Any]:
    """The settings that the run `train.init_from` decides, by dotted name; none where there is no such run.

    Raises:
        InputError: it is no finished run, or is of a task that reads something else.
    """
    found = _by_teacher(config) if config.train.teacher else {}
    source = config.train.init_from
    if not source:
        return found
    task, theirs = finished(source, "model to begin with")
    if members := report_in(Path(source)).get("members"):
        raise InputError(f"{source} is an ensemble: begin with one of its members, such as {members[0]['run']}.")
    _refuse_other_directions(config, theirs)
    teacher = config.train.teacher
    if teacher and Assets.fingerprint(_tokenizer(source)) != Assets.fingerprint(_tokenizer(teacher)):
        raise InputError(
            f"{source} and {teacher} have other vocabularies: one run cannot begin with the former and "
            f"have the latter as its teacher."
        )
    mine = {setting.dotted: setting for setting, _ in settings_of(config)}
    reads_words = "tokenizer.vocabulary" in mine and (Path(source) / "assets" / "tokenizer").is_dir()
    is_same = isinstance(config, type(theirs))
    if not reads_words and not is_same:
        raise InputError(f"{source} is a run of the task {task.name}, which reads something else: leave it out.")
    free = _FREE if is_same else (*_FREE, "bidirectional")  # what reads backwards is then new
    for setting, value in settings_of(theirs):
        section = setting.section.rstrip(".")
        is_taken = section in _OF_ALL_TASKS or (is_same and section not in _NEVER)
        if is_taken and setting.dotted in mine and setting.name not in free:
            found[setting.dotted] = list(value) if isinstance(value, tuple) else value
    if reads_words:
        found["tokenizer.vocabulary"] = source
    gone = {**_VECTORS, **(_STATES if is_same else {})}
    return {**found, **{name: value for name, value in gone.items() if name in mine}}


def _refuse_other_directions(config: Settings, theirs: Settings) -> None:
    """Layers must read in the direction that they have learned.

    Raises:
        InputError: those of `train.init_from`, or of `train.init_backward`, would not.
    """
    source, backward = config.train.init_from, config.train.init_backward
    if reads_backwards(theirs) and not isinstance(config, type(theirs)):
        raise InputError(
            f"{source} reads backwards: begin with one that reads forwards; {source} can be "
            f"--train.init_backward beside it."
        )
    if not backward:
        return
    if not getattr(getattr(config, "stack", None), "bidirectional", False):
        raise InputError("The model reads in one direction: leave --train.init_backward out.")
    _, other = finished(backward, "model to begin with")
    for place, settings in ((source, theirs), (backward, other)):
        if not hasattr(settings.data, "backward"):
            raise InputError(
                f"{place} is no language model: --train.init_backward goes with one that reads forwards "
                f"(--init-from), and is one that reads backwards."
            )
    if not reads_backwards(other):
        raise InputError(f"{backward} does not read backwards: train it with --data.backward True.")
    if Assets.fingerprint(_tokenizer(source)) != Assets.fingerprint(_tokenizer(backward)):
        raise InputError(f"{source} and {backward} have other vocabularies: train {_as_it_should(backward, source)}.")


def reads_backwards(config: Settings) -> bool:
    """Whether settings are those of a language model that reads from the end to the begin."""
    return bool(getattr(config.data, "backward", False))


def _as_it_should(backward: str, source: str) -> str:
    return f"{backward} with --init-from {source} --embedding.trainable False"


def _by_teacher(config: Settings) -> dict[str, Any]:
    """The settings that the run `train.teacher` decides: how text becomes ids."""
    source = config.train.teacher
    task, theirs = finished(source, "a teacher")
    if not isinstance(config, type(theirs)):
        raise InputError(f"{source} is a run of the task {task.name}: a teacher must be of the same task.")
    if reads_backwards(config) != reads_backwards(theirs):
        raise InputError(f"{source} reads in the other direction (data.backward): a teacher must read in the same.")
    found = {s.dotted: v for s, v in settings_of(theirs) if s.section == "tokenizer." and s.name not in _FREE}
    has_one = (Path(source) / "assets" / "tokenizer").is_dir() and hasattr(config, "tokenizer")
    return {**found, "tokenizer.vocabulary": source} if has_one else found


def _tokenizer(source: str) -> Path:
    return Path(source, "assets", "tokenizer")


def finished(source: str, what: str) -> tuple[AnyTask, Settings]:
    """The task and the settings of a run that has a model.

    Args:
        source: the run.
        what: it is to be, for the message.

    Raises:
        InputError: it is no run, or has no model yet.
    """
    found = read_settings(Path(source))
    if not (Path(source) / "model.keras").is_file():
        raise InputError(f"{source} is not finished, so there is no {what}: finish it with train --resume {source}.")
    return found


def begun(config: S, given: Iterable[str]) -> S:
    """The settings with those that the run decides.

    Args:
        config: the settings.
        given: dotted names of those that the user gave. The head may be another one, which then is new; what makes the
            vocabulary, the embedding and the stack may not.

    Returns:
        The settings.

    Raises:
        InputError: the user gave something else than the run has.
    """
    taken = decided(config)
    values = {setting.dotted: value for setting, value in settings_of(config)}
    for name in [name for name in dict.fromkeys(given) if name in taken]:
        now = list(values[name]) if isinstance(values[name], tuple) else values[name]
        if now != taken[name] and name.partition(".")[0] in (*_OF_ALL_TASKS, "decoder", "model"):
            begun_with = f"{config.train.init_from}, which training begins with"
            source = begun_with if config.train.init_from else f"{config.train.teacher}, which is the teacher"
            if name in (*_VECTORS, *_STATES):
                raise InputError(f"{name} is decided by {source}: leave --{name} out.")
            raise InputError(f"{name} is {taken[name]} in {source}: leave --{name} out.")
        del taken[name]
    return override(config, nested(taken)) if taken else config


def with_its_assets(config: Settings, assets: Assets) -> Assets:
    """The other vocabularies of the run, such as that of characters, and its order of the labels where they are the
    same."""
    source = config.train.init_from or config.train.teacher
    if not source:
        return assets
    theirs, taken = load_assets(Path(source)), {}
    if config.train.init_from and "states" in theirs and isinstance(config, type(read_settings(Path(source))[1])):
        taken["states"] = theirs["states"]  # what its language models are, whose weights it has
    for name in set(theirs) & set(assets):
        kind = assets[name].asset_kind
        # `tokenizer.vocabulary` takes the former; language models whose states are read know no other characters
        if kind == "tokenizer" and name != "tokenizer" and not (name == "characters" and "states" in assets):
            taken[name] = theirs[name]
        if kind == "labels" and sorted(assets[name]) == sorted(theirs[name]):
            taken[name] = theirs[name]
    if "tokenizer" in assets and "tokenizer" in theirs and _words(assets.tokenizer) != _words(theirs.tokenizer):
        raise InputError(
            f"The vocabulary of {source} is not that of these data, and this task cannot take another: "
            f"leave train.{'init_from' if config.train.init_from else 'teacher'} out."
        )
    return Assets({**assets, **taken}, assets.notes, assets.initial)


def _words(tokenizer: object) -> Any:
    return getattr(tokenizer, "vocabulary", getattr(tokenizer, "size", None))


def take_weights(config: Settings, model: keras.Model, assets: Assets) -> str:
    """Assigns the weights of the run that have the same place and shape, of a layer all or none, and the head where the
    labels are the same: → what was taken, in a sentence.

    Raises:
        InputError: there are none.
    """
    source = Path(config.train.init_from)
    (task, begun_with), their_assets = read_settings(source), load_assets(source)
    theirs = by_place(model_in(source, task, their_assets))
    if assets.get("labels") != their_assets.get("labels"):
        theirs = {place: variable for place, variable in theirs.items() if _layer(place) != "head"}
    if config.train.init_backward:
        theirs |= _backward_layers(Path(config.train.init_backward), source, theirs)
    groups: dict[str, dict[str, Any]] = {}
    for place, variable in by_place(model).items():
        groups.setdefault(_layer(place), {})[place] = variable
    fits = {layer: all(_fits(theirs.get(place), one) for place, one in some.items()) for layer, some in groups.items()}
    taken = {place: one for layer, some in groups.items() if fits[layer] for place, one in some.items()}
    if not taken:
        raise InputError(f"Nothing in {source} fits this model: it has no embedding and no layers of the same kind.")
    for place, variable in taken.items():
        variable.assign(theirs[place])
    backward = config.train.init_backward
    if backward and not any(place.startswith("stack/backward_") for place in taken):
        raise InputError(f"No layers of {backward} fit this model: leave --train.init_backward out.")
    count = sum(int(np.prod(variable.shape)) for variable in taken.values())
    names = {is_taken: ", ".join(layer for layer in groups if fits[layer] == is_taken) for is_taken in (True, False)}
    sources = f"{source} and {backward}" if backward else str(source)
    said = f"{count:,} of {model.count_params():,} weights are those of {sources}: {names[True]}"
    said = f"{said}; new: {names[False]}." if names[False] else f"{said}."
    turned = reads_backwards(config) != reads_backwards(begun_with) and hasattr(config.data, "backward")
    return f"{said} They learn to read in the other direction." if turned else said


def _backward_layers(backward: Path, source: Path, theirs: dict[str, Any]) -> dict[str, Any]:
    """The layers of a model that reads backwards, by the places that they have in one that reads in both directions.

    Raises:
        InputError: they read other vectors of words than those of the model that reads forwards.
    """
    task, _ = read_settings(backward)
    found = by_place(model_in(backward, task, load_assets(backward)))
    for place, variable in found.items():
        if _layer(place).startswith("embedding") and not _equal(theirs.get(place), variable):
            raise InputError(
                f"The words of {backward} have other vectors than those of {source}: train "
                f"{_as_it_should(str(backward), str(source))}."
            )
    return {p.replace("/forward_", "/backward_", 1): v for p, v in found.items() if p.startswith("stack/forward_")}


def _equal(one: Any, other: Any) -> bool:
    return _fits(one, other) and bool(np.array_equal(one.numpy(), other.numpy()))


def begin_lessons(
    config: Settings, model: keras.Model, assets: Path, batches: EpochSource, fingerprint: str
) -> dict[str, str]:
    """Lets a model learn from the run `train.teacher`, if there is one: → a digest of the "teacher".

    Args:
        config: the settings.
        model: that is to be trained.
        assets: the folder of its vocabularies.
        batches: that it is trained on.
        fingerprint: of the training data.

    Raises:
        InputError: the teacher reads or says something else.
    """
    from nlp_rnn.training.distillation import teach

    train, source = config.train, Path(config.train.teacher)
    if not train.teacher:
        return {}
    task, theirs = read_settings(source)
    with model.distribute_strategy.scope():
        teacher = model_in(source, task, load_assets(source))
    report = report_in(source)
    digests = (Assets.fingerprint(assets), report.get("assets") or Assets.fingerprint(assets))
    if others := differing(assets, source / "assets", digests):
        raise InputError(
            f"{source} cannot teach this model: {others} in it than follows from these data and settings. Give those "
            f"that it was trained with."
        )
    if report.get("fingerprint") not in (None, fingerprint):
        console.warn(
            f"{source} was trained on other records. If the validation data are among them, results look better than "
            f"they are: give the --data.seed that it had ({split_seed(theirs)})."
        )
    try:
        teach(model, teacher, next(batches.epoch(0))[0], train.teacher_weight, train.teacher_temperature)
    except ValueError as error:
        raise InputError(f"{source} cannot teach this model: {error}.") from error
    console.print(f"It learns from {source} too, which counts {train.teacher_weight:.0%} of the loss.")
    return {"teacher": weights_digest(teacher)}


def differing(mine: Path, theirs: Path, digests: tuple[str, str]) -> str:
    """Which assets of two runs differ, in words; empty, if none do. The language models whose states they read may.

    Args:
        mine, theirs: the folders.
        digests: of each, before anything was learned after training.
    """
    if digests[0] == digests[1]:
        return ""
    names = {path.relative_to(folder).parts[0] for folder in (mine, theirs) for path in folder.rglob("*")}
    names -= {INDEX, _JUDGE, _READERS}

    def content(folder: Path, name: str) -> Any:
        place = folder / name
        return Assets.fingerprint(place) if place.is_dir() else place.read_bytes() if place.is_file() else None

    found = sorted(Path(name).stem for name in names if content(mine, name) != content(theirs, name))
    if not found and content(mine, _READERS) != content(theirs, _READERS):
        return ""
    said = f"the {' and the '.join(found) or 'facts'} are others"
    spelt = "; taggers that read language models (embedding.states) spell with their characters"
    return f"{said}{spelt}" if "characters" in found else said


def _fits(theirs: Any, mine: Any) -> bool:
    return theirs is not None and tuple(theirs.shape) == tuple(mine.shape)


def by_place(model: keras.Model) -> dict[str, Any]:
    """Weights by where they are, whatever the model and the task, and whether it was built or loaded, which their paths
    do not tell. An embedding of words alone is that of words among other features."""
    found = {place: variable for part in model.layers for place, variable in _walk(part, part.name)}
    return {place.replace("embedding/tokens/", "embedding/", 1): variable for place, variable in found.items()}


def _walk(layer: keras.layers.Layer, place: str) -> Iterator[tuple[str, Any]]:
    """The weights of a layer, and of those within it."""
    for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
        yield f"{place}/{variable.name}", variable
    for inner in layer._layers:
        yield from _walk(inner, f"{place}/{inner.name}")


def _layer(place: str) -> str:
    """What is taken together: a layer of a stack or a decoder, a table of an embedding, a head."""
    part, _, inner = place.partition("/")
    return place if part == "embedding" else f"{part}/{inner.split('/')[0]}" if part in ("stack", "decoder") else part
