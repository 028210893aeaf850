"""Refusals: each is a status and one sentence, as JSON."""

from __future__ import annotations

import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from whatwhere.errors import ImageError, UsageError, WhatwhereError

_PHRASES = {404: "there is nothing at this address", 405: "this address does not take the method"}


class RefusedError(Exception):
    """A request is not answered, for a reason that the client is told.

    Args:
        status: HTTP status, 400 or more.
        sentence: what, where, what to do; nothing about the inside of the server.
        retry_seconds: when it is worth to try again; also sent as `Retry-After`.
        close: the connection is of no more use, since the rest of the request was not read.
        headers: further ones, such as `WWW-Authenticate`.
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        *,
        retry_seconds: float | None = None,
        close: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_seconds = retry_seconds
        self.headers = dict(headers or {})
        if retry_seconds is not None:
            # Whole seconds, RFC 9110 section 10.2.3.
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_seconds)))
        if close:
            self.headers["Connection"] = "close"


def refusal(error: Exception) -> RefusedError:
    """What the client is told of an error; 500 without details for what is not expected."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, ImageError):
        return RefusedError(422, str(error))
    if isinstance(error, UsageError):
        return RefusedError(400, str(error))
    if isinstance(error, HTTPException):
        words = _PHRASES.get(error.status_code, str(error.detail))
        return RefusedError(error.status_code, words, headers=dict(error.headers or {}))
    if isinstance(error, WhatwhereError):
        # Of the model or the installation: the words may name paths of the server.
        return RefusedError(500, "the model failed on this picture: see the server's log")
    return RefusedError(500, "the server failed on this request: see its log")


def refused_body(refused: RefusedError, request_id: str) -> dict[str, Any]:
    """The JSON form of a refusal."""
    body: dict[str, Any] = {
        "error": refused.sentence,
        "status": refused.status,
        "request_id": request_id,
    }
    if refused.retry_seconds is not None:
        body["retry_seconds"] = round(refused.retry_seconds, 3)
    return body


def refused_response(refused: RefusedError, request_id: str) -> Response:
    """The answer to a refused request."""
    body = refused_body(refused, request_id)
    return JSONResponse(body, status_code=refused.status, headers=refused.headers)


async def on_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything that a route raises on purpose."""
    refused = refusal(error)
    request.state.error = refused.sentence
    return refused_response(refused, request.state.request_id)
