"""Against web pages that use a visitor's browser to reach this server.

A page of a stranger can send requests to any address that the visitor's machine reaches. It
cannot read the answers, unless its own name is made to lead here (DNS rebinding), and browsers
say on whose behalf they ask. So requests that could change something, and all WebSockets, must
come from a page of this server or from no page; and a server without keys on 127.0.0.1 answers
to its own names only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from whatwhere.serve.errors import RefusedError, refused_response
from whatwhere.serve.settings import ServeSettings, is_public

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_ELSEWHERE = frozenset({"cross-site", "same-site"})
# RFC 6455, section 7.4.1.
_POLICY_VIOLATION = 1008

_HEADERS = {
    # Answers are data; pages set a policy of their own.
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


_RAW = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


def protected(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers of an answer, and what keeps it from being run, framed, kept or read elsewhere.

    Those that the answer has already stay as they are.
    """
    given = list(headers)
    there = {name.lower() for name, _ in given}
    given += [one for one in _RAW if one[0] not in there]
    return given


def own_hosts(settings: ServeSettings) -> frozenset[str] | None:
    """Names that a server answers to; None for any.

    Any where other machines may reach it, since nobody can know what they call it, and with
    keys, since a page of a stranger has none.
    """
    named = frozenset(host.lower() for host in settings.hosts)
    if not named and (is_public(settings.host) or settings.keys_file is not None):
        return None
    return named | {"localhost", settings.host.lower().strip("[]")}


class Shield:
    """ASGI middleware that refuses what a stranger's page has sent.

    Args:
        hosts: names that it answers to, beside plain IP addresses; None for any.
        friends: hosts whose pages may use it like its own.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] | None = None, friends: Iterable[str] = ()
    ) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(hosts)
        self._friends = frozenset(name.lower() for name in friends)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refused = self._check(scope, Headers(scope=scope))
        if refused is None:
            await self._app(scope, receive, send)
            return
        scope["state"]["error"] = refused.sentence
        if scope["type"] == "websocket":
            # Before it was accepted: the server answers the handshake with 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        response = refused_response(refused, scope["state"]["request_id"])
        await response(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> RefusedError | None:
        hosts = headers.getlist("host")
        if len(hosts) > 1:
            return RefusedError(400, "the request has two Host headers: send one", close=True)
        # A client of HTTP/1.0 sends none; browsers always do.
        host = hosts[0] if hosts else ""
        if hosts and self._hosts is not None and not self._answers_to(_name(host)):
            return RefusedError(
                421,
                "the Host header names another server: start this one with  --allow-host NAME  if"
                " it is meant",
                close=True,
            )
        if scope["type"] == "http" and scope["method"] in _SAFE:
            return None
        return None if self._from_here(headers, host) else _foreign()

    def _answers_to(self, name: str) -> bool:
        assert self._hosts is not None
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        # Only names can be made to lead elsewhere.
        return True

    def _from_here(self, headers: Headers, host: str) -> bool:
        """Whether no page sent this, or one of ours."""
        origins = headers.getlist("origin")
        for origin in origins:
            place = _place(origin)
            # "null" is a file, a frame without rights, or a page that hides where it is from.
            if place is None or (place != host.lower() and _name(place) not in self._friends):
                return False
        return bool(origins) or headers.get("sec-fetch-site") not in _ELSEWHERE


def _place(origin: str) -> str | None:
    """Host and port of an origin (RFC 6454); None where it has none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") and parts.netloc else None


def _name(host: str) -> str:
    """The name of a Host header, without its port."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _foreign() -> RefusedError:
    return RefusedError(
        403,
        "a page of another server sent this: start this one with  --allow-host NAME  if it may",
        close=True,
    )
