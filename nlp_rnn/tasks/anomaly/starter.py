"""The starter corpus of anomaly detection: log sessions of a small ticket shop that does not exist, made by a generator
with known faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

SIZES = {"train": (900, 0), "validation": (200, 0), "test": (500, 120)}
"""Normal and faulty sessions of each split."""
_TITLES = ("opera", "football", "lecture", "circus", "museum night", "jazz evening", "reading")


@cache
def sessions(split: str) -> list[dict[str, Any]]:
    """The lines of a split: `{"event", "session", "label", "kind", "line"}`; the label is "normal" or "anomaly", the
    kind that of the fault."""
    generator = random.Random(f"shop {split}")
    normal, faulty = SIZES[split]
    kinds = [None] * normal + [name for name, _ in zip(_endless(FAULTS), range(faulty), strict=False)]
    generator.shuffle(kinds)
    found: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds):
        lines = _visit(generator)
        lines = FAULTS[kind](lines, generator) if kind else lines
        name = f"{split}-{number:04d}"
        for line in lines:
            about = {"session": name, "label": "anomaly" if kind else "normal", "kind": kind or ""}
            found.append({"event": line, **about, "line": len(found) + 1})
    return found


def _endless(names: Any) -> Iterator[str]:
    while True:
        yield from names


def _visit(draw: random.Random) -> list[str]:
    """A visit to the shop, line by line."""
    user, cart = draw.randrange(1000, 9999), draw.randrange(10**6)
    lines = [f"connection from 10.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(256)} accepted"]
    signed_in = draw.random() < 0.7
    if signed_in:
        lines.append(f"user {user} asks to sign in")
        lines += [f"password of user {user} is wrong"] * (draw.random() < 0.1)
        lines.append(f"user {user} signed in after {draw.randrange(20, 400)} ms")
    for _ in range(1 + int(draw.expovariate(0.5))):
        title = draw.choice(_TITLES)
        lines.append(f'search "{title}" gave {draw.randrange(1, 40)} results in {draw.randrange(5, 90)} ms')
        for _ in range(draw.randrange(3)):
            lines.append(f"GET /events/{draw.randrange(1, 900)}/seats 200 {draw.randrange(4, 60)} ms")
            if draw.random() < 0.3:
                lines.append(f"cache miss for key seats:{draw.randrange(900)}, read from db-{draw.randrange(1, 4)}")
    if signed_in and draw.random() < 0.6:
        lines += _purchase(draw, cart, user)
    if signed_in:
        lines.append(f"user {user} signed out")
    lines.append(f"connection closed after {draw.randrange(2, 900)} s, {draw.randrange(1, 400)} kB sent")
    return lines


def _purchase(draw: random.Random, cart: int, user: int) -> list[str]:
    seats = draw.randrange(1, 6)
    lines = [f"cart {cart} opened for user {user}"]
    lines += [
        f"seat {draw.randrange(1, 500)} reserved in cart {cart} until 2026-03-01T20:{draw.randrange(10, 59)}:00"
    ] * seats
    lines.append(f"cart {cart} total {draw.randrange(10, 300)}.{draw.randrange(10, 99)} EUR")
    lines.append(f"payment of cart {cart} sent to provider")
    lines += [f"provider is slow, waiting {draw.randrange(2, 9)} s"] * draw.choice((0, 0, 0, 1, 2))
    if draw.random() < 0.08:
        return [*lines, f"payment of cart {cart} declined by bank", f"seats of cart {cart} released"]
    lines.append(f"payment of cart {cart} confirmed, reference {draw.getrandbits(64):016x}")
    lines.append(f"ticket /tickets/2026/{draw.randrange(10**5)}.pdf written")
    return [*lines, f"mail to user{user}@example.org queued"]


def _without_a_step(lines: list[str], draw: random.Random) -> list[str]:
    """One line in the middle is missing."""
    place = draw.randrange(1, len(lines) - 1)
    return lines[:place] + lines[place + 1 :]


def _swapped(lines: list[str], draw: random.Random) -> list[str]:
    """Two neighbours have changed places."""
    places = [i for i in range(1, len(lines) - 2) if lines[i].split()[0] != lines[i + 1].split()[0]] or [0]
    place = draw.choice(places)
    return [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]


def _stuck(lines: list[str], draw: random.Random) -> list[str]:
    """One line again and again."""
    place = draw.randrange(1, len(lines))
    return lines[:place] + [lines[place - 1]] * draw.randrange(4, 12) + lines[place:]


def _cut_off(lines: list[str], draw: random.Random) -> list[str]:
    """The end is missing."""
    return lines[: max(2, draw.randrange(len(lines) // 2, len(lines)))]


def _paid_twice(lines: list[str], draw: random.Random) -> list[str]:
    """A payment is sent again after it was confirmed."""
    sent = next((line for line in lines if "sent to provider" in line), "payment of cart 5 sent to provider")
    place = next((i for i, line in enumerate(lines) if "confirmed" in line), len(lines) - 2)
    return [*lines[: place + 1], sent, *lines[place + 1 :]]


def _failing(lines: list[str], draw: random.Random) -> list[str]:
    """Errors that no normal session has."""
    errors = (
        f"db-{draw.randrange(1, 4)} does not answer, retry {draw.randrange(1, 4)}",
        "worker killed: out of memory",
    )
    place = draw.randrange(1, len(lines))
    return [*lines[:place], *[draw.choice(errors)] * draw.randrange(1, 4), *lines[place:]]


FAULTS: dict[str, Callable[[list[str], random.Random], list[str]]] = {
    "a step is missing": _without_a_step,
    "two steps swapped": _swapped,
    "stuck": _stuck,
    "cut off": _cut_off,
    "paid twice": _paid_twice,
    "failing": _failing,
}
"""By kind: (lines of a normal session, generator) → those of a faulty one."""
