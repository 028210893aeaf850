"""What tests of the web page say to it again and again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "<img src=x onerror=alert(1)>"
"""A class name; nothing of it may be run."""


def says(page: Page, words: str, place: int = 0) -> None:
    """Wait until a pane sums up so."""
    from playwright.sync_api import expect

    expect(page.locator(".summary").nth(place)).to_have_text(words, timeout=30_000)


def seen(page: Page) -> list[str]:
    """Names of the boxes that are drawn, in their order."""
    found: list[str] = page.locator(".found").evaluate_all(
        "all => all.map(one => one.dataset.name)"
    )
    return found


def choose(page: Page, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])
