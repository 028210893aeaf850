"""HTTP on a connection, with limits that uvicorn leaves open.

uvicorn waits for ever for a request to begin and for its headers to end, keeps headers of any
size and number, and waits for ever for a client that does not read its answer.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from whatwhere.serve.errors import RefusedError, refused_body
from whatwhere.serve.settings import ServeSettings

_MOST_HEADERS = 100
# Beyond the time in which a route gives up the body itself, with a better answer.
_GRACE_SECONDS = 5.0
# A refusal that the client does not take in this time is dropped with the connection.
_LINGER_SECONDS = 5.0
_LEAST_TAKEN = 65_536


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What a connection may cost; see `ServeSettings` for those of the same name."""

    connections: int
    head_bytes: int
    head_seconds: float
    body_seconds: float
    send_seconds: float


class BoundedProtocol(HttpToolsProtocol):
    """A connection; `protocol_for` makes a class with limits."""

    limits: ClassVar[WireLimits]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # "idle" between requests, "head" until the empty line, "body" until the last byte.
        self._stage = "idle"
        self._partial = 0
        self._header_bytes = 0
        self._refused: RefusedError | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._unsent = 0
        if len(self.connections) > self.limits.connections:
            self._refuse(
                RefusedError(503, "too many connections are open: try again later", retry_seconds=5)
            )
            return
        self._wait(self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._writing is not None:
            self._writing.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused is not None or self.transport.is_closing():
            return
        before = self._stage
        super().data_received(data)
        if self._stage == "head" and before != "body":
            # A header that does not end is kept by the parser, unseen by `on_header`.
            self._partial += len(data)
            if self._partial > self.limits.head_bytes:
                self._refuse(self._large())
        elif self._idle() and self._reading is None and self.timeout_keep_alive_task is None:
            # Empty lines: uvicorn has stopped its own clock for them.
            self._wait(self.limits.head_seconds)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage = "head"
        self._partial = self._header_bytes = 0
        self._wait(self.limits.head_seconds)

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Also those after a chunked body, which uvicorn adds to the others.
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)
        if len(self.headers) > _MOST_HEADERS:
            self._count(self.limits.head_bytes)

    def on_headers_complete(self) -> None:
        self._stage = "body"
        self._wait(self.limits.body_seconds + _GRACE_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stage = "idle"
        self._stop_waiting()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where the parser gives up, also because of `_count`."""
        self._refuse(
            self._refused or RefusedError(400, "the request is not HTTP/1.1: use an HTTP client")
        )

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._writing = self.loop.call_later(self.limits.send_seconds, self._check_taken)

    def resume_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        super().resume_writing()

    def _check_taken(self) -> None:
        """Drop a client that does not read its answer."""
        left = self.transport.get_write_buffer_size()
        if self._unsent - left < _LEAST_TAKEN:
            self.transport.abort()
            return
        self._unsent = left
        self._writing = self.loop.call_later(self.limits.send_seconds, self._check_taken)

    def _idle(self) -> bool:
        return self._stage == "idle" and (self.cycle is None or self.cycle.response_complete)

    def _count(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > self.limits.head_bytes:
            self._refused = self._large()
            raise self._refused

    def _large(self) -> RefusedError:
        return RefusedError(
            431,
            f"the headers are larger than {self.limits.head_bytes} bytes or more than"
            f" {_MOST_HEADERS}: send fewer",
        )

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._reading = self.loop.call_later(seconds, self._late)

    def _stop_waiting(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _late(self) -> None:
        if self.flow.read_paused:
            # It is the server that does not read: the request before this one is in work.
            self._wait(self.limits.head_seconds)
        elif self._stage == "head":
            self._refuse(
                RefusedError(
                    408,
                    f"the headers were not whole after {self.limits.head_seconds:g} seconds:"
                    " send them again",
                )
            )
        else:
            self._end()

    def _refuse(self, refused: RefusedError) -> None:
        """Answer without a route, then close; nothing more is read."""
        self._refused = refused
        # In the middle of an answer there is no place for another one.
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_answer(refused))
        self._end()

    def _end(self) -> None:
        self._stop_waiting()
        self.transport.close()
        # Closing waits for what is unsent.
        self.loop.call_later(_LINGER_SECONDS, _abort(self.transport))


def protocol_for(settings: ServeSettings) -> type[BoundedProtocol]:
    """A class of connections, for uvicorn's `http`."""

    class Bounded(BoundedProtocol):
        limits = WireLimits(
            connections=settings.connections,
            head_bytes=settings.head_bytes,
            head_seconds=settings.head_seconds,
            body_seconds=settings.body_seconds,
            send_seconds=settings.send_seconds,
        )

    return Bounded


def _answer(refused: RefusedError) -> bytes:
    request_id = uuid.uuid4().hex
    body = json.dumps(refused_body(refused, request_id)).encode()
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "X-Request-ID": request_id,
        "X-Content-Type-Options": "nosniff",
        **refused.headers,
        "Connection": "close",
    }
    status = HTTPStatus(refused.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _abort(transport: asyncio.Transport) -> Callable[[], None]:
    """Drop a connection, if it has not ended by itself."""

    def call() -> None:
        if transport.get_write_buffer_size():
            transport.abort()

    return call
