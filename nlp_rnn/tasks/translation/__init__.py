"""Translation: a text in another language, by a recurrent encoder and a recurrent decoder that attends to it."""

from nlp_rnn.tasks.base import Answers, Metric, Task
from nlp_rnn.tasks.inputs import TextInput
from nlp_rnn.tasks.translation.commands import COMMANDS, ScoredTranslation, candidates, picture, score
from nlp_rnn.tasks.translation.data import RESOURCES, assets, batches, read, settle
from nlp_rnn.tasks.translation.explaining import EXPLAIN, explain
from nlp_rnn.tasks.translation.model import build, fits, infer, loss, options
from nlp_rnn.tasks.translation.predictions import Candidate, Candidates, Translation, decode, evaluate, from_row, show
from nlp_rnn.tasks.translation.serving import signatures
from nlp_rnn.tasks.translation.settings import Config, SearchOptions

__all__ = [
    "TASK",
    "Candidate",
    "Candidates",
    "Config",
    "ScoredTranslation",
    "SearchOptions",
    "Translation",
    "candidates",
    "explain",
    "score",
]

TASK: Task[Config, Translation, SearchOptions] = Task(
    name="translation",
    Config=Config,
    Prediction=Translation,
    input=TextInput("source", "Two dogs play in the snow."),
    metric=Metric("chrf", tie="perplexity"),
    resources=RESOURCES,
    read=read,
    assets=assets,
    batches=batches,
    build=build,
    loss=loss,
    settle=settle,
    outcome=lambda prediction: prediction.translation,
    fits=fits,
    infer=infer,
    Options=SearchOptions,
    options=options,
    decode=decode,
    evaluate=evaluate,
    show=show,
    picture=picture,
    signatures=signatures,
    answers=Answers("serving_default", from_row),
    commands=(*COMMANDS, EXPLAIN),
    predicts_lines=True,
)
