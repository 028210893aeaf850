"""Alerts to a webhook: tried again where that helps, given up where it does not, never piled up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from alert_server import Hook
from whatwhere.serve.monitoring.alerts import Webhook


def until(true: Callable[[], bool]) -> None:
    """Wait for a thread, but not for ever."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def test_alerts_are_tried_again_until_they_arrive(hook: Hook) -> None:
    hook.answers = [(503, {}), (429, {"Retry-After": "0"}), (500, {})]
    results: list[str] = []
    webhook = Webhook(hook.url, results.append, first_pause=0.001)
    webhook.send({"event": "test"})
    assert hook.bodies.get(timeout=20) == {"event": "test"}
    until(lambda: results == ["sent"])
    webhook.close()
    assert hook.asked == 4


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (302, 1), (500, 5)])
def test_alerts_that_cannot_arrive_are_given_up(
    hook: Hook, caplog: pytest.LogCaptureFixture, status: int, asked: int
) -> None:
    hook.answers = [(status, {"Location": hook.url})] * 5
    results: list[str] = []
    webhook = Webhook(hook.url, results.append, first_pause=0.001)
    webhook.send({"event": "test"})
    until(lambda: results == ["failed"])
    webhook.close()
    assert hook.asked == asked
    assert f"the alert test was not sent: it answered {status}" in caplog.text


def test_alerts_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    results: list[str] = []
    monkeypatch.setattr(Webhook, "_deliver", lambda self, alert: gate.wait(30))
    webhook = Webhook("http://127.0.0.1:9/", results.append)
    for _ in range(150):
        webhook.send({"event": "test"})
    assert results.count("dropped") in (49, 50)
    gate.set()
    webhook.close()
