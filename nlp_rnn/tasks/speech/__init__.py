"""Speech: a recording → what is said in it, with the time of each word."""

from nlp_rnn.tasks.base import Answers, Metric, Task
from nlp_rnn.tasks.inputs import SoundInput
from nlp_rnn.tasks.speech.commands import COMMANDS, Heard, Listener
from nlp_rnn.tasks.speech.data import RESOURCES, assets, batches, read, settle
from nlp_rnn.tasks.speech.explaining import explain
from nlp_rnn.tasks.speech.model import build, fits, infer, loss
from nlp_rnn.tasks.speech.pictures import picture
from nlp_rnn.tasks.speech.predictions import Transcript, Word, decode, errors, evaluate, from_row, show
from nlp_rnn.tasks.speech.serving import example, signatures
from nlp_rnn.tasks.speech.settings import Config, Options

__all__ = ["TASK", "Config", "Heard", "Listener", "Options", "Transcript", "Word", "explain"]

TASK: Task[Config, Transcript, Options] = Task(
    name="speech",
    Config=Config,
    Prediction=Transcript,
    input=SoundInput(),
    metric=Metric("wer", lower_is_better=True, tie="cer"),
    unit="samples",
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
    options=lambda config: config.search,
    decode=decode,
    evaluate=evaluate,
    show=show,
    errors=errors,
    signatures=signatures,
    answers=Answers("serving_default", from_row),
    example=example,
    picture=picture,
    commands=COMMANDS,
)
