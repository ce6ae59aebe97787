"""Anomalies in values over time: signals → how unusual each step is, and why."""

from nlp_rnn.tasks.anomaly_values.commands import COMMANDS, Watcher
from nlp_rnn.tasks.anomaly_values.data import RESOURCES, assets, batches, read, settle
from nlp_rnn.tasks.anomaly_values.explaining import explain
from nlp_rnn.tasks.anomaly_values.model import build, fits, infer, loss
from nlp_rnn.tasks.anomaly_values.pictures import picture
from nlp_rnn.tasks.anomaly_values.predictions import decode, errors, evaluate, from_row, remarks, show
from nlp_rnn.tasks.anomaly_values.scores import calibrate
from nlp_rnn.tasks.anomaly_values.serving import example, signatures
from nlp_rnn.tasks.anomaly_values.settings import Config, Options
from nlp_rnn.tasks.anomaly_values.watched import Watched
from nlp_rnn.tasks.base import Answers, Metric, Task
from nlp_rnn.tasks.inputs import SignalInput

__all__ = ["TASK", "Config", "Options", "Watched", "Watcher", "explain"]

TASK: Task[Config, Watched, Options] = Task(
    name="anomaly-values",
    Config=Config,
    Prediction=Watched,
    input=SignalInput(),
    metric=Metric("pinball", lower_is_better=True),
    unit="steps",
    resources=RESOURCES,
    modules=("nlp_rnn.metrics.anomalies", "nlp_rnn.metrics.signals"),
    read=read,
    assets=assets,
    settle=settle,
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
    answers=Answers("serving_default", from_row, takes_options=True),
    signatures=signatures,
    example=example,
    picture=picture,
    goes_on=True,
    commands=COMMANDS,
)
