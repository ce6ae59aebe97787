"""Keras layers for sequences of tokens: embedding, recurrent layers, their stack, attention, pooling, CRF."""

from nlp_rnn.layers.attention import AdditivePooling, Attention
from nlp_rnn.layers.chrono import Chrono
from nlp_rnn.layers.contextual import ContextualEmbedding, TextReader
from nlp_rnn.layers.crf import CRF, CRFLoss, TokenCrossEntropy, log_partition, marginals, viterbi
from nlp_rnn.layers.ctc import CTCLoss
from nlp_rnn.layers.decoder import AttentionDecoder, Bridge, TransformerDecoder
from nlp_rnn.layers.embedding import CharacterEmbedding, FrameProjection, TokenEmbedding
from nlp_rnn.layers.feedforward import FeedForward
from nlp_rnn.layers.kernels import kernel_of
from nlp_rnn.layers.ngrams import NgramLogits
from nlp_rnn.layers.normalized import LayerNormLSTMCell
from nlp_rnn.layers.parallel import QRNN, RGLRU, SRU, MinGRU, MinLSTM
from nlp_rnn.layers.pooling import SequencePooling
from nlp_rnn.layers.quantiles import OrderedQuantiles, pinball
from nlp_rnn.layers.recurrent import GRU, LSTM, LayerNormLSTM, SimpleRNN
from nlp_rnn.layers.scan import linear_scan
from nlp_rnn.layers.softmax import AdaptiveSoftmaxHead, SoftmaxHead
from nlp_rnn.layers.spectral import FrameStacking, LogMel, SpecAugment
from nlp_rnn.layers.stack import RecurrentStack, stack_of
from nlp_rnn.layers.tagging import CRFDecoder, SpanF1, TokenAccuracy
from nlp_rnn.layers.transformer import SelfAttention, TransformerStack

__all__ = [
    "CRF",
    "GRU",
    "LSTM",
    "QRNN",
    "RGLRU",
    "SRU",
    "AdaptiveSoftmaxHead",
    "AdditivePooling",
    "Attention",
    "AttentionDecoder",
    "Bridge",
    "CRFDecoder",
    "CRFLoss",
    "CTCLoss",
    "CharacterEmbedding",
    "Chrono",
    "ContextualEmbedding",
    "FeedForward",
    "FrameProjection",
    "FrameStacking",
    "LayerNormLSTM",
    "LayerNormLSTMCell",
    "LogMel",
    "MinGRU",
    "MinLSTM",
    "NgramLogits",
    "OrderedQuantiles",
    "RecurrentStack",
    "SelfAttention",
    "SequencePooling",
    "SimpleRNN",
    "SoftmaxHead",
    "SpanF1",
    "SpecAugment",
    "TextReader",
    "TokenAccuracy",
    "TokenCrossEntropy",
    "TokenEmbedding",
    "TransformerDecoder",
    "TransformerStack",
    "kernel_of",
    "linear_scan",
    "log_partition",
    "marginals",
    "pinball",
    "stack_of",
    "viterbi",
]
