"""Anomalies: sessions of events, or lines of a log → how unusual, and why."""

from nlp_rnn.tasks.anomaly.commands import COMMANDS, Watcher
from nlp_rnn.tasks.anomaly.data import RESOURCES, assets, batches, read
from nlp_rnn.tasks.anomaly.explaining import explain
from nlp_rnn.tasks.anomaly.model import build, fits, infer, loss
from nlp_rnn.tasks.anomaly.predictions import Judgement, decode, errors, evaluate, from_row, remarks, show
from nlp_rnn.tasks.anomaly.scores import calibrate
from nlp_rnn.tasks.anomaly.serving import example, signatures
from nlp_rnn.tasks.anomaly.settings import Config, Options
from nlp_rnn.tasks.base import Answers, Metric, Task
from nlp_rnn.tasks.inputs import SessionInput

__all__ = ["TASK", "Config", "Judgement", "Options", "Watcher", "explain"]

TASK: Task[Config, Judgement, Options] = Task(
    name="anomaly",
    Config=Config,
    Prediction=Judgement,
    input=SessionInput(),
    metric=Metric("nats", lower_is_better=True),
    unit="events",
    resources=RESOURCES,
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    fits=fits,
    infer=infer,
    calibrate=calibrate,
    Options=Options,
    options=lambda config: Options(),
    decode=decode,
    evaluate=evaluate,
    remarks=remarks,
    show=show,
    errors=errors,
    signatures=signatures,
    example=example,
    answers=Answers("serving_default", from_row, takes_options=True),
    commands=COMMANDS,
    modules=("nlp_rnn.text.templates",),
    also="anomaly-values",
)
