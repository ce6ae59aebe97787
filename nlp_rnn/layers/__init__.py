"""Keras layers for sequences of tokens: embedding, recurrent layers, their stack, attention, pooling."""

from nlp_rnn.layers.attention import AdditivePooling
from nlp_rnn.layers.embedding import TokenEmbedding
from nlp_rnn.layers.pooling import SequencePooling
from nlp_rnn.layers.recurrent import GRU, LSTM, SimpleRNN, kernel_of
from nlp_rnn.layers.stack import RecurrentStack

__all__ = [
    "GRU",
    "LSTM",
    "AdditivePooling",
    "RecurrentStack",
    "SequencePooling",
    "SimpleRNN",
    "TokenEmbedding",
    "kernel_of",
]
