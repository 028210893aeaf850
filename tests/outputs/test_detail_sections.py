"""What a report says of a result with details, as a person and as a browser see it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from report_pages import EVIL, example, parse
from whatwhere.images import read_image
from whatwhere.metrics import METRICS
from whatwhere.outputs.charts import histogram, line_chart
from whatwhere.outputs.report import write_report
from whatwhere.types import TASKS, Task

PARTS: dict[Task, tuple[str, ...]] = {
    "classify": ("Each class against the rest", "Calibration", "Further numbers"),
    "multilabel": ("Each class against the rest", "Calibration", "Further numbers"),
    "detect": ("Kinds of errors", "At a threshold", "Confusion matrix", "Calibration"),
}


@pytest.mark.parametrize("task", TASKS)
def test_details_are_in_the_report_and_beside_it(tmp_path: Path, task: Task) -> None:
    result = example(tmp_path, task).with_details(samples=100)
    assert result.details is not None
    path = write_report(result, tmp_path / "out" / "report.html")
    page = parse(path)
    for part in (*PARTS[task], "Ranges: 95% bootstrap intervals from 100 draws of pictures."):
        assert part in page.text
    for note in result.details.notes:
        assert note in page.text
    assert "fewer than 30" in page.text
    first = METRICS[task][0].name
    interval = result.details.intervals[first]
    assert f"{interval.low:.3f}–{interval.high:.3f}" in page.text
    values = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert values[first] == result[first]
    assert values["intervals"][first] == {
        "low": interval.low,
        "high": interval.high,
        "images": interval.units,
    }
    assert set(values["tables"]) == set(result.details.tables)


@pytest.mark.parametrize("task", TASKS)
def test_names_in_details_cannot_run_code(tmp_path: Path, task: Task) -> None:
    result = example(tmp_path, task, names=(EVIL, "dog")).with_details(samples=0)
    text = write_report(result, tmp_path / "report.html").read_text("utf-8")
    assert "<script" not in text
    parse(tmp_path / "report.html")


def test_charts_show_their_numbers_on_pointing_at_them() -> None:
    chart = line_chart({"a < b": [(x / 100, x / 200) for x in range(101)]}, x="recall", y="score")
    titles = re.findall("<title>(.*?)</title>", chart)
    assert titles[0] == "a &lt; b: recall 0, score 0"
    assert titles[-1] == "a &lt; b: recall 1, score 0.5"
    assert len(titles) <= 28
    bars = histogram([0.0, 0.5, 1.0], [3, 0], x="IoU", y="boxes")
    assert re.findall("<title>(.*?)</title>", bars) == [
        "IoU 0 to 0.5: 3 boxes",
        "IoU 0.5 to 1: 0 boxes",
    ]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("task", TASKS)
def test_a_browser_draws_it(tmp_path: Path, task: Task) -> None:
    """Without a network; the page is as wide as the window and not blank."""
    path = write_report(example(tmp_path, task).with_details(samples=50), tmp_path / "r.html")
    picture = tmp_path / "seen.png"
    options = (
        "headless no-sandbox disable-gpu disable-quic no-first-run hide-scrollbars disable-sync"
        " disable-background-networking disable-component-update window-size=900,1600"
    )
    places = [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", path.as_uri()]
    done = subprocess.run(
        ["chromium", *(f"--{option}" for option in options.split()), *places],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert picture.is_file(), done.stderr[-500:]
    assert "Refused to" not in done.stderr
    seen = read_image(picture)
    assert seen.shape == (1600, 900, 3)
    # Words and charts in the upper and in the lower half.
    for half in (seen[:800], seen[800:]):
        assert 0.01 < float(np.mean((half < 200).any(axis=2))) < 0.9
