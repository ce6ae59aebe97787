"""Language modelling: what comes next."""

from nlp_rnn.tasks.base import Answers, Metric, Task
from nlp_rnn.tasks.inputs import TextInput
from nlp_rnn.tasks.language_modeling.baselines import baselines
from nlp_rnn.tasks.language_modeling.commands import COMMANDS, SYNONYMS
from nlp_rnn.tasks.language_modeling.data import RESOURCES, assets, batches, read
from nlp_rnn.tasks.language_modeling.explaining import explain
from nlp_rnn.tasks.language_modeling.further import calibrate, infer, options
from nlp_rnn.tasks.language_modeling.generating import complete, generate
from nlp_rnn.tasks.language_modeling.model import build, fits, loss
from nlp_rnn.tasks.language_modeling.predictions import Score, decode, evaluate, from_row, show
from nlp_rnn.tasks.language_modeling.serving import signatures
from nlp_rnn.tasks.language_modeling.settings import Config, SearchConfig
from nlp_rnn.tasks.language_modeling.surprises import Surprise, surprise, windows

__all__ = [
    "TASK",
    "Config",
    "Score",
    "SearchConfig",
    "Surprise",
    "complete",
    "explain",
    "generate",
    "surprise",
    "windows",
]

TASK: Task[Config, Score, SearchConfig] = Task(
    name="language-modeling",
    Config=Config,
    Prediction=Score,
    input=TextInput("text", "The quick brown fox"),
    metric=Metric("perplexity", lower_is_better=True),
    resources=RESOURCES,
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    fits=fits,
    infer=infer,
    Options=SearchConfig,
    options=options,
    calibrate=calibrate,
    decode=decode,
    evaluate=evaluate,
    show=show,
    signatures=signatures,
    answers=Answers("score", from_row),
    commands=COMMANDS,
    synonyms=SYNONYMS,
    baselines=baselines,
)
