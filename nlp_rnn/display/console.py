"""Where the log goes: standard error, so that standard output carries results alone."""

from __future__ import annotations

from rich.console import Console

console = Console(stderr=True, highlight=False)
