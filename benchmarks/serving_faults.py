"""What a server stands: python benchmarks/serving_faults.py RUN_OR_EXPORT [--minutes 10] [--malformed 10000]

Malformed requests of many kinds: each must get a status of 4xx with a sentence, and the server be right afterwards.
A model that is exchanged under load: no request may fail. A server that is killed under load and started again: the
seconds until it answers. A soak at 64 connections: errors, requests a second, and memory in the first and last minute.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import requests
from serving import load, request_of, server, texts_of

JSON = {"Content-Type": "application/json"}


def malformed(number: int, rng: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """One of some thirty kinds of requests that make no sense: method, path, body, headers."""
    v1, v2 = "/v1/models/model:predict", "/v2/models/model/infer"
    noise = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 200)))
    text = "".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x20000)])) for _ in range(20))
    text = text.encode("utf-8", "replace").decode()
    wrong: list[Any] = [
        None,
        True,
        5,
        -1.5,
        1e308,
        [],
        {},
        [[]],
        [None],
        [[text]],
        {"a": text},
        [text, 5],
        [[1, 2], [3]],
    ]
    value = rng.choice(wrong)
    deep = "[" * 5000 + "]" * 5000
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    shape = rng.choice([[2], [-1], ["a"], [0, 5], [10**12], 1, [], None])
    kinds: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", v1, noise, JSON),
        ("POST", v1, noise, {}),
        ("POST", v1, b"", JSON),
        ("POST", v1, json.dumps(value), JSON),
        ("POST", v1, json.dumps({"instances": 5 if value == [] else value, "x": 1, "inputs": 1}), JSON),
        ("POST", v1, json.dumps({"instances": [value]}), JSON),
        ("POST", v1, json.dumps({"inputs": {"text": 5 if value == [] else value, text: 1}}), JSON),
        ("POST", v1, json.dumps({"instances": [text], "signature_name": rng.choice([text, 5, None, ["a"]])}), JSON),
        ("POST", v1, json.dumps({"instances": [{text: text}]}), JSON),
        ("POST", v1, json.dumps({"instances": [text] * 1001}), JSON),
        ("POST", v1, json.dumps({"instances": ["a" * 200_001]}), JSON),
        ("POST", v1, json.dumps({"instances": [text]})[: rng.randrange(1, 20)], JSON),
        ("POST", v1, deep, JSON),
        ("POST", v1, '{"instances": [' + deep + "]}", JSON),
        ("POST", v1, json.dumps({"instances": [["a"] * rng.randrange(2, 9), ["b"]]}), JSON),
        ("POST", f"/v1/models/{rng.randrange(10**9)}:predict", json.dumps({"instances": [text]}), JSON),
        ("POST", "/v1/models/model/versions/99:predict", json.dumps({"instances": [text]}), JSON),
        ("POST", v2, noise, JSON),
        ("POST", v2, json.dumps(value), JSON),
        ("POST", v2, json.dumps({"inputs": value}), JSON),
        ("POST", v2, json.dumps({"inputs": []}), JSON),
        ("POST", v2, json.dumps({"inputs": [{**tensor, "datatype": rng.choice(["INT64", "FP32", "X", 5])}]}), JSON),
        ("POST", v2, json.dumps({"inputs": [{**tensor, "shape": shape}]}), JSON),
        ("POST", v2, json.dumps({"inputs": [{**tensor, "data": rng.choice([[5], [None], 5, [["a", "b"]]])}]}), JSON),
        ("POST", v2, json.dumps({"inputs": [{**tensor, "name": text}]}), JSON),
        ("POST", v2, json.dumps({"inputs": [tensor], "outputs": [{"name": text}]}), JSON),
        ("POST", v2, json.dumps({"inputs": [tensor], "parameters": {"signature_name": rng.choice([text, 5])}}), JSON),
        ("POST", v2, noise, {**JSON, "Inference-Header-Content-Length": str(rng.choice([5, -1, "x", 10**9]))}),
        ("POST", "/v2/models/model/generate_stream", json.dumps({"text_input": value}), JSON),
        ("POST", "/v2/repository/models/model/unload", json.dumps({}), JSON),
        (rng.choice(["GET", "PUT", "DELETE", "PATCH"]), v1, json.dumps({"instances": [text]}), JSON),
        ("GET", f"/{rng.randrange(10**9)}", b"", {}),
    ]
    method, path, body, headers = kinds[number % len(kinds)]
    return method, path, body if isinstance(body, bytes) else body.encode(), headers


def answers_rightly(port: int) -> bool:
    """Whether a sound request gets a sound answer."""
    found = requests.post(f"http://127.0.0.1:{port}/v1/models/model:predict", json={"instances": ["Fine."]}, timeout=30)
    return found.status_code == 200 and len(found.json()["predictions"]) == 1


def throw(port: int, count: int) -> None:
    """Sends malformed requests, and prints what came of them."""
    rng = random.Random(0)
    statuses: collections.Counter[int] = collections.Counter()
    bad: collections.Counter[str] = collections.Counter()
    for number in range(count):
        method, path, body, headers = malformed(number, rng)
        found = requests.request(method, f"http://127.0.0.1:{port}{path}", data=body, headers=headers, timeout=30)
        statuses[found.status_code] += 1
        try:
            content = found.json()
            has_sentence = bool(content.get("error") or content.get("detail"))
        except (ValueError, AttributeError):
            has_sentence = False
        if not 400 <= found.status_code < 500 or not has_sentence:
            bad[f"{method} {path.split('/models')[0]} {body[:60]!r} -> {found.status_code} {found.text[:80]!r}"] += 1
    print(f"{count:,} malformed requests: {dict(sorted(statuses.items()))}; ", end="")
    print(f"{sum(bad.values())} without a 4xx and a sentence")
    for example, times in bad.most_common(12):
        print(f"  {times} x {example}")
    print(f"  right afterwards: {answers_rightly(port)}")


async def exchanged(port: int, folder: Path, sound: list[bytes]) -> None:
    """Puts versions into the folder while 64 connections ask."""
    asking = asyncio.create_task(load(port, sound, 64, 20))
    for version in (2, 3):
        await asyncio.sleep(4)
        temporary = folder / f".{version}"
        await asyncio.to_thread(shutil.copytree, folder / "1", temporary)
        temporary.rename(folder / str(version))
    found = await asking
    about = requests.get(f"http://127.0.0.1:{port}/v1/models/model/metadata", timeout=30).json()["model_spec"]
    print(f"exchanged under load: {found['errors']:.0f} errors in {20 * found['requests/s']:,.0f}; ", end="")
    print(f"now version {about['version']}")


def resident(process: int) -> float:
    """Mebibytes of memory that a process holds."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def soak(port: int, process: int, sound: list[bytes], minutes: float) -> None:
    """Asks at 64 connections for some minutes."""
    task = asyncio.create_task(load(port, sound, 64, 60 * minutes))
    await asyncio.sleep(min(60, 20 * minutes))
    memory = []
    while not task.done():
        memory.append(resident(process))
        await asyncio.sleep(5)
    found, part = task.result(), max(1, len(memory) // max(1, round(minutes)))
    first, last = (sum(some) / len(some) for some in (memory[:part], memory[-part:]))
    print(f"soak of {minutes:g} minutes: {found['errors']:.0f} errors, {found['requests/s']:.0f} requests/s, ", end="")
    print(f"p99 {found['p99']:.0f} ms; memory {first:.0f} MiB in the first minute, {last:.0f} in the last")


def main() -> None:
    """Prints what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--malformed", type=int, default=10_000)
    args = parser.parse_args()
    sound = [request_of(text) for text in texts_of(20, None)]
    with server(args.model, []) as (port, process):
        throw(port, args.malformed)
    if (args.model / "saved_model.pb").is_file():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            shutil.copytree(args.model, folder / "1")
            with server(folder, ["--reload_seconds", "1"]) as (port, _):
                asyncio.run(exchanged(port, folder, sound))
    with server(args.model, []) as (port, process):
        process.kill()
        process.wait()
    began = time.perf_counter()
    with server(args.model, []) as (port, process):
        print(f"started again: answers after {time.perf_counter() - began:.1f} s: {answers_rightly(port)}", flush=True)
        asyncio.run(soak(port, process.pid, sound, args.minutes))


if __name__ == "__main__":
    main()
