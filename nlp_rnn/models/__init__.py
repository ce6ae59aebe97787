"""Models: tensors in, tensors out. Importing this package registers every class with Keras."""

from nlp_rnn import layers
from nlp_rnn.models.classifier import ClassifierHead, TextClassifier

__all__ = ["ClassifierHead", "TextClassifier", "layers"]
