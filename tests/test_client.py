"""The client: answers as a model here would give them, retries, deadlines, refusals."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whatwhere as ww
from factories import CELL, picture, write_model
from served import PNG, detector, listening, settings_for
from whatwhere.client import asking
from whatwhere.images import read_image
from whatwhere.serve.app import create_app
from whatwhere.types import Prediction

PIXELS = picture((0, 1, 0), (2, 2, 1))


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    colours = write_model(tmp_path / "colours.onnx", "classify")
    settings = settings_for(f"cells@7={detector(tmp_path)}", colours)
    with listening(create_app(settings)) as made:
        yield made


def same(found: Prediction, expected: Prediction) -> None:
    one, two = found.to_dict(), expected.to_dict()
    assert one.pop("ms") > 0
    del two["ms"]
    assert one == two
    assert (found.boxes is None) == (expected.boxes is None)


def test_it_answers_as_the_model_does(address: str, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    for name in ("cells", "colours"):
        here = ww.load(tmp_path / f"{name}.onnx")
        with ww.Client(address, model=name) as client:
            for source in (file, str(file), PNG, PIXELS):
                same(client.predict(source), here.predict(source))
            black = np.zeros_like(PIXELS)
            same(client.predict(black), here.predict(black))
            low = client.predict(PNG, threshold=0)
            same(low, here.predict(PNG, threshold=0))
    with ww.Client(address, model="colours") as client:
        assert len(client.predict(PNG, threshold=0, top=1)) == 1


def test_many_pictures_come_in_their_order(address: str, tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    good.write_bytes(PNG)
    missing = tmp_path / "missing.png"
    with ww.Client(address, parallel=3) as client:
        items = list(client.stream([good, missing, b"no picture", PNG] * 3))
        assert [isinstance(item, Prediction) for item in items] == [True, False, False, True] * 3
        assert "does not exist" in str(items[1].error)  # type: ignore[union-attr]
        assert items[0].image == str(good)
        found = client.predict(iter([PNG, b"no picture"]))
        assert len(next(found)) == 2
        with pytest.raises(ww.ImageError, match="not a picture"):
            next(found)


def test_models_of_the_server(address: str) -> None:
    with ww.Client(address) as client:
        assert client.ready()
        assert client.models() == ["cells", "colours"]
        about = client.model()
        assert (about.name, about.versions, about.task) == ("cells", ("7",), "detect")
        assert about.threshold == 0.5
    with ww.Client(address, model="cells@7") as client:
        assert client.predict(PNG).model == "tiny-detect"
    for model in ("none", "cells@8"):
        with (
            ww.Client(address, model=model) as client,
            pytest.raises(ww.UsageError, match="choose one of"),
        ):
            client.predict(PNG)


def test_evaluation_over_a_server_is_that_of_the_file(address: str, tmp_path: Path) -> None:
    rows = []
    for number, cells in enumerate([[(0, 1, 0)], [(2, 2, 1), (0, 0, 2)], [(3, 3, 0), (1, 1, 0)]]):
        (tmp_path / f"{number}.png").write_bytes(_png(_pale_too(picture(*cells))))
        scale = CELL
        rows += [
            f"{number}.png,{('red', 'green', 'blue')[kind]},"
            f"{column * scale},{row * scale},{(column + 1) * scale},{(row + 1) * scale}"
            for row, column, kind in cells
        ]
    table = tmp_path / "boxes.csv"
    table.write_text("\n".join(["image,label,x1,y1,x2,y2", *rows]) + "\n")
    data = ww.read(table)
    assert data.task == "detect"
    here = ww.evaluate(tmp_path / "cells.onnx", data)
    calls: list[tuple[int, int]] = []
    with ww.Client(address) as client:
        there = ww.evaluate(client, data, progress=lambda *done: calls.append(done))
        with pytest.raises(ww.UsageError, match="trained on"):
            ww.evaluate(client, data, without_leaks=True)
    assert dict(there) == pytest.approx(dict(here))
    assert there["AP50"] == pytest.approx(1, abs=0.01)
    assert there.model == "cells@7"
    assert calls == [(1, 3), (2, 3), (3, 3)]
    # Far below the model's own threshold, which predictions for people have.
    assert there.predictions is not None
    assert min(float(one.scores.min()) for one in there.predictions) < 0.5


def _pale_too(image: Any) -> Any:
    """With a cell whose score lies below the model's threshold: (300 - 200) / 255."""
    image[:CELL, -CELL:] = (200, 100, 100)
    return image


def _png(image: Any) -> bytes:
    from whatwhere.images import encode_image

    return encode_image(image, ".png")


Script = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def scripted(*answers: Script) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that answers as it is told, in turn, and the headers that it got."""
    left, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(dict(self.headers) | {"path": self.path})
            left.pop(0)(self)

        def do_GET(self) -> None:
            seen.append(dict(self.headers) | {"path": self.path})
            models = [{"name": "cells", "default": True}]
            reply(200, {"models": models} if self.path == "/models" else ABOUT)(self)

        def log_message(self, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


ABOUT = {
    "name": "cells",
    "versions": [{"version": "7"}],
    "task": "detect",
    "names": ["red"],
    "label_task": "classify",
    "label_names": [],
    "threshold": 0.5,
    "thresholds": {"red": 0.25},
    "license": "MIT",
}
NOTHING = {"width": 2, "height": 1, "labels": [], "objects": [], "model": "cells", "ms": 1.0}


def reply(status: int, body: object, **headers: str) -> Script:
    """An answer in JSON."""

    def call(handler: BaseHTTPRequestHandler) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return call


def lose(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between tries, which are not slept."""
    found: list[float] = []
    monkeypatch.setattr(asking.time, "sleep", found.append)
    monkeypatch.setattr(asking.random, "uniform", lambda low, high: high)
    return found


def busy(**more: Any) -> Script:
    return reply(503, {"error": "busy", "status": 503, "request_id": "x"} | more)


def test_it_asks_again_where_there_was_no_room(pauses: list[float]) -> None:
    answers = [
        busy(retry_seconds=0.25),
        # The first on the connection that was kept, which is no failure.
        lose,
        lose,
        reply(429, b"wait", Retry_After="3"),
        reply(502, b"<html>"),
        reply(200, NOTHING),
    ]
    with scripted(*answers) as (address, seen), ww.Client(address, key="secret") as client:
        found = client.predict(PNG)
    assert found.boxes is not None
    assert found.boxes.shape == (0, 4)
    assert (found.width, found.height) == (2, 1)
    # What the server asks for, and a pause that doubles.
    assert pauses == pytest.approx([0.25 + 0.2, 0.4, 3 + 0.8, 1.6])
    asked = [one for one in seen if one["path"].startswith("/predict")]
    assert len({one["X-Request-ID"] for one in asked}) == 1
    assert {one["Authorization"] for one in asked} == {"Bearer secret"}
    assert all("timeout=" in one["path"] for one in asked)


def test_it_gives_up_in_time(pauses: list[float]) -> None:
    with scripted(*[busy()] * 9) as (address, seen), ww.Client(address, retries=2) as client:
        with pytest.raises(ww.ServerError, match="busy"):
            client.predict(PNG)
        assert len(seen) == 3
    with (
        scripted(busy(retry_seconds=100)) as (address, seen),
        ww.Client(address, timeout=5) as client,
    ):
        with pytest.raises(ww.ServerError, match="busy"):
            client.predict(PNG)
        assert len(seen) == 1
    assert len(pauses) == 2


def test_a_server_that_is_not_there(pauses: list[float]) -> None:
    client = ww.Client("http://127.0.0.1:1", retries=1)
    with pytest.raises(ww.ServerError, match="cannot be reached"):
        client.predict(PNG)
    assert not client.ready()
    assert len(pauses) == 1


def test_an_answer_that_is_late(pauses: list[float]) -> None:
    go = threading.Event()

    def late(handler: BaseHTTPRequestHandler) -> None:
        go.wait(10)
        handler.close_connection = True

    with scripted(late, late) as (address, _), ww.Client(address, timeout=0.1) as client:
        start = time.monotonic()
        with pytest.raises(ww.ServerError, match="cannot be reached"):
            client.predict(PNG)
        assert time.monotonic() - start < 5
        go.set()


@pytest.mark.parametrize(
    ("answer", "error", "word"),
    [
        (reply(422, {"error": "no picture"}), ww.ImageError, "no picture"),
        (reply(401, {"error": "needs a key"}), ww.UsageError, "needs a key"),
        (reply(404, {"error": "no model"}), ww.UsageError, "no model"),
        (reply(500, {"error": "it failed"}), ww.ServerError, "it failed"),
        (reply(504, {"error": "too late"}), ww.ServerError, "too late"),
        (reply(200, b"<html>"), ww.ServerError, "check the address"),
        (reply(404, b"<html>"), ww.ServerError, "check the address"),
        (reply(200, ["list"]), ww.ServerError, "check the address"),
        (reply(200, {"labels": []}), ww.ServerError, "check the address"),
        (reply(200, NOTHING | {"width": "x"}), ww.ServerError, "check the address"),
    ],
)
def test_refusals_become_errors(answer: Script, error: type[Exception], word: str) -> None:
    with scripted(answer) as (address, _), ww.Client(address) as client:
        with pytest.raises(error, match=word) as caught:
            client.predict(PNG)
        assert type(caught.value) is error


def test_connections_are_kept_and_a_lost_one_is_replaced(pauses: list[float]) -> None:
    """The server closes one after an answer without saying so; that is no failure."""

    def last(handler: BaseHTTPRequestHandler) -> None:
        reply(200, NOTHING)(handler)
        handler.close_connection = True

    with (
        scripted(last, reply(200, NOTHING), last, last) as (address, _),
        ww.Client(address) as client,
    ):
        for _ in range(4):
            client.predict(PNG)
    assert not pauses


@pytest.mark.parametrize(
    "address", ["", "localhost:8000", "ftp://a", "http://", "http://a:b", "http://u:p@a"]
)
def test_addresses_are_checked(address: str) -> None:
    with pytest.raises(ww.UsageError):
        ww.Client(address)


def test_numbers_are_checked() -> None:
    wrong: list[dict[str, Any]] = [{"timeout": 0}, {"retries": -1}, {"parallel": 0}, {"key": "a\n"}]
    for one in wrong:
        with pytest.raises(ww.UsageError):
            ww.Client(**one)
    with pytest.raises(ww.UsageError, match="threshold"):
        ww.Client().predict(PNG, threshold=2)
    assert read_image(PNG).shape == PIXELS.shape


def test_the_key_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHATWHERE_API_KEY", "from-there")
    with scripted(reply(200, NOTHING)) as (address, seen), ww.Client(address) as client:
        client.predict(PNG)
    assert {one["Authorization"] for one in seen} == {"Bearer from-there"}
