"""Connections that misbehave, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
import uvicorn

from served import settings_for
from whatwhere.serve.wire import protocol_for

_SECONDS = 60
Open = Callable[..., "Connection"]
LARGE = 64_000_000


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body if the address says so, and answers with its length, or with much."""
    body = b""
    if scope["path"] == "/read":
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
    elif scope["path"] == "/later":
        await asyncio.sleep(0.6)
    text = bytes(LARGE) if scope["path"] == "/large" else str(len(body)).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class Connection:
    """A client that can do what it should not."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.settimeout(_SECONDS)

    def send(self, data: bytes) -> None:
        # The server may have closed while this is on its way.
        with suppress(ConnectionError):
            self.socket.sendall(data)

    def rest(self) -> bytes:
        """What comes until the server closes."""
        pieces = []
        with suppress(ConnectionError):
            while piece := self.socket.recv(1 << 16):
                pieces.append(piece)
        return b"".join(pieces)

    def refused(self) -> int:
        """The status of a refusal, after which the connection is closed."""
        head, _, body = self.rest().partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        value = json.loads(body)
        assert set(value) >= {"error", "status", "request_id"}
        assert head.startswith(b"HTTP/1.1 %d " % value["status"])
        return int(value["status"])

    def ask(self, path: bytes = b"/") -> bytes:
        """The first piece of an answer; the connection stays open."""
        self.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        return self.socket.recv(1 << 16)


@pytest.fixture
def serve() -> Iterator[Open]:
    """Opens connections to a server, whose limits the first call gives."""
    with ExitStack() as stack:
        servers: list[int] = []

        def call(**limits: Any) -> Connection:
            if not servers:
                servers.append(_start(stack, **limits))
            connection = Connection(servers[0])
            stack.callback(connection.socket.close)
            return connection

        yield call


def _start(stack: ExitStack, **limits: Any) -> int:
    settings = settings_for("default", **limits)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http=protocol_for(settings),
        timeout_keep_alive=_SECONDS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(_SECONDS)
        listener.close()
        assert not thread.is_alive()

    stack.callback(stop)
    return int(listener.getsockname()[1])


HEAD = b"POST /read HTTP/1.1\r\nHost: a\r\n"


def test_good_requests_are_answered(serve: Open) -> None:
    connection = serve()
    assert connection.ask().endswith(b"0")
    connection.send(HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(100_000))
    assert connection.socket.recv(1 << 16).endswith(b"100000")
    chunks = b"".join(b"%x\r\n" % 5000 + bytes(5000) + b"\r\n" for _ in range(20))
    connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert connection.socket.recv(1 << 16).endswith(b"100000")


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        HEAD + b"A\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(serve: Open, data: bytes) -> None:
    connection = serve()
    connection.send(data)
    assert connection.refused() == 400
    assert serve().ask().endswith(b"0")


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * 3000,
        b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n",
        HEAD + b"A: " + b"b" * 3000,
        HEAD + b"A" * 3000,
        HEAD + b"".join(b"A%d: b\r\n" % number for number in range(150)) + b"\r\n",
        HEAD + b"A: b\r\n" * 150,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + b"A: b\r\n" * 300,
    ],
)
@pytest.mark.parametrize("piece", [100, 1_000_000])
def test_headers_are_bounded(serve: Open, data: bytes, piece: int) -> None:
    connection = serve(head_bytes=2000)
    for start in range(0, len(data), piece):
        connection.send(data[start : start + piece])
    assert connection.refused() == 431
    assert serve().ask().endswith(b"0")


def test_slow_headers_are_refused_and_idle_connections_closed(serve: Open) -> None:
    limits = {"head_seconds": 0.3}
    idle, half, empty_lines = serve(**limits), serve(), serve()
    half.send(HEAD)
    assert empty_lines.ask().endswith(b"0")
    empty_lines.send(b"\r\n\r\n")
    assert idle.rest() == b""
    assert empty_lines.rest() == b""
    assert half.refused() == 408


def test_a_trickle_does_not_keep_a_connection(serve: Open) -> None:
    connection = serve(head_seconds=0.5)
    until = time.monotonic() + _SECONDS
    ended = threading.Event()

    def trickle() -> None:
        connection.send(HEAD)
        while not ended.wait(0.02) and time.monotonic() < until:
            connection.send(b"A: b\r\n")

    sender = threading.Thread(target=trickle)
    sender.start()
    try:
        assert connection.refused() == 408
    finally:
        ended.set()
        sender.join(_SECONDS)


def test_a_body_that_nobody_reads_does_not_keep_a_connection(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whatwhere.serve.wire._GRACE_SECONDS", 0.0)
    connection = serve(body_seconds=0.3)
    connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    assert connection.rest().endswith(b"0")


def test_an_answer_may_take_its_time(serve: Open) -> None:
    connection = serve(head_seconds=0.2, body_seconds=0.2, send_seconds=0.2)
    assert connection.ask(b"/later").endswith(b"0")
    # Two at once: the second one waits in the connection.
    later = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.send(later * 2)
    got = b""
    while got.count(b"200 OK") < 2:
        got += connection.socket.recv(1 << 16)


def test_a_client_that_does_not_read_is_dropped(serve: Open) -> None:
    connection = serve(send_seconds=0.3)
    connection.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(1.5)
    assert len(connection.rest()) < LARGE
    reading = serve()
    reading.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert len(reading.rest()) > LARGE


def test_connections_are_bounded(serve: Open) -> None:
    first = serve(connections=2)
    assert first.ask().endswith(b"0")
    second = serve()
    assert second.ask().endswith(b"0")
    assert serve().refused() == 503
    assert first.ask().endswith(b"0")
    second.socket.close()
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if (answer := serve().ask()).endswith(b"0"):
            break
    assert answer.startswith(b"HTTP/1.1 200")
