"""Where files are kept that belong to the machine rather than to a run."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where what was compiled for this machine is kept: `NLP_RNN_CACHE`, or `~/.cache/nlp-rnn`."""
    return Path(os.environ.get("NLP_RNN_CACHE") or Path.home() / ".cache" / "nlp-rnn")
