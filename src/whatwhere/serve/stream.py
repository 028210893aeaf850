"""`/stream`: a WebSocket for the frames of a video; each message is a picture, and so answered.

A frame is a binary message, an encoded picture file. Its answer is a text message, JSON, in the
order of the frames: `frame`, counted from 1, and the keys of `/predict`; or `frame`, `error` and
`status`. A client that sends quicker than the model answers is held up; with `latest=1` frames
that a newer one has overtaken are answered with `dropped` instead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable
from typing import Any

from pydantic import ValidationError
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from whatwhere.errors import WhatwhereError
from whatwhere.runtime.items import file_item
from whatwhere.serve.errors import RefusedError, refusal, refused_body, refused_response
from whatwhere.serve.events import Served
from whatwhere.serve.loading import Loaded
from whatwhere.serve.schemas import StreamOptions, once
from whatwhere.serve.service import Service, public_words, served_by

_LOG = logging.getLogger(__name__)

FRAME_BYTES = 8_000_000
"""Largest frame; the socket's buffer holds one for each connection."""
STREAMS = 32
"""Connections at one time, in each worker process."""
IDLE_SECONDS = 60.0
"""A connection that sends no frame for so long is closed."""
SUBPROTOCOL = "whatwhere.stream"
"""Chosen if it is offered: a browser that offers others, such as its key, needs one chosen."""

_PATH = "/stream"
_LOOK_SECONDS = 0.1
# Status codes of RFC 6455, section 7.4.1, and of the IANA registry that it set up.
_GOING_AWAY, _UNSUPPORTED, _POLICY, _RESTART = 1001, 1003, 1008, 1012


async def stream(websocket: WebSocket) -> None:
    """Answer frames until one side ends."""
    service: Service = websocket.app.state.service
    count = getattr(websocket.app.state, "streams", 0)
    try:
        service.authorize(websocket, "predict")
        asked = _options(once(websocket.query_params.multi_items()))
        loaded = service.repository.resolve(asked.model, asked.version)
        if service.ending:
            raise RefusedError(503, "the server is ending: try another one", retry_seconds=1)
        if count >= STREAMS:
            raise RefusedError(
                503, f"{count} streams are open already: try again later", retry_seconds=5
            )
    except RefusedError as error:
        await _deny(websocket, service, error)
        return
    websocket.app.state.streams = count + 1
    try:
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        await _Stream(websocket, service, asked, loaded).run()
    finally:
        websocket.app.state.streams -= 1


def routes() -> list[WebSocketRoute]:
    """The addresses of this module."""
    return [WebSocketRoute(_PATH, stream)]


class _Stream:
    """One connection.

    Args:
        websocket: accepted.
        asked: options in its address.
        loaded: what answers now; it may be replaced by a newer version meanwhile.
    """

    def __init__(
        self, websocket: WebSocket, service: Service, asked: StreamOptions, loaded: Loaded
    ) -> None:
        self._socket, self._service, self._asked, self._loaded = websocket, service, asked, loaded
        # Frames in work: each lane has one, and one waits for each unless that makes it late.
        self._room = asyncio.Semaphore((1 if asked.latest else 2) * loaded.engine.lanes)
        self._answers: asyncio.Queue[asyncio.Future[dict[str, Any]] | None] = asyncio.Queue()
        self._newest: tuple[int, bytes] | None = None
        self._close: tuple[int, str] | None = None

    async def run(self) -> None:
        """Until the client leaves, is idle or wrong, or the server ends."""
        writer = asyncio.create_task(self._write())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done() and not writer.done():
                reader.result()
                if self._newest is not None:
                    self._start(*self._newest)
                self._answers.put_nowait(None)
                await writer
            if self._close is not None and writer.done() and writer.exception() is None:
                await self._socket.close(*self._close)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            # The client has gone, or reads nothing any more: nobody is left to tell.
            return
        finally:
            await _end(reader, writer)
            while not self._answers.empty():
                left = self._answers.get_nowait()
                if left is not None:
                    await _end(left)

    async def _read(self) -> None:
        """Take frames; afterwards `_close` says why no more are taken."""
        number = 0
        while True:
            if not self._asked.latest:
                await self._room.acquire()
            data = await self._frame()
            if data is None:
                if not self._asked.latest:
                    self._room.release()
                return
            number += 1
            if not self._asked.latest:
                self._start(number, data)
            elif self._room.locked() or self._newest is not None:
                self._overtake(number, data)
            else:
                await self._room.acquire()
                self._start(number, data)

    async def _frame(self) -> bytes | None:
        """The next one; None if there are no more."""
        waiting = asyncio.ensure_future(self._socket.receive())
        until = time.monotonic() + IDLE_SECONDS
        try:
            while not waiting.done():
                if self._service.ending:
                    self._close = (_RESTART, "the server is ending")
                    return None
                if time.monotonic() > until:
                    self._close = (_GOING_AWAY, f"no frame came for {IDLE_SECONDS:g} seconds")
                    return None
                await asyncio.wait({waiting}, timeout=_LOOK_SECONDS)
            message = waiting.result()
        finally:
            await _end(waiting)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data: bytes | None = message.get("bytes")
        if data is None:
            self._close = (_UNSUPPORTED, "send frames as binary messages")
        return data

    def _overtake(self, number: int, data: bytes) -> None:
        """Keep a frame until there is room, instead of the one that was kept."""
        if self._newest is not None:
            gone = asyncio.get_running_loop().create_future()
            gone.set_result({"frame": self._newest[0], "dropped": True})
            self._answers.put_nowait(gone)
        self._newest = (number, data)

    def _start(self, number: int, data: bytes) -> None:
        self._newest = None
        self._answers.put_nowait(asyncio.create_task(self._answer(number, data)))

    async def _write(self) -> None:
        """Send answers in the order of their frames."""
        while (answer := await self._answers.get()) is not None:
            row = await answer
            text = json.dumps(row, ensure_ascii=False)
            async with asyncio.timeout(self._service.settings.body_seconds):
                await self._socket.send_text(text)
            if row.get("status") in (401, 403):
                # The key was revoked meanwhile.
                self._close = (_POLICY, "the API key does not allow this any more")
                return
            if "dropped" in row:
                continue
            if self._newest is not None:
                # Its place in the line goes from this frame to the newest one.
                self._start(*self._newest)
            else:
                self._room.release()

    async def _answer(self, number: int, data: bytes) -> dict[str, Any]:
        """What is said about a frame, and word to the watchers."""
        start, came = time.monotonic(), time.time()
        socket, service, asked = self._socket, self._service, self._asked
        state = socket.state
        common: dict[str, Any] = {
            "request_id": f"{state.request_id}.{number}",
            "time": came,
            "route": _PATH,
        }
        try:
            if number > 1:
                service.authorize(socket, "predict")
            with service.gate.request() as held:
                held.add(len(data))
                loaded, answers = await service.answer(
                    None,
                    [file_item(f"frame {number}", data)],
                    model=asked.model,
                    version=asked.version,
                    threshold=asked.threshold,
                    timeout=asked.timeout,
                )
        except Exception as error:  # whatever it is, the frame gets an answer
            refused = refusal(error)
            if not isinstance(error, RefusedError | WhatwhereError):
                _LOG.exception("frame %s failed", common["request_id"])
            common |= {"request_seconds": time.monotonic() - start, "client": state.client}
            loaded = self._loaded
            service.tell([_refused(refused, loaded.name, loaded.version, **common)])
            row = refused_body(refused, str(common["request_id"]))
            return {"frame": number, **row}
        self._loaded = loaded
        common |= {"request_seconds": time.monotonic() - start, "client": state.client}
        service.tell(served_by(loaded, answers, asked.threshold)(**common))
        answer = answers[0]
        if answer.prediction is None:
            assert answer.error is not None
            status = refusal(answer.error).status
            return {"frame": number, "error": public_words(answer.error), "status": status}
        row = answer.prediction.to_dict()
        if asked.top is not None:
            row["labels"] = row["labels"][: asked.top]
        return {"frame": number, **row}


def _options(given: dict[str, str]) -> StreamOptions:
    try:
        return StreamOptions.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])[:100]
        words = first["msg"][:1].lower() + first["msg"][1:]
        raise RefusedError(400, f"the option {name!r} does not fit: {words}") from None


def _refused(refused: RefusedError, model: str, version: str, **common: Any) -> Served:
    fields = {"route": _PATH} | common
    return Served(
        model=model, version=version, status=refused.status, error=refused.sentence, **fields
    )


async def _deny(websocket: WebSocket, service: Service, refused: RefusedError) -> None:
    """Refuse the handshake, with the sentence where the server can send it."""
    state = websocket.state
    common = {"request_id": state.request_id, "time": state.time, "client": state.client}
    service.tell([_refused(refused, "", "", **common)])
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(refused_response(refused, state.request_id))
    else:
        await websocket.close(_POLICY, refused.sentence[:120])


async def _end(*tasks: Awaitable[Any]) -> None:
    """Cancel what is not done, and look at what became of it, so that nothing complains."""
    futures = [asyncio.ensure_future(task) for task in tasks]
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
