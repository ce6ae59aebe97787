"""What a person reads at a terminal: texts, labels and file names as they are, never as commands.

The log goes to standard error, so that standard output carries results alone.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

# Control characters, which a terminal would obey, as their pictures (U+2400 …); all but the line end and the tab.
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}


def visible(text: str) -> str:
    r"""A text whose control characters, such as those of escape sequences, are shown as symbols.

    Example:

    >>> visible("\x1b[31mred")
    '␛[31mred'
    """
    return text.translate(_PICTURES)


class PlainConsole(Console):
    """A console to which text is text: no markup, no codes of emoji, no control characters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)
        self._said: set[str] = set()

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(visible(text), **settings)

    def warn(self, text: str) -> None:
        """Prints a text in yellow."""
        self.print(text, style="yellow")

    def warn_once(self, text: str) -> None:
        """As `warn`, for what may be found again and again; nothing is said of an empty text."""
        if text and text not in self._said:
            self._said.add(text)
            self.warn(text)

    def begin(self) -> None:
        """Another training: what was said of the one before may be said again."""
        self._said.clear()


console = PlainConsole(stderr=True)
