"""How a served model answers: python benchmarks/serving.py RUN_OR_EXPORT … [--seconds 5] [--json]

For each model, texts of 20 and of 200 words, with batching and without, at 1, 8 and 64 connections: requests a second
and the latency in milliseconds that 50, 95 and 99 % of them stay below. The server and the client share this machine.
The line `direct` calls the SavedModel in a process of its own, one text at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_DIRECT = """
import json, sys, time
import tensorflow as tf
folder, name, libraries, seconds = sys.argv[1], sys.argv[2], sys.argv[3].split(), float(sys.argv[4])
for library in libraries:
    __import__(library)
loaded = tf.saved_model.load(folder)
call = loaded.signatures["serving_default"]
texts, times = json.load(sys.stdin), []
for text in texts[:20]:
    call(**{name: tf.constant([text])})
end = time.perf_counter() + seconds
while time.perf_counter() < end:
    for text in texts:
        began = time.perf_counter()
        {n: v.numpy() for n, v in call(**{name: tf.constant([text])}).items()}
        times.append(time.perf_counter() - began)
json.dump(times, sys.stdout)
"""


def texts_of(words: int, file: Path | None, count: int = 200) -> list[str]:
    """Texts of so many consecutive words: of a file, or of Python's documentation."""
    if file is None:
        from nlp_rnn.tasks.language_modeling.starter import documents

        whole = "\n".join(documents())
    else:
        whole = file.read_text(encoding="utf-8")
    found = re.findall(r"\S+", whole)
    starts = np.random.default_rng(0).integers(0, max(len(found) - words, 1), count)
    return [" ".join(found[start : start + words]) for start in starts]


@contextmanager
def serving(folder: Path, batch_size: int, options: list[str]) -> Iterator[int]:
    """A server of one model, under the name "model", on a free port."""
    with server(folder, ["--batch_size", str(batch_size), *options]) as (port, _):
        yield port


@contextmanager
def server(
    folder: Path, options: list[str], others: Sequence[str] = ()
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The same, with its process, and other models beside it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "nlp_rnn", "serve", f"model={folder}", *others, "--port", str(port)]
    command += options
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1).read()
                    break
                except OSError:
                    if process.poll() is not None:
                        break
                    time.sleep(0.2)
            if process.poll() is not None:
                log.seek(0)
                sys.exit(log.read().decode(errors="replace")[-2000:])
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


class _Connection(asyncio.Protocol):
    """Sends a request as soon as the one before is answered, and notes how long each took."""

    def __init__(self, requests: list[bytes], offset: int, times: list[float]) -> None:
        self.requests, self.at, self.times, self.received = requests, offset, times, b""
        self.is_over, self.errors = False, 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.received, self.began = b"", time.perf_counter()
        self.transport.write(self.requests[self.at % len(self.requests)])
        self.at += 1

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        size = re.search(rb"content-length: (\d+)", head.lower())
        if size is None or len(body) < int(size[1]):
            return
        self.times.append(time.perf_counter() - self.began)
        self.errors += head.split(b" ", 2)[1] != b"200"
        if self.is_over:
            self.transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def load(port: int, requests: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """What so many connections see that each send one request after the other."""
    loop, times = asyncio.get_running_loop(), []
    every = []
    for number in range(connections):
        offset = number * len(requests) // connections
        _, one = await loop.create_connection(
            lambda offset=offset: _Connection(requests, offset, times), "127.0.0.1", port
        )
        every.append(one)
    while len(times) < len(requests):  # shapes that are new to TensorFlow take it longer
        await asyncio.sleep(0.2)
    times.clear()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    count, took = len(times), time.perf_counter() - began
    measured = list(times)
    for one in every:
        one.is_over = True
    await asyncio.wait_for(asyncio.gather(*(one.ended for one in every)), 120)
    return {"requests/s": count / took, "errors": sum(one.errors for one in every), **quantiles(measured)}


def quantiles(times: list[float]) -> dict[str, float]:
    """Milliseconds that half, 95 and 99 of a hundred stay below."""
    return {f"p{q}": 1000 * float(np.percentile(times, q)) if times else float("nan") for q in (50, 95, 99)}


def request_of(text: str) -> bytes:
    """A request of TensorFlow Serving's REST interface."""
    body = json.dumps({"instances": [text]}).encode()
    head = "POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def direct(folder: Path, texts: list[str], seconds: float) -> dict[str, float]:
    """The SavedModel called in a process without anything else."""
    about = json.loads((folder / "assets.extra" / "signature.json").read_text(encoding="utf-8"))
    (name,) = about["signatures"]["serving_default"]["inputs"]
    command = [sys.executable, "-c", _DIRECT, str(folder), name, " ".join(about["libraries"]), str(seconds)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, input=json.dumps(texts), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    times = json.loads(done.stdout)
    return {"requests/s": len(times) / sum(times), "errors": 0, **quantiles(times)}


def measured(folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of a model."""
    texts = {words: texts_of(words, args.texts) for words in args.words}
    for words in args.words:
        yield {"words": words, "batching": "direct", "connections": 1, **direct(folder, texts[words], args.seconds)}
    for size in args.batch_sizes:
        with serving(args.served, size, args.options) as port:
            for words in args.words:
                requests = [request_of(text) for text in texts[words]]
                for connections in args.connections:
                    found = asyncio.run(load(port, requests, connections, args.seconds))
                    yield {"words": words, "batching": size, "connections": connections, **found}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--words", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[64, 1])
    parser.add_argument("--texts", type=Path, help="a file of text, of which parts are sent")
    parser.add_argument("--json", action="store_true")
    args, args.options = parser.parse_known_args()
    for model in args.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = model
            if (model / "config.yaml").is_file():
                folder = Path(temporary) / "export"
                subprocess.run(
                    [sys.executable, "-m", "nlp_rnn", "export", str(model), "--out", str(folder)],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            if not args.json:
                print(f"\n{model}\n{'words':>6} {'batching':>9} {'connections':>12} {'requests/s':>11}", end="")
                print(f" {'p50 ms':>8} {'p95':>8} {'p99':>8} {'errors':>7}", flush=True)
            args.served = model
            for row in measured(folder, args):
                if args.json:
                    print(json.dumps({"model": str(model), **row}), flush=True)
                    continue
                print(f"{row['words']:6} {row['batching']!s:>9} {row['connections']:12}", end="")
                print(f" {row['requests/s']:11.1f} {row['p50']:8.2f} {row['p95']:8.2f} {row['p99']:8.2f}", end="")
                print(f" {row['errors']:7.0f}", flush=True)


if __name__ == "__main__":
    main()
