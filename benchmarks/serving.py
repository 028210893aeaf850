"""How fast `whatwhere serve` answers under load, beside `whatwhere predict` and other servers.

    python benchmarks/serving.py --pictures FOLDER --peer-python peers/bin/python

Every server gets the same JPEGs over loopback from this process and runs only in its own turn;
the turns are repeated in rounds, beginning with what `whatwhere predict` does with the same files
(its stream in a process of its own, after a first pass). In each turn:

- saturation: a closed loop with 16 connections; pictures a second. The ratio is to `predict` of the
  same round; the median of the rounds is printed.
- 70 % of that, as an open loop: times at which requests are sent are fixed before, evenly and as
  a Poisson process (bursts, as of many strangers), and an answer's time counts from then, not from
  when the client came to send it. The 99th percentile; the ratio is to the batch latency of
  ours in the same round, which is `service_seconds` of its `/models`.

The client shares the cores with the server, which lowers all servers' figures, not `predict`'s.
Peers do the same work plainly (`_peer_serving.py`) with the file of `objects-lite`. Answers that
are no results and connections that broke are counted in "failed"; "objects" is how many were
found in the pictures by one pass, so that it is seen that all do the same work. The peers' Python
needs fastapi, uvicorn, litserve, bentoml, onnxruntime and opencv-python-headless.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _serving as load

import whatwhere as ww
from whatwhere.runtime.shipped import model_bytes

HERE = Path(__file__).parent
PEERS = (
    "fastapi",
    "fastapi-tuned",
    "litserve",
    "litserve-tuned",
    "bentoml",
    "bentoml-tuned",
)
CONNECTIONS = 16
ARRIVALS = {"evenly": False, "Poisson": True}


@dataclass
class Found:
    """Of one contestant, a value for each round.

    Args:
        rates: pictures a second at saturation.
        ratios: of that to `predict`.
        late: by arrivals, 99th percentiles in seconds.
        in_batches: the same in batch latencies of ours.
        failed: answers that are no results, in all rounds.
        objects: found by one pass over the pictures.
    """

    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    late: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    in_batches: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: int = 0
    objects: int = 0


def predict(folder: Path, seconds: float) -> dict[str, Any]:
    """Pictures a second of the stream that `whatwhere predict` reads from, and their objects."""
    predictor = ww.load("objects-lite")
    paths = sorted(map(str, folder.iterdir()))
    objects = sum(_objects(row) for row in predictor.stream(paths))
    times = max(1, round(2000 / len(paths)))
    done, start = 0, time.perf_counter()
    for row in predictor.stream(paths * times):
        done += isinstance(row, ww.Prediction)
        if time.perf_counter() - start > seconds:
            break
    return {"rate": done / (time.perf_counter() - start), "objects": objects}


def _objects(row: object) -> int:
    return len(row.boxes) if isinstance(row, ww.Prediction) else 0


def turn(
    command: Sequence[str],
    port: int,
    requests: Sequence[load.Request],
    seconds: float,
    found: Found,
    batch_seconds: float,
) -> float:
    """One contestant's turn of a round; gives the batch latency, its own if there was none."""
    with load.server(command, port, requests[0]):
        first = load.Connection(port)
        answers = [first.ask(request) for request in requests]
        first.close()
        found.objects = sum(len(json.loads(b)["objects"]) for s, b in answers if s == 200)
        load.closed_loop(port, requests, CONNECTIONS, min(2.0, seconds))
        start = time.perf_counter()
        loaded = load.closed_loop(port, requests, CONNECTIONS, seconds)
        rate = load.rate_of(loaded, start, seconds)
        found.rates.append(rate)
        found.failed += sum(answer.status != 200 for answer in loaded)
        if not rate:
            raise SystemExit(f"{command[0]} {command[-1]}: no results: {loaded[:1]}")
        for name, poisson in ARRIVALS.items():
            times = load.schedule(0.7 * rate, seconds, poisson)
            rows = load.open_loop(port, requests, times, 64)
            found.failed += sum(row.status != 200 for row in rows)
            late = load.quantile([row.ended - row.planned for row in rows], 0.99)
            if not batch_seconds:
                models: Any = load.get(port, "/models")
                batch_seconds = models["models"][0]["versions"][0]["service_seconds"]
            found.late[name].append(late)
            found.in_batches[name].append(late / batch_seconds)
    return batch_seconds


def version_of(python: str, who: str) -> str:
    """Of a peer's package."""
    package = who.removesuffix("-tuned")
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def contest(
    bodies: Sequence[bytes], who: Sequence[str], rounds: int, seconds: float, python: str
) -> dict[str, Found]:
    """All contestants in all rounds."""
    found: dict[str, Found] = {"whatwhere predict": Found(), "whatwhere serve": Found()}
    found |= {name: Found() for name in who}
    plain, forms = [load.raw(body) for body in bodies], [load.form(body) for body in bodies]
    with tempfile.TemporaryDirectory() as temporary:
        folder, model = Path(temporary) / "pictures", Path(temporary) / "model.onnx"
        folder.mkdir()
        model.write_bytes(model_bytes("objects-lite"))
        for number, body in enumerate(bodies):
            (folder / f"{number:04}.jpg").write_bytes(body)
        for _ in range(rounds):
            command = [sys.executable, str(Path(__file__).resolve()), "--stream", str(folder)]
            command += ["--seconds", str(seconds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            base = json.loads(done.stdout)
            found["whatwhere predict"].rates.append(base["rate"])
            found["whatwhere predict"].objects = base["objects"]
            port = load.free_port()
            mine = found["whatwhere serve"]
            batch_seconds = turn(load.ours(port), port, plain, seconds, mine, 0.0)
            for name in who:
                port = load.free_port()
                theirs = [python, str(HERE / "_peer_serving.py"), name, str(model), str(port)]
                theirs.append(str(os.cpu_count() or 1))
                requests = plain if name.startswith("fastapi") else forms
                turn(theirs, port, requests, seconds, found[name], batch_seconds)
            for entry in found.values():
                entry.ratios.append(entry.rates[-1] / base["rate"])
    return found


def table(found: dict[str, Found], python: str) -> list[dict[str, Any]]:
    """A row for each figure: medians of the rounds."""
    made: list[dict[str, Any]] = []
    for who, entry in found.items():
        version = ww.__version__ if who.startswith("whatwhere") else version_of(python, who)
        common = {"who": who, "version": version}
        extra = {"failed": entry.failed, "objects": entry.objects}
        rate, ratio = statistics.median(entry.rates), statistics.median(entry.ratios)
        made.append({"work": "saturation", **common, "value": rate, "ratio": ratio, **extra})
        for name, values in entry.late.items():
            late, batches = statistics.median(values), statistics.median(entry.in_batches[name])
            work = f"p99 at 70 %, {name}"
            made.append({"work": work, **common, "seconds": late, "ratio": batches})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", default="", help="folder of JPEGs; generated if left out")
    parser.add_argument("--count", type=int, default=50, help="pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="each measurement")
    parser.add_argument("--peer-python", default="", help="a Python with the peers")
    parser.add_argument("--who", default=",".join(PEERS), help="peers, separated by commas")
    parser.add_argument("--quick", action="store_true", help="a round of seconds, no peers")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stream:
        print(json.dumps(predict(given.stream, given.seconds)))
        return
    if given.quick:
        given.count, given.rounds, given.seconds, given.peer_python = 10, 1, 3.0, ""
    who = given.who.split(",") if given.peer_python and given.who else []
    bodies = load.pictures(given.pictures, given.count)
    # Not resolved: a link to Python is what makes an environment its own.
    python = str(Path(given.peer_python).absolute()) if given.peer_python else ""
    for row in table(contest(bodies, who, given.rounds, given.seconds, python), python):
        if given.json:
            print(json.dumps(row))
            continue
        figure = f"{row['value']:8.1f} /s" if "value" in row else f"{1e3 * row['seconds']:8.1f} ms"
        extra = f"  {row['failed']} failed, {row['objects']} objects" if "failed" in row else ""
        print(
            f"{row['work']:22} {row['who']:18} {row['version']:10}"
            f" {figure}  {row['ratio']:6.2f}{extra}"
        )


if __name__ == "__main__":
    main()
