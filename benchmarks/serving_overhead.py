"""What `whatwhere serve` costs beside the model: processor time a request, not seconds on a clock.

    python benchmarks/serving_overhead.py

The model is tiny, so that nearly all of the time is the server's. Four programs answer the same
PNG over loopback, each in its own turn, the turns in rounds; the medians are printed:

- `engine`: the predictor alone, from the bytes to the line of JSON, without a server.
- `plain`: the least that can be done with the same libraries (Starlette, uvicorn, httptools,
  uvloop): the body to the predictor in a thread, JSON back; no limits, queue, ids or figures.
- `serve --no-drift`, and `serve` as it is by default.

A turn counts the processor time (user and system) of the server's process over all requests, one
after the other on one connection and eight at a time. The ratio is of what is spent beyond `engine`
to what `plain` spends beyond it. Processor time does not depend on who else uses the machine, but
for caches; drift looks at ten pictures a second at most, so its share depends on the speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import _serving as load
import psutil

import whatwhere as ww

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from factories import picture, write_model  # noqa: E402
from whatwhere.images import encode_image  # noqa: E402

LOADS = {"one": 1, "eight": 8}
FIRST = 200


def spent(process: psutil.Process) -> float:
    """Seconds of processor time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def turn(command: list[str], port: int, request: load.Request, count: int) -> dict[str, float]:
    """Milliseconds of processor time a request, by load."""
    found = {}
    with load.server(command, port, request) as started:
        process = psutil.Process(started.pid)
        ask(port, request, FIRST, 1)
        for name, connections in LOADS.items():
            before = spent(process)
            ask(port, request, count, connections)
            found[name] = 1e3 * (spent(process) - before) / count
    return found


def ask(port: int, request: load.Request, count: int, connections: int) -> None:
    """So many requests; each must be answered."""
    share = count // connections

    def client() -> None:
        connection = load.Connection(port)
        for _ in range(share):
            status, body = connection.ask(request)
            if status != 200:
                failed.append(body)
        connection.close()

    failed: list[bytes] = []
    load._together(client, connections)
    if failed:
        raise SystemExit(f"{len(failed)} requests failed: {failed[0]!r}")


def engine(model: str, body: bytes, count: int) -> float:
    """Milliseconds of processor time a picture without a server."""
    predictor = ww.load(model, threads=1)
    for _ in range(FIRST):
        predictor.predict(body)
    before = time.process_time()
    for _ in range(count):
        json.dumps(predictor.predict(body).to_dict())
    return 1e3 * (time.process_time() - before) / count


def plain(model: str, port: int) -> None:
    """The least server; runs until it is stopped."""
    import asyncio

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    predictor = ww.load(model, threads=1)

    async def predict(request: Request) -> JSONResponse:
        answer = await asyncio.to_thread(predictor.predict, await request.body())
        return JSONResponse(answer.to_dict())

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    uvicorn.run(app, port=port, log_level="error", access_log=False, lifespan="off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="requests of a measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="", help="another model than the tiny one")
    parser.add_argument("--picture", type=Path, help="another picture than a small PNG")
    parser.add_argument("--quick", action="store_true", help="a round of seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--engine", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain:
        plain(given.model, given.plain)
        return
    small = encode_image(picture((0, 1, 0), (2, 2, 1)), ".png")
    body = given.picture.read_bytes() if given.picture else small
    if given.engine:
        print(engine(given.model, body, given.count))
        return
    if given.quick:
        given.count, given.rounds = 400, 1
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or str(write_model(Path(folder) / "tiny.onnx", "detect"))
        rows = contest(model, body, given)
    beyond = {
        name: value - rows["engine", "one"] for (who, name), value in rows.items() if who == "plain"
    }
    for (who, name), value in rows.items():
        ratio = (value - rows["engine", "one"]) / beyond[name]
        row = {"work": f"processor time, {name} at a time", "who": who, "ms": value, "ratio": ratio}
        print(
            json.dumps(row)
            if given.json
            else f"{row['work']:30} {who:18} {value:7.3f} ms {ratio:6.2f}"
        )


def contest(model: str, body: bytes, given: argparse.Namespace) -> dict[tuple[str, str], float]:
    """Medians over the rounds, by program and load."""
    me = [sys.executable, str(Path(__file__).resolve()), "--model", model]
    me += ["--count", str(given.count)]
    if given.picture:
        me += ["--picture", str(given.picture)]
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(given.rounds):
        done = subprocess.run([*me, "--engine"], stdout=subprocess.PIPE, text=True, check=True)
        for name in LOADS:
            found["engine", name].append(float(done.stdout))
        port = load.free_port()
        ours = [sys.executable, "-m", "whatwhere", "serve", model, "--threads", "1", "--port"]
        for who, command in {
            "plain": [*me, "--plain", str(port)],
            "serve --no-drift": [*ours, str(port), "--no-drift"],
            "serve": [*ours, str(port)],
        }.items():
            made = turn(command, port, load.Request(body, "image/png"), given.count)
            for name, value in made.items():
                found[who, name].append(value)
    return {key: statistics.median(values) for key, values in found.items()}


if __name__ == "__main__":
    main()
