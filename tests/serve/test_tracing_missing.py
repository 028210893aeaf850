"""Without the extra, asking for traces says how to install it."""

from __future__ import annotations

import sys

import pytest

from whatwhere.errors import MissingExtraError
from whatwhere.serve.monitoring.monitor import Monitor
from whatwhere.serve.monitoring.settings import MonitorSettings


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"whatwhere\[otel\]"):
        Monitor(MonitorSettings(otel=True))
