"""Around every request: its id, its time, an answer whatever happens, and word to the watchers."""

from __future__ import annotations

import logging
import random
import re
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whatwhere.serve.errors import refusal, refused_response
from whatwhere.serve.events import Served
from whatwhere.serve.service import Service
from whatwhere.serve.shield import protected

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
        given, traceparent = "", None
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value.decode("latin-1")
            elif name == b"traceparent":
                traceparent = value.decode("latin-1")
        # No secret, only rarely the same as another one; the system's own are dearer.
        request_id = given if _ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        state |= {
            "request_id": request_id,
            "time": time.time(),
            "client": None,
            "served": None,
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
                headers = message["headers"] = protected(message.get("headers", ()))
                headers.append((b"x-request-id", request_id.encode()))
                closing = (b"connection", b"close")
                if self._service.ending and closing not in headers:
                    headers.append(closing)
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
        self._tell(scope, state, status, time.monotonic() - start, traceparent)

    def _tell(
        self,
        scope: Scope,
        state: dict[str, Any],
        status: int,
        seconds: float,
        traceparent: str | None,
    ) -> None:
        make = state["served"]
        # Of pages, health and figures only refusals are of interest.
        if make is None and status < _FAILED:
            return
        common: dict[str, Any] = {
            "request_id": state["request_id"],
            "time": state["time"],
            "route": _route(scope),
            "request_seconds": seconds,
            "client": state["client"],
            "traceparent": traceparent,
        }
        if make is not None:
            self._service.tell(make(status if status >= _FAILED else None, **common))
            return
        self._service.tell(
            [
                Served(
                    model=state["model"],
                    version=state["version"],
                    status=status,
                    error=state["error"],
                    **common,
                )
            ]
        )


def _route(scope: Scope) -> str:
    """The pattern of the address that answered; "" if none did."""
    if "route" in scope:
        return str(getattr(scope["route"], "path", ""))
    # Older versions of Starlette name the function only.
    endpoint = scope.get("endpoint")
    routes = scope["app"].routes if endpoint is not None else []
    return next((one.path for one in routes if getattr(one, "endpoint", None) is endpoint), "")
