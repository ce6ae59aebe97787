"""The compiled operations, which the import of this module registers with TensorFlow: for SavedModels that hold them.

Raises:
    ImportError: they cannot be had on this machine, and why.
"""

from nlp_rnn.layers.native import library

if library().operations is None:
    raise ImportError(library().reason)
