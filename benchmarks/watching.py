"""`watch` over millions of generated lines of a log: lines a second, memory, and how many odd lines are noticed.

python benchmarks/watching.py [LINES]
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import nlp_rnn
from nlp_rnn.tasks.anomaly import Watcher

_TRAINING, _RARE, _BUDGET, _AT_ONCE = 60_000, 1e-5, 1e-5, 5_000
_ODD = "ERROR worker died of signal 11"


def visits(draw: random.Random) -> Iterator[str]:
    """Lines of a web server's log, visit after visit, without end."""
    while True:
        address = ".".join(str(draw.randrange(256)) for _ in range(4))
        yield f"INFO accept connection from {address}:{draw.randrange(65536)}"
        yield f"INFO GET /api/users/{draw.randrange(10**6)} took {draw.random() * 9:.1f} ms"
        for _ in range(draw.randrange(1, 6)):
            item = draw.randrange(10**5)
            yield f"INFO GET /api/items/{item} took {draw.random() * 9:.1f} ms"
            if draw.random() < 0.3:
                yield f"DEBUG cache miss for item {item}, loaded from db-{draw.randrange(3)}"
        if draw.random() < 0.4:
            yield f"INFO POST /api/orders took {draw.random() * 50:.1f} ms"
            yield f"INFO mail to user{draw.randrange(10**6)}@example.org queued"
        yield f"INFO close connection from {address}"


def resident() -> float:
    """MiB of memory that this process holds; of Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    """Trains on normal lines, then watches others, of which one in 100,000 is of a kind that training has not seen."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "app.log"
        log.write_text("\n".join(islice(visits(random.Random(1)), _TRAINING)) + "\n")
        data = {"train": str(log), "format": "txt"}
        watcher = Watcher(nlp_rnn.train("anomaly", data=data, out=Path(folder) / "run"), budget=_BUDGET)
    draw, lines = random.Random(7), visits(random.Random(8))
    odd = found = false = 0
    seconds, start = 0.0, 0.0
    for done in range(0, count, _AT_ONCE):
        part = [_ODD if draw.random() < _RARE else line for line in islice(lines, _AT_ONCE)]
        began = time.perf_counter()
        alarms = watcher.push(part)
        seconds += time.perf_counter() - began
        hits = sum(alarm.text == _ODD for alarm in alarms)
        odd, found, false = odd + part.count(_ODD), found + hits, false + len(alarms) - hits
        if done == 20 * _AT_ONCE:  # all that is built once is there
            start = resident()
    print(
        f"{count:,} lines: {count / seconds:,.0f} a second; memory {start:,.0f} MiB after {20 * _AT_ONCE:,} lines, "
        f"{resident():,.0f} MiB at the end; {found} of {odd} odd lines noticed, {false} false alarms at a budget of "
        f"{_BUDGET:g}"
    )


if __name__ == "__main__":
    main()
