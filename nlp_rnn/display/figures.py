"""Where figures go."""

from __future__ import annotations

from pathlib import Path

from nlp_rnn.errors import InputError

FORMATS = (".png", ".svg", ".pdf")


def figure_path(name: str, option: str) -> Path:
    """The path of a figure.

    Args:
        name: as it was given.
        option: which option gave it, for messages.

    Raises:
        InputError: its suffix is that of no figure.
    """
    path = Path(name)
    if path.suffix not in FORMATS:
        raise InputError(f"The name of {option} {name} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    return path
