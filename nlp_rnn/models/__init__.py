"""Models: tensors in, tensors out. Importing this package registers every class with Keras."""

from nlp_rnn import layers
from nlp_rnn.models.classifier import ClassifierHead, SequenceClassifier
from nlp_rnn.models.deepar import DeepAR
from nlp_rnn.models.encoder_decoder import EncoderDecoder
from nlp_rnn.models.ensemble import EnsembleForecaster, ensemble_of
from nlp_rnn.models.event_model import EventModel
from nlp_rnn.models.forecaster import Forecaster, SegmentForecaster
from nlp_rnn.models.language_model import LanguageModel
from nlp_rnn.models.recognizer import SoundEmbedding, SpeechRecognizer
from nlp_rnn.models.tagger import Tagger, TaggingHead, WordEmbedding
from nlp_rnn.models.translator import Translator

__all__ = [
    "ClassifierHead",
    "DeepAR",
    "EncoderDecoder",
    "EnsembleForecaster",
    "EventModel",
    "Forecaster",
    "LanguageModel",
    "SegmentForecaster",
    "SequenceClassifier",
    "SoundEmbedding",
    "SpeechRecognizer",
    "Tagger",
    "TaggingHead",
    "Translator",
    "WordEmbedding",
    "ensemble_of",
    "layers",
]
