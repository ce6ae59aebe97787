"""Where figures go."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nlp_rnn.errors import InputError
from nlp_rnn.paths import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"The name of {option} {name} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    return path


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure in the format that the suffix of the path says."""
    with replacing(path) as place, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of scripts that no font here has
        figure.savefig(place, dpi=150)
