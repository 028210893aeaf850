"""Who may ask, by API key: the `Authorize` of a server with a file of keys."""

from __future__ import annotations

import time

from starlette.requests import HTTPConnection

from whatwhere.serve.auth import Scope
from whatwhere.serve.errors import RefusedError
from whatwhere.serve.keys import KeyRing
from whatwhere.serve.rates import Rates

PROTOCOL = "whatwhere.key."
"""A WebSocket client that cannot set headers, such as a browser, offers the subprotocol
`whatwhere.key.KEY`; it is never the one that the server chooses."""

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="whatwhere"'}


class KeyGuard:
    """Allows what the client's key allows.

    The key is sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Addresses carry none:
    they end up in logs and histories.

    Args:
        ring: the keys.
        per_minute: most requests of a key that has no limit of its own; None for any number.
        rates: counts them.
    """

    def __init__(self, ring: KeyRing, per_minute: int | None = None, rates: Rates | None = None):
        self._ring = ring
        self._per_minute = per_minute
        self._rates = rates or Rates()

    def __call__(self, request: HTTPConnection, scope: Scope) -> str:
        """The name of the client's key.

        Raises:
            RefusedError: 401 without a valid key, 403 if it does not allow this, 429 if it has
                been used too often.
        """
        given = _given(request)
        if given is None:
            raise RefusedError(
                401,
                "this server needs an API key: send it as  Authorization: Bearer KEY",
                headers=_CHALLENGE,
            )
        found = self._ring.find(given)
        if found is None:
            raise RefusedError(
                401, "the API key is not known, or was revoked: check it", headers=_CHALLENGE
            )
        key = found.key
        # Watchers are to know whose request was refused.
        request.state.client = key.name
        if key.expires is not None and time.time() >= key.expires:
            raise RefusedError(
                401, "the API key has expired: ask for another one", headers=_CHALLENGE
            )
        if scope not in key.scopes:
            raise RefusedError(403, f"the API key does not allow this: it needs the scope {scope}")
        most = key.per_minute or self._per_minute
        if most is not None and (wait := self._rates.take(found.place, most)):
            raise RefusedError(
                429,
                f"the API key may send {most} requests a minute: try again later",
                retry_seconds=wait,
            )
        return key.name


def _given(request: HTTPConnection) -> str | None:
    """The key that a request carries; of several the first."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip()
    if text := request.headers.get("x-api-key", "").strip():
        return text
    if request.scope["type"] == "websocket":
        for offered in request.scope.get("subprotocols", ()):
            if offered.startswith(PROTOCOL):
                return str(offered.removeprefix(PROTOCOL))
    return None
