"""Trackers: what reaches them, and that one that fails does not stop a run."""

from __future__ import annotations

import json
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train_data import Notes, quick_config
from whatwhere.errors import MissingExtraError
from whatwhere.images import write_image
from whatwhere.train.batch import Batch
from whatwhere.train.config import TrainConfig
from whatwhere.train.watchers import trackers
from whatwhere.train.watchers.tracked import Tracked

BATCH = Batch(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))
ROWS: list[dict[str, float]] = [
    {"epoch": 1, "rate": 1e-3, "loss": 2.0, "AP": float("nan")},
    {"epoch": 2, "rate": 5e-4, "loss": 1.0, "AP": 0.25},
]


def run(tracked: Any, folder: Path) -> None:
    """A run of two epochs that draws one sheet before and one after the first."""
    picture = np.full((20, 30, 3), 77, np.uint8)
    write_image(folder / "previews" / "samples-plain.png", picture)
    tracked.started(quick_config("detect"), folder, BATCH, ("red",))
    write_image(folder / "previews" / "predictions-1.png", picture)
    for row in ROWS:
        tracked.epoch(row)
    (folder / "model.onnx").write_bytes(b"the model")
    tracked.finished(folder)


class Log:
    """A tracker that remembers, and fails for the calls that it is told to."""

    def __init__(self, fail: tuple[int, ...] = ()) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.asked = 0
        self._fail = fail

    def _add(self, *what: Any) -> None:
        self.asked += 1
        if self.asked in self._fail:
            raise ConnectionError(f"call {self.asked} failed\nand more lines")
        self.calls.append(what)

    def begin(self, config: TrainConfig, folder: Path) -> None:
        self._add("begin", config.task)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._add("numbers", step, dict(values))

    def picture(self, step: int, file: Path) -> None:
        self._add("picture", step, file.name)

    def end(self, folder: Path) -> None:
        self._add("end")


EXPECTED = [
    ("begin", "detect"),
    ("picture", 0, "samples-plain.png"),
    ("numbers", 1, {"rate": 1e-3, "loss": 2.0}),
    ("picture", 1, "predictions-1.png"),
    ("numbers", 2, {"rate": 5e-4, "loss": 1.0, "AP": 0.25}),
    ("end",),
]


def test_what_a_tracker_is_told(tmp_path: Path) -> None:
    log, notes = Log(), Notes()
    run(Tracked(log, "It", notes), tmp_path / "run")
    assert log.calls == EXPECTED
    assert notes.said == []


@pytest.mark.parametrize("fail", [(1,), (3,), (2, 3), (1, 2, 3)])
def test_what_failed_is_delivered_later_and_in_order(
    fail: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Failures that take no time are tried again at once.
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    log, notes = Log(fail), Notes()
    run(Tracked(log, "It", notes), tmp_path / "run")
    assert log.calls == EXPECTED
    assert len(notes.said) == 1
    assert notes.said[0].startswith(f"It takes no report (ConnectionError: call {fail[0]} failed)")
    assert "\n" not in notes.said[0]


def test_a_tracker_that_is_never_there(tmp_path: Path) -> None:
    log, notes = Log(tuple(range(1, 100))), Notes()
    run(Tracked(log, "It", notes), tmp_path / "run")
    assert log.calls == []
    assert len(notes.said) == 2
    assert "6 of 6 reports were not delivered" in notes.said[1]


def test_a_slow_failure_is_not_tried_at_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lets each call time out may cost a small share of the time only."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Slow(Log):
        def _add(self, *what: Any) -> None:
            now[0] += 20
            super()._add(*what)

    log = Slow(tuple(range(1, 1000)))
    tracked = Tracked(log, "It", Notes())
    tracked.started(quick_config("detect"), tmp_path, BATCH, ("red",))
    for epoch in range(1, 101):
        now[0] += 60
        tracked.epoch({"epoch": epoch, "loss": 1.0})
    assert log.asked <= 7


def test_a_run_that_was_complete_is_not_reported_again(tmp_path: Path) -> None:
    log = Log()
    Tracked(log, "It", Notes()).finished(tmp_path)
    assert log.calls == []


@pytest.mark.parametrize(
    ("setting", "value", "package", "extra"),
    [
        ("tensorboard", "true", "tensorboardX", "tensorboard"),
        ("mlflow", "http://localhost:1", "mlflow", "mlflow"),
    ],
)
def test_a_package_that_is_missing(
    setting: str, value: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    config = quick_config("detect").with_settings({setting: value})
    with pytest.raises(MissingExtraError, match=rf"pip install 'whatwhere\[{extra}\]'"):
        trackers(config, Notes())


def test_no_tracker_unless_asked_for() -> None:
    assert trackers(quick_config("detect"), Notes()) == []


def events(folder: Path) -> Iterator[Any]:
    """The records of event files: length, its checksum, content, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.iterdir()):
        content, place = file.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            yield Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length


def test_tensorboard_gets_numbers_pictures_and_settings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    notes = Notes()
    config = quick_config("detect").with_settings({"tensorboard": "true"})
    (tracked,) = trackers(config, notes)
    run(tracked, tmp_path / "run")
    found = [
        (value.tag, event.step, value)
        for event in events(tmp_path / "run" / "tensorboard")
        for value in event.summary.value
    ]
    numbers = {(tag, step): v.simple_value for tag, step, v in found if "/" in tag and step}
    assert numbers == pytest.approx(
        {
            ("rate/rate", 1): 1e-3,
            ("loss/loss", 1): 2.0,
            ("rate/rate", 2): 5e-4,
            ("loss/loss", 2): 1.0,
            ("score/AP", 2): 0.25,
        }
    )
    shown = {(tag, step): v.image for tag, step, v in found if v.HasField("image")}
    assert set(shown) == {("samples-plain", 0), ("predictions", 1)}
    assert {(image.height, image.width) for image in shown.values()} == {(20, 30)}
    (table,) = [v.tensor.string_val[0].decode() for tag, _, v in found if "settings" in tag]
    assert "| seed | 0 |" in table
    assert notes.said == []


class Server(ThreadingHTTPServer):
    """As much of MLflow's REST interface as a run needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self, body: Any, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        if "get-by-name" in self.path:
            self._answer({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}, 404)
        else:
            self._answer({"run": self._run()})

    def do_POST(self) -> None:
        body = json.loads(self._body())
        self.server.seen.append((self.path.rpartition("mlflow/")[2], body))
        self._answer({"experiment_id": "1", "run": self._run(), "run_info": self._run()["info"]})

    def do_PUT(self) -> None:
        self.server.seen.append((self.path.rpartition("artifacts/")[2], self._body()))
        self._answer({})

    def _run(self) -> dict[str, Any]:
        uri = "mlflow-artifacts:/1/abc/artifacts"
        return {"info": {"run_id": "abc", "experiment_id": "1", "artifact_uri": uri}, "data": {}}

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""


def test_mlflow_gets_numbers_pictures_settings_and_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    notes = Notes()
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        uri = f"http://127.0.0.1:{server.server_port}"
        config = quick_config("detect").with_settings({"mlflow": uri})
        run(trackers(config, notes)[0], tmp_path / "run")
        (tmp_path / "run" / "last.ckpt").write_bytes(b"")
        count = len(server.seen)
        run(trackers(config, notes)[0], tmp_path / "run")
    finally:
        server.shutdown()
        server.server_close()
    assert notes.said == []
    first, second = server.seen[:count], server.seen[count:]
    metrics = [
        (m["key"], m["step"], m["value"])
        for path, body in first
        if path == "runs/log-batch"
        for m in body.get("metrics", ())
    ]
    assert ("AP", 2, 0.25) in metrics
    assert len(metrics) == 5
    params = {
        p["key"]: p["value"]
        for path, body in first
        if path == "runs/log-batch"
        for p in body.get("params", ())
    }
    assert params["task"] == "detect"
    files = {path for path, body in first if isinstance(body, bytes)}
    assert {Path(file).name for file in files} == {
        "samples-plain.png",
        "predictions-1.png",
        "model.onnx",
    }
    assert (first[-1][0], first[-1][1]["status"]) == ("runs/update", "FINISHED")
    # A run that is resumed goes on with the run of its folder.
    assert "runs/create" in [path for path, _ in first]
    assert "runs/create" not in [path for path, _ in second]
    # Standard output belongs to --json.
    assert capsys.readouterr().out == ""


def test_an_mlflow_server_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    notes = Notes()
    config = quick_config("detect").with_settings({"mlflow": "http://127.0.0.1:9"})
    run(trackers(config, notes)[0], tmp_path / "run")
    assert notes.said[0].startswith("MLflow at http://127.0.0.1:9 takes no report (")
    assert "6 of 6 reports were not delivered" in notes.said[-1]
    assert len(notes.said) == 2
