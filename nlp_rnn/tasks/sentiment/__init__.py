"""Sentiment: a text → one of any number of classes, with a calibrated probability."""

from nlp_rnn.tasks.base import Answers, Metric, NoOptions, Task
from nlp_rnn.tasks.inputs import TextInput
from nlp_rnn.tasks.sentiment.baselines import baselines
from nlp_rnn.tasks.sentiment.commands import COMMANDS, Explanation, explain
from nlp_rnn.tasks.sentiment.data import RESOURCES, assets, batches, read, settle
from nlp_rnn.tasks.sentiment.model import build, fits, loss, prepare
from nlp_rnn.tasks.sentiment.predictions import Sentiment, confidences, decode, errors, evaluate, from_row, show
from nlp_rnn.tasks.sentiment.serving import signatures
from nlp_rnn.tasks.sentiment.settings import Config

__all__ = ["TASK", "Config", "Explanation", "Sentiment", "explain"]

TASK: Task[Config, Sentiment, NoOptions] = Task(
    name="sentiment",
    Config=Config,
    Prediction=Sentiment,
    input=TextInput("text", "A joyless slog."),
    metric=Metric("accuracy", tie="cross_entropy"),
    resources=RESOURCES,
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    settle=settle,
    prepare=prepare,
    outcome=lambda prediction: prediction.label,
    fits=fits,
    decode=decode,
    evaluate=evaluate,
    show=show,
    errors=errors,
    confidences=confidences,
    signatures=signatures,
    answers=Answers("serving_default", from_row),
    commands=COMMANDS,
    baselines=baselines,
)
