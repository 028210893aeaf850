"""Damaged requests for the server, straight into its application, in a process of its own.

    python tests/request_fuzzing.py --inputs 2000                      # over all kinds
    python tests/request_fuzzing.py --kind oip --first 123 --inputs 1  # one again

Each input is a good request with its body changed by mutations that the kind and the input's
number decide; of a PNG the checksums are made right again in two of three, so that what they
guard is reached. Whatever comes, the answer must be a prediction or a refusal in one sentence,
never 500, in bounded time, and the process must not grow.

A failure is printed as one JSON object a line; the last line is a summary.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import logging
import os
import random
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bad_pictures import animated_gif, awkward, encoded, with_orientation
from mutations import MUTATIONS
from served import detector, settings_for
from whatwhere.serve.app import create_app

SECONDS = 20.0
"""Most processor time that one request may take."""

MEGABYTES = 60
"""Most that the process may grow from its first tenth to its end."""

REFUSALS = {400, 404, 413, 415, 422}


class Ask(NamedTuple):
    """A request."""

    path: str
    body: bytes
    headers: dict[str, str]
    query: bytes = b""


class Say(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


PICTURES = [
    *(encoded(suffix) for suffix in (".jpg", ".png", ".webp", ".bmp", ".tif")),
    with_orientation(encoded(".jpg"), 6),
    animated_gif(),
    *awkward().values(),
]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One to three mutations."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        _, mutate = MUTATIONS[rng.choice(list(MUTATIONS))]
        try:
            data = mutate(data, rng)
        except RecursionError:
            # The mutation itself reads JSON, which one before it has nested too deeply.
            return data
    return data


def picture(rng: random.Random) -> bytes:
    """A damaged picture; a PNG with right checksums in two of three."""
    good = rng.choice(PICTURES)
    if rng.random() < 0.1:
        # Two files in one.
        return rng.choice([good + rng.choice(PICTURES), damaged(good, rng)[:200] + good])
    bad = damaged(good, rng)
    return checked(bad) if rng.random() < 0.67 else bad


def checked(data: bytes) -> bytes:
    """A PNG with right checksums, as far as its chunks can be followed."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, place = bytearray(data), 8
    while place + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, place)
        if place + 12 + length > len(out):
            break
        sum_ = zlib.crc32(out[place + 4 : place + 8 + length])
        struct.pack_into(">I", out, place + 8 + length, sum_)
        place += 12 + length
    return bytes(out)


def raw(rng: random.Random) -> Ask:
    kind = rng.choice(["", "image/png", "application/octet-stream", "text/html", "image/\xff"])
    return Ask("/predict", picture(rng), {"content-type": kind})


def options(rng: random.Random) -> Ask:
    good = b"model=cells&threshold=0.5&top=2&timeout=20&name=a.png&annotate=1"
    headers = {"x-request-id": damaged(b"abc-1", rng)[:500].decode("latin-1")}
    return Ask("/predict", PICTURES[1], headers, damaged(good, rng)[:2000])


def form(rng: random.Random) -> Ask:
    parts = []
    for number in range(rng.choice([1, 2, 3])):
        parts.append(
            b'--edge\r\nContent-Disposition: form-data; name="a"; filename="%d.png"\r\n' % number
            + b"Content-Type: image/png\r\n\r\n"
            + (picture(rng) if rng.random() < 0.3 else rng.choice(PICTURES[:5]))
            + b"\r\n"
        )
    field = b'--edge\r\nContent-Disposition: form-data; name="threshold"\r\n\r\n0.5\r\n'
    body = b"".join([*parts, field, b"--edge--\r\n"])
    kind = "multipart/form-data; boundary=edge"
    if rng.random() < 0.2:
        kind = damaged(kind.encode(), rng)[:3000].decode("latin-1")
    # The frame, not only what is inside: most bytes are those of pictures.
    frame = rng.random()
    if frame < 0.4:
        at = body.index(b"\r\n\r\n") + 4
        body = damaged(body[:at], rng) + body[at:]
    elif frame < 0.7:
        body = body[: -len(field) - 10] + damaged(body[-len(field) - 10 :], rng)
    else:
        body = damaged(body, rng)
    return Ask("/predict", body, {"content-type": kind})


def oip(rng: random.Random) -> Ask:
    pixels = [rng.randrange(256) for _ in range(4 * 4 * 3)]
    files = [base64.b64encode(rng.choice(PICTURES[:5])).decode()]
    one: dict[str, Any] = rng.choice(
        [
            {"name": "images", "shape": [1, 4, 4, 3], "datatype": "UINT8", "data": pixels},
            {"name": "image_files", "shape": [1], "datatype": "BYTES", "data": files},
        ]
    )
    value: dict[str, Any] = {
        "id": "1",
        "inputs": [one],
        "outputs": [{"name": "boxes"}, {"name": "json", "parameters": {"binary_data": True}}],
        "parameters": {"threshold": 0.5, "timeout": 10_000_000},
    }
    if rng.random() < 0.3:
        _replace(value, rng)
    body = json.dumps(value).encode()
    if rng.random() < 0.8:
        body = damaged(body, rng)
    if rng.random() < 0.02:
        body = body.replace(b"[", b"[" * 100_000, 1)
    return Ask(f"/v2/models/cells{rng.choice(['', '/versions/1'])}/infer", body, {})


ODD: list[Any] = [None, True, -1, 0, 1e308, 10**40, "", "../x", "\x00", [], {}, [[]], "images", 1.5]


def _replace(value: Any, rng: random.Random) -> None:
    """Another value somewhere."""
    while isinstance(value, dict | list) and value:
        place: Any = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if not isinstance(value[place], dict | list) or rng.random() < 0.2:
            value[place] = rng.choice(ODD)
            return
        value = value[place]


def binary(rng: random.Random) -> Ask:
    if rng.random() < 0.5:
        data = bytes(rng.randrange(256) for _ in range(4 * 4 * 3))
        shape, name, datatype = [1, 4, 4, 3], "images", "UINT8"
    else:
        chosen = [picture(rng) for _ in range(rng.choice([1, 2]))]
        data = b"".join(struct.pack("<I", len(one)) + one for one in chosen)
        shape, name, datatype = [len(chosen)], "image_files", "BYTES"
    about = {"name": name, "shape": shape, "datatype": datatype}
    about["parameters"] = {"binary_data_size": len(data)}
    text = json.dumps({"inputs": [about], "parameters": {"binary_data_output": True}}).encode()
    header = str(len(text)).encode()
    chance = rng.random()
    if chance < 0.3:
        text = damaged(text, rng)
    elif chance < 0.6:
        data = damaged(data, rng)
    elif chance < 0.8:
        header = damaged(header, rng)[:100]
    else:
        header = str(rng.randrange(len(text) + len(data) + 5)).encode()
    headers = {"inference-header-content-length": header.decode("latin-1")}
    return Ask("/v2/models/cells/infer", text + data, headers)


KINDS: dict[str, Callable[[random.Random], Ask]] = {
    "raw": raw,
    "options": options,
    "form": form,
    "oip": oip,
    "binary": binary,
}


async def exchange(app: Any, ask: Ask, rng: random.Random) -> Say:
    """Send a request in a few pieces, as they may come from a network."""
    cuts = sorted(rng.randrange(len(ask.body) + 1) for _ in range(rng.choice([0, 0, 1, 3])))
    places = [0, *cuts, len(ask.body)]
    pieces = [ask.body[a:b] for a, b in pairwise(places)]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            # Whether the client has gone is asked while the model runs; it waits.
            await asyncio.Event().wait()
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"host": "localhost", "content-length": str(len(ask.body)), **ask.headers}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": ask.path,
        "raw_path": ask.path.encode(),
        "query_string": ask.query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    got = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Say(sent[0]["status"], got, b"".join(one.get("body", b"") for one in sent[1:]))


def wrong(ask: Ask, say: Say) -> str | None:
    """What is not as it must be."""
    if say.status in (503, 504) and b"timeout" in ask.body + ask.query:
        # It asked for less time than there is.
        return None
    if say.status == 200:
        if "inference-header-content-length" in say.headers:
            json.loads(say.body[: int(say.headers["inference-header-content-length"])])
        elif say.headers["content-type"] == "application/json":
            json.loads(say.body, parse_constant=lambda text: 1 / 0)
        return None
    if say.status not in REFUSALS:
        return f"status {say.status}"
    value = json.loads(say.body)
    if set(value) - {"retry_seconds"} != {"error", "status", "request_id"}:
        return f"the refusal has the keys {sorted(value)}"
    text = value["error"]
    if "\n" in text or "Traceback" in text or len(text) > 1000 or "site-packages" in text:
        return f"the refusal says {text[:300]!r}"
    return None


def tell(value: dict[str, Any]) -> None:
    """A line of the report."""
    sys.stdout.write(json.dumps(value) + "\n")


async def fuzz(app: Any, kinds: list[str], first: int, inputs: int, progress: Path | None) -> int:
    process, statuses, failures = psutil.Process(), Counter[str](), 0
    before = 0
    for number in range(first, first + inputs):
        kind = kinds[number % len(kinds)]
        if progress is not None:
            progress.write_text(f"--kind {kind} --first {number} --inputs 1")
        rng = random.Random(f"{kind} {number}")
        ask = KINDS[kind](rng)
        start = time.process_time()
        say = await exchange(app, ask, rng)
        spent = time.process_time() - start
        fault = wrong(ask, say)
        if fault is None and spent > SECONDS:
            fault = f"it took {spent:.1f} seconds"
        statuses[f"{kind} {say.status}"] += 1
        if fault is not None:
            failures += 1
            said = say.body[:300].decode("utf-8", "replace")
            tell({"kind": kind, "number": number, "fault": fault, "said": said})
        if number == first + inputs // 10:
            gc.collect()
            before = process.memory_info().rss
    gc.collect()
    grown = (process.memory_info().rss - before) / 1e6
    if inputs > 1000 and grown > MEGABYTES:
        failures += 1
        tell({"fault": f"the process grew by {grown:.0f} MB"})
    gate = app.state.service.gate
    if gate.requests or gate.bytes:
        failures += 1
        tell({"fault": f"{gate.requests} requests and {gate.bytes} bytes are left"})
    summary = {"inputs": inputs, "failures": failures, "grown_megabytes": round(grown, 1)}
    tell(summary | {"statuses": dict(sorted(statuses.items()))})
    return failures


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--progress", type=Path)
    given = parser.parse_args()
    kinds = [given.kind] if given.kind else list(KINDS)
    # A line for each failure of a model, with its traceback, is what a person looks for.
    logging.basicConfig(stream=sys.stdout, level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        model = detector(Path(folder))
        limits = {"max_pixels": 1_000_000, "deadline_seconds": 300.0, "pictures": 8}
        app = create_app(settings_for(f"cells@1={model}", **limits))
        app.state.service.start()
        try:
            failures = asyncio.run(fuzz(app, kinds, given.first, given.inputs, given.progress))
        finally:
            app.state.service.close()
    return 1 if failures else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
