"""What a served model needs: python benchmarks/serving_resources.py RUN_OR_EXPORT … [--seconds 5] [--json]

Each is served alone. Prints the seconds from the start of the process until it is ready, the memory that it holds then
and after some seconds of requests from 8 connections, the example of its default signature all of them, and how many of
these are answered in a second. The last line is a server of all models together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

import requests
from serving import load, server
from serving_faults import resident

CONNECTIONS = 8


def example_of(port: int, name: str) -> bytes:
    """A request with the example of a model's default signature."""
    about = requests.get(f"http://127.0.0.1:{port}/v1/models/{name}/metadata", timeout=60).json()
    inputs = about["metadata"]["signatures"]["serving_default"]["example"]["inputs"]
    body = json.dumps({"inputs": inputs}).encode()
    head = f"POST /v1/models/{name}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def measured(folders: dict[str, Path], seconds: float) -> dict[str, Any]:
    """The figures of a server of some models; requests go to the first."""
    began = time.perf_counter()
    (first, folder), *others = folders.items()
    with server(folder, [], [f"{name}={path}" for name, path in others]) as (port, process):
        ready, before = time.perf_counter() - began, resident(process.pid)
        found = asyncio.run(load(port, [example_of(port, first)], CONNECTIONS, seconds))
        return {
            "ready": ready,
            "MiB": before,
            "MiB after": resident(process.pid),
            "requests/s": found["requests/s"],
            "errors": found["errors"],
        }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    several = {"model" if i == 0 else f"model{i}": path for i, path in enumerate(args.models)}
    sides = {str(path): {"model": path} for path in args.models} | ({"all": several} if len(several) > 1 else {})
    if not args.json:
        print(f"{'model':32} {'ready, s':>9} {'MiB':>7} {'after':>7} {'requests/s':>11} {'errors':>7}")
    for name, folders in sides.items():
        found = measured(folders, args.seconds)
        if args.json:
            print(json.dumps({"model": name, **found}), flush=True)
            continue
        print(f"{name:32} {found['ready']:9.1f} {found['MiB']:7.0f} {found['MiB after']:7.0f}", end="")
        print(f" {found['requests/s']:11.1f} {found['errors']:7.0f}", flush=True)


if __name__ == "__main__":
    main()
