"""Recurrent networks on Keras 3 and TensorFlow.

    import nlp_rnn
    run = nlp_rnn.train("sentiment")
    run("A joyless slog.")

Importing this package does not import TensorFlow; its names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlp_rnn.cli import main
    from nlp_rnn.comparer import compare
    from nlp_rnn.ensembler import ensemble
    from nlp_rnn.registry import register
    from nlp_rnn.run import Run, load
    from nlp_rnn.tasks.base import Task
    from nlp_rnn.trainer import train

__version__ = "0.1.0"
__all__ = ["Run", "Task", "compare", "ensemble", "load", "main", "register", "train"]

_PLACES = {
    "Run": "nlp_rnn.run",
    "Task": "nlp_rnn.tasks.base",
    "compare": "nlp_rnn.comparer",
    "ensemble": "nlp_rnn.ensembler",
    "load": "nlp_rnn.run",
    "main": "nlp_rnn.cli",
    "register": "nlp_rnn.registry",
    "train": "nlp_rnn.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)
