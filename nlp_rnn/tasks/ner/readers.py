"""Language models of characters whose states a tagger reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_rnn.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from nlp_rnn.assets import Assets
    from nlp_rnn.layers import ContextualEmbedding
    from nlp_rnn.tasks.base import AnyTask
    from nlp_rnn.tasks.ner.settings import NerEmbedding
    from nlp_rnn.text.lookup import CharacterTokenizer

_DIRECTIONS = {"forward": "states", "backward": "states_backward"}


@dataclass(frozen=True)
class Readers:
    """What a run takes of language models.

    Args:
        characters: their vocabulary.
        facts: plain values, from which their layers are made again.
        initial: their weights by name.
    """

    characters: CharacterTokenizer
    facts: dict[str, Any]
    initial: Mapping[str, np.ndarray]


def readers_of(embedding: NerEmbedding) -> Readers | None:
    """The language models that the settings name, if there are any.

    Raises:
        InputError: one is no such run, reads in the other direction, or has another vocabulary.
    """
    from nlp_rnn.assets import Assets
    from nlp_rnn.saved import load_assets
    from nlp_rnn.text.tokenizer import END

    paths = {direction: Path(run) for direction, name in _DIRECTIONS.items() if (run := getattr(embedding, name))}
    if not paths:
        return None
    if "forward" not in paths:
        raise InputError("embedding.states_backward needs embedding.states, a model that reads forwards: give both.")
    parts = {direction: _parts(path, _DIRECTIONS[direction]) for direction, path in paths.items()}
    if len({Assets.fingerprint(path / "assets" / "tokenizer") for path in paths.values()}) > 1:
        raise InputError(
            f"{paths['forward']} and {paths['backward']} have other vocabularies: train the latter with "
            f"--init-from {paths['forward']}."
        )
    assets = load_assets(paths["forward"])
    blank = int(assets.tokenizer.encode([" "]).values[0])
    facts: dict[str, Any] = {"begin": int(assets.get("facts", {}).get("begin", END)), "blank": blank}
    initial = {f"{name}/{number}": array for name, (_, some) in parts.items() for number, array in enumerate(some)}
    return Readers(assets.tokenizer, facts | {name: about for name, (about, _) in parts.items()}, initial)


def _parts(path: Path, name: str) -> tuple[dict[str, Any], list[np.ndarray]]:
    """What the layers of a language model are, and their weights."""
    from nlp_rnn.saved import load_assets, model_in, report_in
    from nlp_rnn.transfer import finished

    found: tuple[AnyTask, Any] = finished(str(path), "model whose states could be read")
    task, settings = found
    if task.name != "language-modeling" or settings.tokenizer.kind != "character":
        kind = f"a run of the task {task.name}"
        kind = f"of {settings.tokenizer.kind}s" if task.name == "language-modeling" else kind
        raise InputError(f"embedding.{name} needs a language model of characters; {path} is {kind}.")
    if settings.stack.cell == "transformer" or report_in(path).get("members"):
        kind = "a transformer" if settings.stack.cell == "transformer" else "an ensemble"
        raise InputError(f"embedding.{name} needs a single recurrent language model; {path} is {kind}.")
    if settings.data.backward != (name == "states_backward"):
        reads, other = ("backwards", "states_backward") if settings.data.backward else ("forwards", "states")
        raise InputError(f"{path} reads {reads}: give it as embedding.{other}.")
    assets = load_assets(path)
    model = model_in(path, task, assets)
    stack = {**asdict(settings.stack), "dropout": 0.0, "weight_drop": 0.0}
    about = {"vocabulary": assets.tokenizer.size, "size": model.embedding.output_dim, "stack": stack}
    return about, [weight.numpy() for weight in _weights_of(model)]


def states_from(assets: Assets, dtype: str) -> ContextualEmbedding | None:
    """The layers of the language models, if there are any."""
    from nlp_rnn.layers import ContextualEmbedding, TextReader, TokenEmbedding, stack_of

    facts = assets.get("states")
    if not facts:
        return None

    def reader(name: str) -> Any:
        if name not in facts:
            return None
        about = facts[name]
        embedding = TokenEmbedding(about["vocabulary"], about["size"], dtype=dtype, name="embedding")
        return TextReader(embedding, stack_of(**about["stack"], dtype=dtype, name="stack"), dtype=dtype, name=name)

    ids = {"begin": facts["begin"], "blank": facts["blank"]}
    return ContextualEmbedding(reader("forward"), reader("backward"), **ids, dtype=dtype, name="states")


def take_states(states: ContextualEmbedding, assets: Assets) -> None:
    """Gives the layers the weights of the language models, where these were just read."""
    for name in _DIRECTIONS:
        reader = getattr(states, name)
        for number, weight in enumerate(_weights_of(reader) if reader is not None else ()):
            if f"{name}/{number}" in assets.initial:
                weight.assign(assets.initial[f"{name}/{number}"])


def _weights_of(model: keras.Model | keras.layers.Layer) -> list[keras.Variable]:
    """Those of the embedding and the stack, in the order of their places."""
    weights = [*model.embedding.weights, *model.stack.weights]
    return [weight for weight in weights if "seed_generator" not in weight.path]
