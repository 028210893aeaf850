"""What `whatwhere serve` does at twice its capacity, when a worker is killed, and when it ends.

    python benchmarks/serving_endurance.py --pictures FOLDER --minutes 10

Two worker processes serve `objects-lite`. Their capacity is measured by a closed loop with 16
connections; then requests are sent at twice that, at fixed times, for so many minutes. In the
middle one worker gets `kill -9`; at the end the server gets SIGTERM while the load goes on. Only
requests sent before SIGTERM count. Each must get a result (200 and a JSON object of predictions)
or a clean refusal (503, 429 or 504, and JSON with a sentence); any other end is "lost". Connections
that broke within two seconds of the kill are counted apart: the killed worker had accepted them,
and no other can answer; a request sent just afterwards may go into one that it had kept open.

Memory is the resident set (psutil) of the server and its worker processes, every second: the
median of the last quarter of the time minus that of the second quarter, in MB. It is also given
for the worker that was not killed, which ran all the time. The status is 1 if a request was lost,
if the killed worker was not replaced, or if the server did not end with status 0.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import _serving as load
import psutil

import whatwhere as ww

WORKERS = 2
CONNECTIONS = 192
REFUSALS = (429, 503, 504)
KILL_SECONDS = 2.0
KINDS = ("result", "refusal", "open at the kill", "sent into its connections", "lost")


@dataclass
class Memory:
    """Resident bytes by process, sampled once a second; times of `time.perf_counter`."""

    samples: list[tuple[float, dict[int, int]]] = field(default_factory=list)

    def take(self, server: psutil.Process) -> None:
        """One sample of the server and all its children."""
        sizes: dict[int, int] = {}
        for process in (server, *server.children(recursive=True)):
            try:
                sizes[process.pid] = process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.samples.append((time.perf_counter(), sizes))

    def growth(self, start: float, end: float, only: int | None = None) -> float:
        """Megabytes: the median of the last quarter minus that of the second."""
        quarters: list[list[int]] = [[], [], [], []]
        for moment, sizes in self.samples:
            share = (moment - start) / (end - start)
            if 0 <= share < 1:
                size = sum(sizes.values()) if only is None else sizes.get(only, 0)
                quarters[int(4 * share)].append(size)
        return (statistics.median(quarters[3]) - statistics.median(quarters[1])) / 1e6


@dataclass(frozen=True)
class Course:
    """What happened; times of `time.perf_counter`.

    Args:
        capacity: results a second of the closed loop.
        answers: of the requests sent before SIGTERM.
        start, killed, ended: beginning of the load, `kill -9`, SIGTERM.
        exit_seconds: from SIGTERM to the end of the server.
        status: the server's.
        survivor: process id of the worker that was not killed.
        replaced: whether there were as many processes as before the kill at the end.
        memory: its samples.
    """

    capacity: float
    answers: list[load.Answer]
    start: float
    killed: float
    ended: float
    exit_seconds: float
    status: int
    survivor: int
    replaced: bool
    memory: Memory


def workers_of(server: psutil.Process) -> list[psutil.Process]:
    """Its worker processes: the children that hold a model, which others do not."""
    found = sorted(server.children(recursive=True), key=lambda one: -one.memory_info().rss)
    if len(found) < WORKERS:
        raise SystemExit(f"the server has {len(found)} child processes: {WORKERS} were expected")
    return found[:WORKERS]


def course(requests: Sequence[load.Request], seconds: float) -> Course:
    """Capacity, the load, the kill and the end."""
    port = load.free_port()
    with load.server(load.ours(port, workers=WORKERS), port, requests[0]) as process:
        server = psutil.Process(process.pid)
        measured = min(10.0, max(3.0, seconds / 10))
        load.closed_loop(port, requests, 16, min(3.0, measured))
        begun = time.perf_counter()
        closed = load.closed_loop(port, requests, 16, measured)
        capacity = load.rate_of(closed, begun, measured)
        if not capacity:
            raise SystemExit(f"the server gave no results: {closed[:1]}")
        # More than are sent: the load goes on until SIGTERM.
        times = load.schedule(2 * capacity, seconds + 10, poisson=False)
        stop, answers, memory = threading.Event(), list[load.Answer](), Memory()

        def send() -> None:
            answers.extend(load.open_loop(port, requests, times, CONNECTIONS, stop))

        sender = threading.Thread(target=send)
        start, killed, survivor = time.perf_counter(), 0.0, 0
        sender.start()
        while (now := time.perf_counter()) < start + seconds:
            if not killed and now >= start + seconds / 2:
                victim, other = workers_of(server)
                survivor, killed = other.pid, time.perf_counter()
                victim.send_signal(signal.SIGKILL)
            memory.take(server)
            time.sleep(min(1.0, seconds / 40))
        replaced = len(server.children(recursive=True)) >= WORKERS
        ended = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        stop.set()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            print("the server did not end within 90 seconds")
        exit_seconds = time.perf_counter() - ended
        sender.join()
        status = process.returncode if process.returncode is not None else -1
    counted = [answer for answer in answers if answer.sent < ended]
    return Course(
        capacity,
        counted,
        start,
        killed,
        ended,
        exit_seconds,
        status,
        survivor,
        replaced,
        memory,
    )


def kind(answer: load.Answer, killed: float) -> str:
    """One of `KINDS`."""
    if answer.status == 0:
        near = answer.sent <= killed + KILL_SECONDS and answer.ended >= killed
        near = near and answer.ended <= killed + KILL_SECONDS
        if near:
            return "open at the kill" if answer.sent <= killed else "sent into its connections"
        return "lost"
    try:
        said = json.loads(answer.body)
    except ValueError:
        return "lost"
    if answer.status == 200 and isinstance(said, dict) and "objects" in said:
        return "result"
    if answer.status in REFUSALS and isinstance(said, dict) and said.get("error"):
        return "refusal"
    return "lost"


def rows(done: Course) -> list[dict[str, Any]]:
    """What is printed; ratios of counts are to the requests sent."""
    kinds = Counter(kind(answer, done.killed) for answer in done.answers)
    sent, seconds = len(done.answers), done.ended - done.start
    common = {"who": "whatwhere serve", "version": ww.__version__}

    def value(work: str, number: float, ratio: float | None = None) -> dict[str, Any]:
        return {"work": work, **common, "value": number, "ratio": ratio}

    good = [one for one in done.answers if one.status == 200]
    refused = [one for one in done.answers if one.status in REFUSALS]
    after = [one for one in good if done.killed + KILL_SECONDS < one.ended]
    made = [
        value("capacity, a second", done.capacity),
        value("sent, a second", sent / seconds, sent / seconds / done.capacity),
        value("results, a second", len(good) / seconds, len(good) / seconds / done.capacity),
        value("results after the kill", len(after), len(after) / max(1, len(good))),
        value("requests", sent, 1.0),
    ]
    for name in KINDS:
        made.append(value(name, kinds[name], kinds[name] / max(1, sent)))
    late = sum(one.sent - one.planned > 0.1 for one in done.answers)
    made.append(value("sent 0.1 s late or more", late, late / max(1, sent)))
    for name, found in (("result", good), ("refusal", refused)):
        if found:
            late_seconds = load.quantile([one.ended - one.sent for one in found], 0.99)
            made.append({"work": f"{name}, p99", **common, "seconds": late_seconds, "ratio": None})
    whole = statistics.median(sum(sizes.values()) for _, sizes in done.memory.samples) / 1e6
    grown = done.memory.growth(done.start, done.ended)
    one = done.memory.growth(done.start, done.ended, done.survivor)
    made.append(value("memory, MB", whole, 1.0))
    made.append(value("growth, MB", grown, grown / whole))
    made.append(value("growth of the survivor, MB", one, one / whole))
    ending = {"work": "SIGTERM to the end", **common, "seconds": done.exit_seconds, "ratio": None}
    return [*made, ending]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", default="", help="folder of JPEGs; generated if left out")
    parser.add_argument("--count", type=int, default=50, help="pictures")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--quick", action="store_true", help="twelve seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    if given.quick:
        given.count, given.minutes = 10, 0.2
    bodies = load.pictures(given.pictures, given.count)
    done = course([load.raw(body) for body in bodies], 60 * given.minutes)
    found = rows(done)
    for row in found:
        if given.json:
            print(json.dumps(row))
            continue
        figure = f"{row['value']:10.1f}" if "value" in row else f"{row['seconds']:8.2f} s"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:8.3f}"
        print(f"{row['work']:28} {figure:>12} {ratio}")
    lost = [answer for answer in done.answers if kind(answer, done.killed) == "lost"]
    for answer in lost[:5]:
        print(f"lost: {answer.status} at {answer.ended - done.start:.1f} s: {answer.body[:120]!r}")
    if not done.replaced:
        print("the killed worker was not replaced")
    if done.status:
        print(f"the server ended with status {done.status}")
    if lost or not done.replaced or done.status:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
