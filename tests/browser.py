"""A headless Chromium for tests, and a server that it can reach."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn

from whatwhere.serve.assembly import assemble
from whatwhere.serve.settings import ServeSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that shows a moving test picture, and is allowed without a question.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
_SECONDS = 60


def chromium() -> str:
    """The browser of this machine; skips the test where there is none.

    `WHATWHERE_CHROMIUM` names one in another place.
    """
    given = os.environ.get("WHATWHERE_CHROMIUM")
    found = given or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium on this machine: set WHATWHERE_CHROMIUM to its file")
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own, which goes with it."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    path = chromium()
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def served_at(settings: ServeSettings) -> Iterator[str]:
    """The address of a server that runs in a thread of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = assemble(settings)
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until = time.monotonic() + _SECONDS
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < until, "the server did not start in time"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(_SECONDS)
        listener.close()
    assert not thread.is_alive(), "the server did not end"


def axe_script() -> str:
    """Deque's checks of accessibility, as JavaScript; skips the test where they are missing."""
    package = pytest.importorskip(
        "axe_core_python.base", reason="axe-core is not installed: pip install axe-core-python"
    )
    return Path(package.AXE_FILE_PATH).read_text("utf-8")
