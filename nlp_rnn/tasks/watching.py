"""The verb `watch`: a stream, judged as it comes, with a state of constant size that outlives restarts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

import tyro

from nlp_rnn.data.lines import arriving_lines

A = TypeVar("A")
_SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class Watching:
    """Options of every `watch`."""

    state: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """Where the state is kept, so that another `watch` goes on from it."""


class StreamWatcher(Protocol[A]):
    """What judges a stream."""

    seen: Any

    def push(self, lines: list[str]) -> list[A]:
        """The alarms among further lines."""

    def save(self) -> None:
        """Keeps the state, if it has a file."""


def watched(watcher: StreamWatcher[A]) -> Iterator[A]:
    """The alarms among the lines of standard input, as they come; the state is kept twice a minute, and at the end."""
    saved = time.monotonic()
    try:
        for lines in arriving_lines():
            yield from watcher.push(lines)
            if time.monotonic() - saved > _SAVE_SECONDS:
                watcher.save()
                saved = time.monotonic()
    finally:
        watcher.save()
    print(f"{watcher.seen:,} line{'s' * (watcher.seen != 1)} seen", file=sys.stderr)
