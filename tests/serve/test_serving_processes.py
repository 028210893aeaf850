"""The command in processes of its own: signals, deaths, and what was accepted."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from command_line import Run, sentence
from factories import write_model
from served import PNG, detector
from whatwhere.images import encode_image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
_SECONDS = 120


class Running(NamedTuple):
    """A server and where it answers."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=_SECONDS) as answer:
            return json.load(answer)

    def post(self, path: str, body: bytes = b"", kind: str = "image/png") -> Any:
        request = urllib.request.Request(
            self.address + path, body, {"Content-Type": kind}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(_SECONDS)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def call(*arguments: object) -> Running:
        log = tmp_path / f"log{len(started)}"
        code = "from whatwhere.cli import entry; entry()"
        command = [sys.executable, "-c", code, "serve", "--port", "0", "--backend", "onnxruntime"]
        with log.open("w") as file:
            process = subprocess.Popen(
                [*command, *map(str, arguments)], stderr=file, text=True, cwd=tmp_path
            )
        started.append(process)
        until = time.monotonic() + _SECONDS
        while " at http" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        address = log.read_text().rpartition(" at ")[2].split()[0]
        return Running(process, address, log)

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def form_of(picture: bytes, count: int) -> bytes:
    """A form of boundary "edge" with a picture several times."""
    head = b'--edge\r\nContent-Disposition: form-data; name="a"; filename="a.jpg"\r\n\r\n'
    return (head + picture + b"\r\n") * count + b"--edge--\r\n"


FORM = "multipart/form-data; boundary=edge"


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_answers_what_was_accepted(start: Start, tmp_path: Path, workers: int) -> None:
    server = start(detector(tmp_path), "--workers", workers)
    # Decoding takes its time.
    body = form_of(encode_image(np.zeros((2500, 2500, 3), np.uint8), ".jpg"), 10)
    rows: list[int] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            rows.append(len(server.post("/predict", body, FORM)["predictions"]))
        except OSError as error:
            errors.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    if workers == 1:
        while True:
            (version,) = server.get("/models/cells")["versions"]
            if version["waiting"] >= 20:
                break
    else:
        time.sleep(0.3)
    assert server.end() == 0, server.log.read_text()
    for client in clients:
        client.join(_SECONDS)
    assert not errors
    assert rows == [10] * 4


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("keep", [True, False])
def test_clients_that_never_pause_lose_nothing_at_the_end(
    start: Start, tmp_path: Path, workers: int, keep: bool
) -> None:
    server = start(detector(tmp_path), "--workers", workers)
    port = int(server.address.rpartition(":")[2])
    statuses: list[int] = []
    lost: list[Exception] = []

    def ask() -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
            try:
                connection.connect()
            except OSError:
                return
            try:
                leave = False
                while not leave:
                    connection.request("POST", "/predict", PNG)
                    answer = connection.getresponse()
                    statuses.append(answer.status)
                    answer.read()
                    leave = not keep or answer.headers["Connection"] == "close"
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)
            finally:
                connection.close()

    clients = [threading.Thread(target=ask) for _ in range(10)]
    for client in clients:
        client.start()
    while len(statuses) < 200:
        time.sleep(0.01)
    assert server.end() == 0
    for client in clients:
        client.join(_SECONDS)
    assert set(statuses) == {200}
    assert not lost


def test_ctrl_c_ends_it_in_good_order(start: Start, tmp_path: Path) -> None:
    server = start(detector(tmp_path))
    assert server.post("/predict", PNG)["model"] == "tiny-detect"
    assert server.end(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text()


def test_a_killed_worker_is_replaced_and_the_others_go_on(start: Start, tmp_path: Path) -> None:
    server = start(detector(tmp_path), "--workers", 2)

    def workers() -> list[psutil.Process]:
        children = psutil.Process(server.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    before = workers()
    assert len(before) == 2
    before[0].kill()
    for _ in range(20):
        assert server.post("/predict", PNG)["model"] == "tiny-detect"
    until = time.monotonic() + _SECONDS
    while len([child for child in workers() if child.is_running()]) < 2 or before[0] in workers():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "another one starts" in server.log.read_text()
    assert server.end() == 0
    assert not any(child.is_running() for child in before)


def test_a_reload_reaches_all_workers(start: Start, tmp_path: Path) -> None:
    path = detector(tmp_path)
    server = start(path, "--workers", 2, "--watch", 0)
    write_model(tmp_path / "new.tmp", "classify").replace(path)
    assert server.post("/models/cells/reload")["task"] == "classify"
    until = time.monotonic() + _SECONDS
    same = 0
    while same < 20:
        # Which of the two answers is up to the system.
        same = same + 1 if server.post("/predict", PNG)["model"] == "tiny-classify" else 0
        assert time.monotonic() < until
        time.sleep(0.02)
    assert server.log.read_text().count("is retired") == 2
    assert server.end() == 0


def test_workers_end_when_their_supervisor_is_killed(start: Start, tmp_path: Path) -> None:
    server = start(detector(tmp_path), "--workers", 2)
    children = psutil.Process(server.process.pid).children()
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    _, alive = psutil.wait_procs(children, timeout=_SECONDS)
    assert not alive


def test_a_large_upload_reads_its_refusal(start: Start, tmp_path: Path) -> None:
    server = start(detector(tmp_path), "--megabytes", 1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.post("/predict", bytes(20_000_000))
    assert refused.value.code == 413
    assert "1000000 bytes" in json.load(refused.value)["error"]
    assert server.post("/predict", PNG)["objects"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_cannot_begin_says_why(run: Run, tmp_path: Path, workers: int) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    given = ("--port", 0, "--workers", workers)
    sentence(run("serve", tmp_path / "missing.onnx", *given), "there is no model")
    sentence(run("serve", tmp_path / "bad.onnx", *given), "bad.onnx")


def test_bad_usage_is_one_sentence(run: Run, tmp_path: Path) -> None:
    model = detector(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence(run("serve", model, "--port", port), str(port), "choose another")
    sentence(run("serve", model, "--host", "0.0.0.0"), "--insecure")
    # An address of documentation (RFC 5737), which no machine has.
    sentence(run("serve", model, "--host", "192.0.2.1", "--insecure"), "192.0.2.1")
    sentence(run("serve", model, "--alias", "x"), "--alias x")
    sentence(run("serve", model, model), "two models are called cells")
    sentence(run("serve", model, "--backend", "abacus", "--port", 0), "abacus")
