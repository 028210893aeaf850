"""What the benchmarks of the server share: server processes, and load from this process."""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import psutil

from whatwhere.runtime import expand
from whatwhere.runtime.bench import generated

HOST = "127.0.0.1"
# A connection that lay idle longer is opened anew: servers close such ones after some seconds,
# and a request into a closing connection says nothing about the load.
IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Request:
    """What is sent: a body, and its type.

    Args:
        body: bytes of the request.
        kind: its `Content-Type`.
    """

    body: bytes
    kind: str


@dataclass(frozen=True)
class Answer:
    """What became of one request; times are of `time.perf_counter`.

    Args:
        number: which request, from 0.
        planned: when it was to be sent; of a closed loop, when it was.
        sent: when it was.
        ended: when the answer was there, or the failure.
        status: of HTTP; 0 if no answer came.
        body: the answer's, or what failed.
    """

    number: int
    planned: float
    sent: float
    ended: float
    status: int
    body: bytes


def pictures(source: str, number: int) -> list[bytes]:
    """So many JPEGs of a folder, generated ones (1280 pixels) without one."""
    if not source:
        return generated(number)
    found = (Path(path) for path in expand([source]))
    wanted = (path for path in found if path.suffix.lower() in (".jpg", ".jpeg"))
    chosen = [path.read_bytes() for path in islice(wanted, number)]
    if not chosen:
        raise SystemExit(f"{source} holds no JPEGs: name another folder")
    return chosen


def raw(body: bytes) -> Request:
    """The picture as the body."""
    return Request(body, "image/jpeg")


def form(body: bytes) -> Request:
    """A form with the picture as its file `image`."""
    mark = b"b7e151628aed2a6abf7158809cf4f3c7"
    head = b'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
    head += b"Content-Type: image/jpeg\r\n\r\n"
    whole = b"--" + mark + b"\r\n" + head + body + b"\r\n--" + mark + b"--\r\n"
    return Request(whole, f"multipart/form-data; boundary={mark.decode()}")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


class Connection:
    """One kept connection; it is opened anew after failures."""

    def __init__(self, port: int, timeout: float = 90.0) -> None:
        self._port, self._timeout = port, timeout
        self._open: http.client.HTTPConnection | None = None
        self._used = 0.0

    def ask(self, request: Request) -> tuple[int, bytes]:
        """Status and body of the answer; 0 and what failed if there is none."""
        if self._open is not None and time.perf_counter() - self._used > IDLE_SECONDS:
            self.close()
        if self._open is None:
            self._open = http.client.HTTPConnection(HOST, self._port, timeout=self._timeout)
        try:
            try:
                headers = {"Content-Type": request.kind}
                self._open.request("POST", "/predict", request.body, headers)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses before it read the body may have answered all the same.
                if self._open.sock is None:
                    raise
                response = http.client.HTTPResponse(self._open.sock, method="POST")
                response.begin()
                answer = response.status, response.read()
                self.close()
            else:
                response = self._open.getresponse()
                answer = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            answer = 0, f"{type(error).__name__}: {error}".encode()
        self._used = time.perf_counter()
        return answer

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None


def closed_loop(
    port: int, requests: Sequence[Request], connections: int, seconds: float
) -> list[Answer]:
    """Each connection sends its next request as soon as it has its answer, for so long."""
    end = time.perf_counter() + seconds
    numbers = count()
    found: list[Answer] = []

    def client() -> None:
        connection = Connection(port)
        while (sent := time.perf_counter()) < end:
            number = next(numbers)
            status, body = connection.ask(requests[number % len(requests)])
            found.append(Answer(number, sent, sent, time.perf_counter(), status, body))
        connection.close()

    _together(client, connections)
    return found


def schedule(rate: float, seconds: float, poisson: bool, seed: int = 0) -> list[float]:
    """When requests are sent, in seconds from the start: evenly, or as by many strangers."""
    if not poisson:
        return [number / rate for number in range(int(rate * seconds))]
    source, times = random.Random(seed), [0.0]
    while times[-1] < seconds:
        times.append(times[-1] + source.expovariate(rate))
    return times[:-1]


def open_loop(
    port: int,
    requests: Sequence[Request],
    times: Sequence[float],
    connections: int,
    stop: threading.Event | None = None,
) -> list[Answer]:
    """Requests at fixed times, whatever becomes of those before; after `stop` none is sent.

    At most so many are open at once; one that must wait for that is late, and its time counts
    from when it was planned.
    """
    start = time.perf_counter() + 0.05
    numbers = count()
    found: list[Answer] = []

    def client() -> None:
        connection = Connection(port)
        while (number := next(numbers)) < len(times):
            planned = start + times[number]
            wait = planned - time.perf_counter()
            if wait > 0:
                if stop is None:
                    time.sleep(wait)
                else:
                    stop.wait(wait)
            if stop is not None and stop.is_set():
                break
            sent = time.perf_counter()
            status, body = connection.ask(requests[number % len(requests)])
            found.append(Answer(number, planned, sent, time.perf_counter(), status, body))
        connection.close()

    _together(client, connections)
    return found


def rate_of(answers: Sequence[Answer], start: float, seconds: float) -> float:
    """Results a second of the middle: the first tenth is left out, and what came too late."""
    begin, end = start + 0.1 * seconds, start + seconds
    done = sum(answer.status == 200 and begin <= answer.ended < end for answer in answers)
    return done / (end - begin)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def server(
    command: Sequence[str], port: int, request: Request
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process that has answered a request; it and its children are ended afterwards."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(process, port, request, log)
            yield process
        finally:
            end(process)


def ours(port: int, workers: int = 1, threads: int | None = None) -> list[str]:
    """The command that serves objects-lite."""
    command = [sys.executable, "-m", "whatwhere", "serve", "objects-lite", "--port", str(port)]
    command += ["--threads", str(threads)] if threads else []
    return [*command, "--workers", str(workers)]


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and make it and its children do so after 20 seconds."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
    else:
        family = []
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=3)
    for child in alive:
        child.kill()


def get(port: int, path: str) -> dict[str, object]:
    """JSON of an address of the server."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", path)
    answer: dict[str, object] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def _wait(process: subprocess.Popen[bytes], port: int, request: Request, log: object) -> None:
    end_at = time.monotonic() + 120
    connection = Connection(port)
    while connection.ask(request)[0] != 200:
        if process.poll() is not None or time.monotonic() > end_at:
            log.seek(0)  # type: ignore[attr-defined]
            text = log.read().decode(errors="replace")  # type: ignore[attr-defined]
            raise SystemExit(f"{process.args!r} does not answer:\n{text[-3000:]}")
        time.sleep(0.2)
    connection.close()


def _together(client: object, number: int) -> None:
    threads = [threading.Thread(target=client, daemon=True) for _ in range(number)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
