"""What ends a command other than success."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: its message is one sentence that says what to do.

    The command line prints it without a traceback and exits with code 2.
    """


class Diverged(Exception):
    """Training went wrong: a loss or weight is no number any more, or the loss exploded. Exit code 1."""


class ExportDiffers(Exception):
    """What was exported gives other results than the model; nothing was written. Exit code 1."""


class WorkerLost(Exception):
    """Training on several machines ended because one is gone; a checkpoint stands. Exit code 1."""


class Interrupted(Exception):
    """Training was interrupted by the user; a checkpoint was saved. Exit code 130."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean "…"?`, or the list of what there is.

    Example:

    >>> did_you_mean("sentimnet", ["sentiment", "ner"])
    ' Did you mean "sentiment"?'
    """
    known = sorted({*known} - {word})
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f' Did you mean "{close[0]}"?'
    return f" Available: {', '.join(known)}." if known else ""
