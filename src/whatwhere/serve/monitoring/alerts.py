"""Alerts to a webhook: few, small, and tried again where that helps."""

from __future__ import annotations

import json
import logging
import queue
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, Literal

from whatwhere import __version__

_LOG = logging.getLogger(__name__)

TRIES = 5
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

_TIMEOUT = 10.0
_WAITING = 100
_CLOSE_SECONDS = 2.0
_AGAIN = {408, 425, 429}

Result = Literal["sent", "failed", "dropped"]


class Webhook:
    """Sends JSON objects by POST, in a thread of its own, one after the other.

    An answer of 408, 425, 429 or 5xx, or none at all, is tried again after a pause that doubles
    (with jitter, or as `Retry-After` says), five times in all. Redirections are not followed.

    Args:
        url: an http or https address of the operator's choice.
        count: told how each alert ended: "sent", "failed", or "dropped" because a hundred wait.
        first_pause: seconds before the second try.
    """

    def __init__(
        self,
        url: str,
        count: Callable[[Result], None] | None = None,
        *,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._url = url
        self._count = count or (lambda result: None)
        self._first = first_pause
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._closing = threading.Event()
        self._opener = urllib.request.build_opener(_Stay)
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def send(self, alert: dict[str, Any]) -> None:
        """Take an alert; returns at once."""
        try:
            self._queue.put_nowait(alert)
        except queue.Full:
            _LOG.error("%d alerts wait for the webhook: one more is dropped", _WAITING)
            self._count("dropped")

    def close(self) -> None:
        """Send what waits, in two seconds at most."""
        self._closing.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            _LOG.error("%d alerts were not sent", _WAITING)
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while (alert := self._queue.get()) is not None:
            try:
                self._count("sent" if self._deliver(alert) else "failed")
            except Exception:  # a defect must not end the thread
                _LOG.exception("the webhook failed")
                self._count("failed")

    def _deliver(self, alert: dict[str, Any]) -> bool:
        body = json.dumps(alert, ensure_ascii=False, allow_nan=False).encode()
        pause, reason = self._first, ""
        for attempt in range(1, TRIES + 1):
            reason, wait = self._post(body)
            if not reason:
                return True
            if wait is None or attempt == TRIES or self._closing.is_set():
                break
            self._closing.wait(min(LONGEST_PAUSE, max(wait, pause * random.uniform(0.5, 1.5))))
            pause *= 2
        _LOG.error("the alert %s was not sent: %s", alert.get("event"), reason)
        return False

    def _post(self, body: bytes) -> tuple[str, float | None]:
        """Why it failed ("" if it did not), and the least pause before another try, if any."""
        request = urllib.request.Request(
            self._url,
            body,
            {"Content-Type": "application/json", "User-Agent": f"whatwhere/{__version__}"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT):
                return "", None
        except urllib.error.HTTPError as error:
            with error:
                again = error.code in _AGAIN or error.code >= 500
                wait = _seconds(error.headers.get("Retry-After", "")) if again else None
                return f"it answered {error.code}", wait
        except (OSError, HTTPException) as error:
            return f"{getattr(error, 'reason', None) or error}", 0.0


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **names: Any) -> None:
        """No other address than the one that was given is told anything."""


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def drift_alert(
    event: Literal["drift", "drift ended"],
    model: str,
    version: str,
    words: str,
    parts: list[dict[str, Any]],
) -> dict[str, Any]:
    """What is sent: figures of a window and class names, nothing of any single picture."""
    return {
        "event": event,
        "time": round(time.time(), 3),
        "model": model,
        "version": version,
        "words": words,
        "parts": parts,
    }
