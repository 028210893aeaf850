"""Fixtures of the tests of the web page: a browser, a server, the opened page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import browser, served_at
from factories import picture, spec_of, write_model
from page_words import HOSTILE
from served import PNG, settings_for
from whatwhere.images import encode_image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


# Found by the detector as red with score 1, green with 0.4 (below its own threshold, 0.5).
FAINT = picture((0, 1, 0))
FAINT[32:48, 32:48, 1] = 102


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("page")
    spec = spec_of("detect", names=("red", "green", HOSTILE), thresholds={})
    write_model(made / "cells.onnx", "detect", spec=spec)
    write_model(made / "kinds.onnx", "classify")
    (made / "one.png").write_bytes(PNG)
    (made / "faint.png").write_bytes(encode_image(FAINT, ".png"))
    (made / "blue.png").write_bytes(encode_image(picture((1, 1, 2)), ".png"))
    (made / "no.png").write_bytes(b"this is no picture")
    return made


@pytest.fixture(scope="module")
def page_address(page_folder: Path) -> Iterator[str]:
    models = (page_folder / "cells.onnx", page_folder / "kinds.onnx")
    settings = settings_for(
        *models,
        log_url=f"sqlite:///{page_folder / 'log.db'}",
        monitor={"log_thumbnails": True, "drift_spacing_seconds": 0},
    )
    with served_at(settings) as found:
        yield found


@pytest.fixture
def page(chrome: Browser, page_address: str) -> Iterator[Page]:
    """The page, opened; no test leaves an error of the page behind."""
    context = chrome.new_context(permissions=["camera"])
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on(
        "console",
        # Chromium says of every refusal there, too.
        lambda said: (
            errors.append(said.text)
            if said.type == "error" and "Failed to load resource" not in said.text
            else None
        ),
    )
    opened.goto(page_address)
    yield opened
    context.close()
    assert not errors
