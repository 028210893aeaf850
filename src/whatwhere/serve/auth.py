"""Who may ask for what: the seam that API keys fill."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from starlette.requests import HTTPConnection

Scope: TypeAlias = Literal["predict", "admin", "metrics"]
"""What a key allows: predictions and model descriptions; changes to the server; its figures."""


class Authorize(Protocol):
    """Decides on each request, before its body is read.

    Also on WebSocket connections, whose handshake is a request.
    """

    def __call__(self, request: HTTPConnection, scope: Scope) -> str | None:
        """The name of the client's key, for logs and metrics; None on a server without keys.

        It is called in the event loop and must not wait.

        Raises:
            RefusedError: 401 without a valid key, 403 if it does not allow this, 429 if it has
                been used too often.
        """
        ...


def allow_all(request: HTTPConnection, scope: Scope) -> None:
    """A server without keys: anybody who can reach it may do everything.

    `ServeSettings` refuses that for public addresses.
    """
    return
