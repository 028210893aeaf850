"""`/stream`: frames over a WebSocket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import connect

import whatwhere as ww
from served import PNG, Held, Remembering, detector, listening, service_of, serving, settings_for
from whatwhere.serve import stream as streaming
from whatwhere.serve.app import create_app
from whatwhere.serve.engine import Engine
from whatwhere.serve.errors import RefusedError


@pytest.fixture
def watcher() -> Remembering:
    return Remembering()


@pytest.fixture
def client(tmp_path: Path, watcher: Remembering) -> Iterator[TestClient]:
    with serving(detector(tmp_path), observers=[watcher]) as made:
        yield made


def hold(client: TestClient) -> Held:
    """Put a model that waits in the place of the default one, with one lane."""
    held = Held()
    loaded = service_of(client).repository.resolve()
    object.__setattr__(loaded, "engine", Engine(held, lanes=1, queue=8, batch=1))
    return held


def test_frames_are_answered_in_their_order(
    client: TestClient, tmp_path: Path, watcher: Remembering
) -> None:
    expected = ww.load(tmp_path / "cells.onnx").predict(PNG).to_dict()
    with client.websocket_connect("/stream", headers={"X-Request-ID": "video"}) as socket:
        for data in (PNG, b"no picture", PNG):
            socket.send_bytes(data)
        rows = [socket.receive_json() for _ in range(3)]
    assert [row["frame"] for row in rows] == [1, 2, 3]
    assert rows[0]["objects"] == rows[2]["objects"] == expected["objects"]
    assert (rows[1]["status"], "not a picture" in rows[1]["error"]) == (422, True)
    seen = [(one.request_id, one.status, one.route, one.model) for one in watcher.served]
    assert sorted(seen) == [
        ("video.1", 200, "/stream", "cells"),
        ("video.2", 422, "/stream", "cells"),
        ("video.3", 200, "/stream", "cells"),
    ]
    assert client.app.state.streams == 0  # type: ignore[attr-defined]


def test_options_stand_in_the_address(client: TestClient) -> None:
    counts = []
    for threshold in ("0", "1"):
        with client.websocket_connect(f"/stream?threshold={threshold}&top=1") as socket:
            socket.send_bytes(PNG)
            counts.append(len(socket.receive_json()["objects"]))
    assert counts[0] > 2 >= counts[1]


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("model=none", 404, "choose one of"),
        ("threshold=2", 400, "threshold"),
        ("thresold=1", 400, "thresold"),
    ],
)
def test_handshakes_are_refused_with_a_sentence(
    client: TestClient, watcher: Remembering, query: str, status: int, word: str
) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client.websocket_connect(f"/stream?{query}"),
    ):
        pass
    assert caught.value.status_code == status
    assert word in caught.value.json()["error"]
    assert [(one.status, one.model) for one in watcher.served] == [(status, "")]


def test_streams_are_counted(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STREAMS", 1)
    with client.websocket_connect("/stream"):
        with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect("/stream"):
            pass
        assert caught.value.status_code == 503
        assert int(caught.value.headers["Retry-After"]) == 5
    with client.websocket_connect("/stream") as socket:
        socket.send_bytes(PNG)
        assert socket.receive_json()["frame"] == 1


def closing_code(socket: Any) -> int:
    with pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_json()
    return int(caught.value.code)


def test_text_idleness_and_the_end_close_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client.websocket_connect("/stream") as socket:
        socket.send_text("hello")
        assert closing_code(socket) == 1003
    with client.websocket_connect("/stream") as socket:
        socket.send_bytes(PNG)
        service_of(client).ending = True
        assert socket.receive_json()["frame"] == 1
        assert closing_code(socket) == 1012
    service_of(client).ending = False
    monkeypatch.setattr(streaming, "IDLE_SECONDS", 0.01)
    with client.websocket_connect("/stream") as socket:
        assert closing_code(socket) == 1001


def test_a_key_that_is_revoked_ends_the_stream(client: TestClient) -> None:
    service = service_of(client)
    with client.websocket_connect("/stream") as socket:
        socket.send_bytes(PNG)
        assert socket.receive_json()["frame"] == 1

        def refuse(request: Any, scope: Any) -> None:
            raise RefusedError(401, "the API key was revoked")

        service._authorize = refuse
        socket.send_bytes(PNG)
        assert socket.receive_json()["status"] == 401
        assert closing_code(socket) == 1008


def test_the_subprotocol_is_never_the_key(client: TestClient) -> None:
    offered = ["whatwhere.key.secret", streaming.SUBPROTOCOL]
    with client.websocket_connect("/stream", subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == streaming.SUBPROTOCOL
    with client.websocket_connect("/stream", subprotocols=offered[:1]) as socket:
        assert socket.accepted_subprotocol is None


def test_overtaken_frames_are_said(client: TestClient) -> None:
    held = hold(client)
    with client.websocket_connect("/stream?latest=1") as socket:
        for _ in range(4):
            socket.send_bytes(PNG)
        assert held.begun.acquire(timeout=30)
        # All four have arrived when the one that waits is the last.
        socket.send_bytes(PNG)
        threading.Timer(0.3, held.go.set).start()
        rows = [socket.receive_json() for _ in range(5)]
    assert [row["frame"] for row in rows] == [1, 2, 3, 4, 5]
    assert ["dropped" in row for row in rows] == [False, True, True, True, False]


def test_a_quick_client_is_held_up(client: TestClient) -> None:
    held = hold(client)
    engine = service_of(client).repository.resolve().engine
    with client.websocket_connect("/stream") as socket:
        for _ in range(6):
            socket.send_bytes(PNG)
        assert held.begun.acquire(timeout=30)
        # One in the lane, one that waits; the others are not even read.
        assert engine.state.waiting <= 1
        held.go.set()
        rows = [socket.receive_json() for _ in range(6)]
    assert [row["frame"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert not any("error" in row for row in rows)


def test_a_client_of_another_library_over_a_socket(tmp_path: Path) -> None:
    app = create_app(settings_for(detector(tmp_path)))

    async def ask(address: str) -> list[Any]:
        async with connect(f"{address.replace('http', 'ws')}/stream") as socket:
            for _ in range(20):
                await socket.send(PNG)
            rows = [json.loads(await socket.recv()) for _ in range(20)]
            await socket.send(b"x" * 3000)
            rows.append(json.loads(await socket.recv()))
            return rows

    with listening(app) as address:
        rows = asyncio.run(ask(address))
    assert [row["frame"] for row in rows] == list(range(1, 22))
    assert rows[-1]["status"] == 422
    assert app.state.streams == 0
