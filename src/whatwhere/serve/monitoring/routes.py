"""`/metrics` for Prometheus, `/monitor/...` for the page and for people."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from whatwhere.errors import DataError
from whatwhere.serve.errors import RefusedError
from whatwhere.serve.loading import Loaded
from whatwhere.serve.monitoring.log_table import LogReader
from whatwhere.serve.monitoring.monitor import Monitor
from whatwhere.serve.service import Service

_MOST_ENTRIES = 200
_MOST_FLAG_BYTES = 8_192


class Flag(BaseModel):
    """What is wrong with an entry; no words take the mark away."""

    model_config = ConfigDict(extra="forbid")

    words: str | None = Field(max_length=1000, description="What is wrong; null for nothing.")


def attach(monitor: Monitor, service: Service) -> None:
    """Let a monitor find the models of a service, and the lengths of their queues."""
    repository = service.repository

    def lookup(name: str, version: str) -> Loaded | None:
        if name not in repository.names:
            return None
        return next((one for one in repository.versions(name) if one.version == version), None)

    def sample() -> None:
        for name in repository.names:
            for one in repository.versions(name):
                waiting = one.engine.state.waiting
                monitor.metrics.waiting.labels(name, one.version).set(waiting)

    monitor.attach(lookup, sample)


def monitoring_routes(monitor: Monitor) -> list[Route]:
    """The addresses; figures need the scope "metrics", entries and marks "admin"."""

    def allow(request: Request, scope: Any) -> None:
        request.app.state.service.authorize(request, scope)

    def reader() -> LogReader:
        if monitor.log is None:
            raise RefusedError(404, "this server keeps no prediction log: start it with  --log URL")
        return LogReader(monitor.log.engine)

    async def metrics(request: Request) -> Response:
        """All figures, in Prometheus's text form."""
        allow(request, "metrics")
        text = await asyncio.to_thread(monitor.metrics.text)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def drift(request: Request) -> Response:
        """What each model version's last window says, in the worker process that is asked."""
        allow(request, "metrics")
        return JSONResponse({"drift": monitor.states()})

    async def log(request: Request) -> Response:
        """The newest entries of the prediction log."""
        allow(request, "admin")
        asked = request.query_params
        count, before = _number(asked.get("count"), "count"), _number(asked.get("before"), "before")
        if count is not None and not 1 <= count <= _MOST_ENTRIES:
            raise RefusedError(400, f"count must lie in 1..{_MOST_ENTRIES}, not {count}")
        flagged = asked.get("flagged", "false").lower()
        if flagged not in ("0", "1", "false", "true"):
            raise RefusedError(400, "flagged must be true or false")
        entries = await _read(
            reader().recent,
            50 if count is None else count,
            before=before,
            flagged=flagged in ("1", "true"),
        )
        return JSONResponse({"entries": entries})

    async def thumbnail(request: Request) -> Response:
        """The small picture of an entry."""
        allow(request, "admin")
        found = await _read(reader().thumbnail, _entry(request))
        if found is None:
            raise RefusedError(404, "this entry has no picture")
        headers = {"Cache-Control": "private, max-age=3600"}
        return Response(found, media_type="image/jpeg", headers=headers)

    async def flag(request: Request) -> Response:
        """Mark an entry as wrong."""
        allow(request, "admin")
        # A page of another site can send anything but this without asking the browser first.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise RefusedError(415, "send the words as application/json")
        entry = _entry(request)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_FLAG_BYTES:
                raise RefusedError(413, "the words are too long: write at most 1000 characters")
        try:
            given = Flag.model_validate_json(bytes(body))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise RefusedError(400, f'send {{"words": "..."}} or null ({first})') from None
        if not await _read(reader().flag, entry, given.words):
            raise RefusedError(404, f"the prediction log has no entry {entry}")
        return JSONResponse({"id": entry, "flag": given.words})

    return [
        Route("/metrics", metrics),
        Route("/monitor/drift", drift),
        Route("/monitor/log", log),
        Route("/monitor/log/{entry}/thumbnail", thumbnail),
        Route("/monitor/log/{entry}/flag", flag, methods=["POST"]),
    ]


def _entry(request: Request) -> int:
    return _number(request.path_params["entry"], "the entry") or 0


def _number(text: str | None, what: str) -> int | None:
    if text is None:
        return None
    # More digits would not fit a database's integer.
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise RefusedError(400, f"{what} must be a whole number")
    return int(text)


async def _read(call: Any, *given: Any, **named: Any) -> Any:
    """Ask the database in a thread; 503 while it cannot be used."""
    try:
        return await asyncio.to_thread(call, *given, **named)
    except DataError as error:
        raise RefusedError(503, str(error), retry_seconds=5) from None
