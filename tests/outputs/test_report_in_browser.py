"""The report in a headless Chromium: no page is wider than its window."""

from pathlib import Path

from browser import browser
from report_pages import example
from whatwhere.outputs.report import write_report
from whatwhere.types import TASKS


def test_a_report_fits_a_phone_and_a_screen(tmp_path: Path) -> None:
    paths = {}
    for task in TASKS:
        folder = tmp_path / task
        folder.mkdir()
        names = ("a class of a rather long name", "another class")
        result = example(folder, task, names).with_details(samples=20)
        paths[task] = write_report(result, folder / "report.html")
    with browser() as opened:
        for width in (360, 420, 1200):
            page = opened.new_page(viewport={"width": width, "height": 800})
            for task, path in paths.items():
                page.goto(path.as_uri())
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, (task, width)
            page.close()
