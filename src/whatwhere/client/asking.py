"""Questions over HTTP: kept connections, deadlines, and another try where there was no room.

Only the standard library is used, so that the base install has the client.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import ssl
import threading
import time
import uuid
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from whatwhere.errors import ServerError, UsageError

LATER = frozenset({429, 502, 503})
"""Statuses after which the same question may get an answer later."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered.

    Args:
        status: of HTTP.
        body: whole.
        retry_after: the header of this name; None if there is none.
    """

    status: int
    body: bytes
    retry_after: str | None


class Asker:
    """Sends questions to one server; safe to use from threads.

    Args:
        address: of the server.
        headers: sent with every question.
        timeout: seconds for the answer to a question, its retries included.
        retries: how often a question is sent again.

    Raises:
        UsageError: the address is none.
    """

    def __init__(self, address: str, headers: dict[str, str], timeout: float, retries: int) -> None:
        self._address, self._headers = address, headers
        self._timeout, self._retries = timeout, retries
        self._pool = _Pool(address)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._pool.close()

    def once(self, method: str, path: str) -> Reply:
        """The reply to a question without a body, asked once.

        Raises:
            OSError, http.client.HTTPException: there is none.
        """
        return self._send(method, path, None, {}, time.monotonic() + self._timeout)

    def ask(self, method: str, path: str, body: bytes | None, given: dict[str, str]) -> Reply:
        """The reply to a question, which is sent until there is one or the time is over.

        Args:
            given: options for the address.

        Raises:
            ServerError: there is none. Refusals are replies, too.
        """
        until = time.monotonic() + self._timeout
        # The same in all tries, so that the server's log shows that they are one.
        headers = {"X-Request-ID": uuid.uuid4().hex}
        tries = 0
        while True:
            reply, asked_for = None, 0.0
            error: Exception | None = None
            try:
                reply = self._send(method, path, body, given, until, headers)
            except ssl.SSLCertVerificationError as wrong:
                raise ServerError(
                    f"{self._address} has no valid certificate ({wrong.verify_message}): check the"
                    " address"
                ) from wrong
            except (OSError, http.client.HTTPException) as lost:
                error = lost
            else:
                if reply.status not in LATER:
                    return reply
                asked_for = _asked_for(reply)
            tries += 1
            longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**tries)
            # At random, so that clients that were refused together do not come back together.
            pause = asked_for + random.uniform(0, longest)
            if tries > self._retries or time.monotonic() + pause >= until:
                if reply is not None:
                    return reply
                raise ServerError(
                    f"{self._address} cannot be reached"
                    f" ({getattr(error, 'strerror', None) or error or type(error).__name__}):"
                    " check the address, and that the server runs"
                ) from error
            time.sleep(pause)

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        given: dict[str, str],
        until: float,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Send a question once; twice where a kept connection turns out to be closed."""
        while True:
            left = max(0.001, until - time.monotonic())
            if path == "/predict":
                given = given | {"timeout": f"{left:.3f}"}
            target = self._pool.prefix + path + (f"?{urlencode(given)}" if given else "")
            connection, kept = self._pool.take(left)
            try:
                connection.request(method, target, body, self._headers | (headers or {}))
                answer = connection.getresponse()
                data = answer.read()
            except (ConnectionError, http.client.BadStatusLine):
                connection.close()
                # The server ends connections that nobody has used for a while.
                if not kept:
                    raise
                continue
            except BaseException:
                connection.close()
                raise
            if answer.will_close:
                connection.close()
            else:
                self._pool.give(connection)
            return Reply(answer.status, data, answer.headers.get("Retry-After"))


class _Pool:
    """Open connections to one server that nobody uses at the moment."""

    def __init__(self, address: str) -> None:
        try:
            parts = urlsplit(address)
            self._port = parts.port
        except ValueError:
            raise UsageError(f"{address} is no address: write it as http://HOST:PORT") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise UsageError(f"{address} is no address: write it as http://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise UsageError("the address holds a password: give the API key as key")
        self.prefix = parts.path
        self._host = parts.hostname
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def take(self, seconds: float) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            connection.timeout = seconds
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            return connection, True
        if self._context is not None:
            return (
                http.client.HTTPSConnection(
                    self._host, self._port, timeout=seconds, context=self._context
                ),
                False,
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=seconds), False

    def give(self, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose answer was read to its end."""
        with self._lock:
            self._idle.append(connection)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _asked_for(reply: Reply) -> float:
    """Seconds after which the server wants to be asked again; 0 if it does not say."""
    try:
        body = json.loads(reply.body)
        # The header is rounded up to whole seconds.
        return max(0.0, float(body["retry_seconds"]))
    except (ValueError, KeyError, TypeError):
        given = (reply.retry_after or "").strip()
    if given.isdecimal():
        return float(given)
    try:
        when = email.utils.parsedate_to_datetime(given)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, when.timestamp() - time.time())
