"""Around every request: its id, its time, an answer whatever happens, and word to the watchers."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders, State
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whatwhere.serve.errors import refusal, refused_response
from whatwhere.serve.events import Served
from whatwhere.serve.service import Service
from whatwhere.serve.shield import protect

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FAILED = 400
# Not in any standard; nginx logs a client that left before its answer so.
GONE = 499


class Envelope:
    """ASGI middleware, the outermost one of ours.

    It sets in `scope["state"]`: `request_id`; `time`, seconds since 1970-01-01 UTC; and
    `client`, `served`, `model`, `version` and `error`, which routes fill.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        state = scope.setdefault("state", {})
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        state |= {
            "request_id": request_id,
            "time": time.time(),
            "client": None,
            "served": [],
            "model": "",
            "version": "",
            "error": None,
        }
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                protect(headers)
                if self._service.ending:
                    headers["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            status = GONE
            state["error"] = "the client left before its answer"
        except Exception as error:  # whatever it is, the client gets an answer
            _LOG.exception("request %s failed", request_id)
            refused = refusal(error)
            state["error"] = refused.sentence
            if not status:
                response: Response = refused_response(refused, request_id)
                await response(scope, receive, answer)
            status = refused.status
        self._tell(scope, State(state), status, time.monotonic() - start)

    def _tell(self, scope: Scope, state: State, status: int, seconds: float) -> None:
        served = state.served
        # Of pages, health and figures only refusals are of interest.
        if not served and status < _FAILED:
            return
        common: dict[str, object] = {
            "route": _route(scope),
            "request_seconds": seconds,
            "client": state.client,
            "traceparent": Headers(scope=scope).get("traceparent"),
        }
        if served and status >= _FAILED:
            common["status"] = status
        if not served:
            served = [
                Served(
                    request_id=state.request_id,
                    time=state.time,
                    model=state.model,
                    version=state.version,
                    route="",
                    status=status,
                    error=state.error,
                )
            ]
        self._service.tell(served, **common)


def _route(scope: Scope) -> str:
    """The pattern of the address that answered; "" if none did."""
    if "route" in scope:
        return str(getattr(scope["route"], "path", ""))
    # Older versions of Starlette name the function only.
    endpoint = scope.get("endpoint")
    routes = scope["app"].routes if endpoint is not None else []
    return next((one.path for one in routes if getattr(one, "endpoint", None) is endpoint), "")
