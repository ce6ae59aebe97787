"""Named entity recognition: a text → the entities in it, with their places and a confidence each."""

from nlp_rnn.tasks.base import Answers, Metric, Task
from nlp_rnn.tasks.inputs import TextInput
from nlp_rnn.tasks.ner.baselines import baselines
from nlp_rnn.tasks.ner.commands import COMMANDS, explain
from nlp_rnn.tasks.ner.data import RESOURCES, assets, batches, count, read
from nlp_rnn.tasks.ner.model import build, fits, loss
from nlp_rnn.tasks.ner.predictions import Document, Entity, confidences, decode, errors, evaluate, from_row, show
from nlp_rnn.tasks.ner.serving import signatures
from nlp_rnn.tasks.ner.settings import Config, EntityOptions

__all__ = ["TASK", "Config", "Document", "Entity", "EntityOptions", "explain"]

TASK: Task[Config, Document, EntityOptions] = Task(
    name="ner",
    Config=Config,
    Prediction=Document,
    input=TextInput("text", "Ada Lovelace met Charles Babbage in London."),
    metric=Metric("f1"),
    resources=RESOURCES,
    read=read,
    count=count,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    Options=EntityOptions,
    options=lambda config: EntityOptions(),
    outcome=lambda document: tuple(document.spans),
    fits=fits,
    decode=decode,
    evaluate=evaluate,
    show=show,
    errors=errors,
    confidences=confidences,
    signatures=signatures,
    commands=COMMANDS,
    answers=Answers("spans", from_row, takes_options=True),
    baselines=baselines,
)
