"""Forecasting: the values of one or many series so far → the next ones, with how sure."""

from nlp_rnn.tasks.base import Answers, Metric, Task
from nlp_rnn.tasks.forecasting.commands import COMMANDS, Backtest, backtest
from nlp_rnn.tasks.forecasting.data import RESOURCES, assets, batches, read, settle
from nlp_rnn.tasks.forecasting.explaining import explain
from nlp_rnn.tasks.forecasting.model import build, fits, infer, loss
from nlp_rnn.tasks.forecasting.pictures import picture
from nlp_rnn.tasks.forecasting.predictions import Forecast, decode, evaluate, from_row, remarks, show
from nlp_rnn.tasks.forecasting.serving import asked_arguments, example, signatures
from nlp_rnn.tasks.forecasting.settings import Config, Options
from nlp_rnn.tasks.inputs import HistoryInput

__all__ = ["TASK", "Backtest", "Config", "Forecast", "Options", "backtest", "explain"]

TASK: Task[Config, Forecast, Options] = Task(
    name="forecasting",
    Config=Config,
    Prediction=Forecast,
    input=HistoryInput(),
    metric=Metric("wql", lower_is_better=True),
    unit="steps",
    resources=RESOURCES,
    read=read,
    assets=assets,
    settle=settle,
    batches=batches,
    build=build,
    loss=loss,
    fits=fits,
    infer=infer,
    Options=Options,
    options=lambda config: Options(),
    decode=decode,
    evaluate=evaluate,
    remarks=remarks,
    show=show,
    signatures=signatures,
    answers=Answers("serving_default", from_row, arguments=asked_arguments),
    example=example,
    picture=picture,
    goes_on=True,
    commands=COMMANDS,
)
