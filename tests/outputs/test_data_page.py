"""The page of a data set: whole, safe, self-contained, and what it shows."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from data_samples import NAMES, classification, detection
from whatwhere.data import Dataset, read
from whatwhere.images import read_image
from whatwhere.outputs._data_samples import Samples
from whatwhere.outputs.data_page import write_data_page
from whatwhere.outputs.plots import (
    bubbles,
    frequent_pairs,
    heat_map,
    histogram,
    pair_matrix,
    rectangles,
    shares,
)

EVIL = "<script>alert('x')</script>\"&"


class Reader(HTMLParser):
    """Fails on anything that could load or that runs unasked, and on tags that do not nest."""

    VOID = ("meta", "img", "br", "line", "circle", "rect", "polyline", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[bytes] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.scripts: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("link", "iframe", "object", "base", "form")
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "src":
                assert tag == "img"
                start = "data:image/jpeg;base64,"
                assert (value or "").startswith(start)
                self.pictures.append(base64.b64decode((value or "")[len(start) :]))
            if name == "href":
                assert (value or "").startswith("#")
                self.links.add((value or "")[1:])
            if name == "id":
                self.ids.add(value or "")
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.text += data + " "


def parse(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    reader.close()
    assert reader.open == []
    assert reader.links <= reader.ids
    return reader


def test_a_page_of_boxes_has_all_its_parts(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    page = parse(write_data_page(dataset, tmp_path / "page.html"))
    for word in (*NAMES, "Splits", "Classes", "Shapes", "Together in a picture", "Worth a look"):
        assert word in page.text
    for word in ("Aspect ratios", "Typical boxes", "centres", "Smallest objects", "Without labels"):
        assert word in page.text
    assert page.links == {"class-0", "class-1", "class-2"}
    # 2 + 2 + 2 samples, 5 with a box seen close, 5 with labels, 1 without.
    assert len(page.pictures) == 6 + 5 + 5 + 1
    for picture in page.pictures:
        assert read_image(picture).ndim == 3
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_a_page_of_classes_leaves_out_what_has_no_meaning(tmp_path: Path) -> None:
    page = parse(write_data_page(classification(tmp_path), tmp_path / "page.html", samples=1))
    assert "Aspect ratios" not in page.text
    assert "Together in a picture" not in page.text
    assert "Most labels" not in page.text
    assert "Smallest pictures" not in page.text  # their sizes are not known
    assert len(page.pictures) == 3
    many = detection(tmp_path / "b").as_multilabel()
    shown = parse(write_data_page(many, tmp_path / "many.html"))
    assert "Together in a picture" in shown.text
    assert "Smallest pictures" in shown.text


def test_only_our_script_may_run(tmp_path: Path) -> None:
    names = [EVIL, f"{EVIL} b", "plain"]
    plain = detection(tmp_path)
    dataset = Dataset(
        plain.images.with_columns(group=plain.images["split"].replace("train", EVIL)),
        plain.labels,
        names,
        source=EVIL,
        root=plain.root,
    )
    path = write_data_page(dataset, tmp_path / "page.html")
    page = parse(path)
    assert "alert('x')" in page.text
    (script,) = page.scripts
    assert "alert" not in script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = path.read_text("utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", text)


def test_the_numbers_are_those_of_the_data_set(tmp_path: Path, shared: Path) -> None:
    dataset = read(shared / "bccd")
    page = parse(write_data_page(dataset, tmp_path / "page.html", samples=1, hard=2))
    for word in (
        "364",
        "4,886",
        "4,153",
        "2 x zero-size-box, such as Annotations/",
        "train",
        "205",
    ):
        assert word in page.text
    assert len(page.pictures) == 3 + 2 + 2
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


def test_pictures_that_are_gone_leave_a_page_without_them(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    for path in dataset.paths:
        Path(path).unlink()
    page = parse(write_data_page(dataset, tmp_path / "page.html"))
    assert page.pictures == []
    assert "Splits" in page.text


@pytest.mark.parametrize("labels", [{}, {"image": [0], "class_id": [0]}])
def test_small_and_empty_sets_have_a_page(labels: dict[str, list[int]], tmp_path: Path) -> None:
    dataset = Dataset({"path": ["/nowhere/a.jpg"]}, labels, ["cat"] if labels else [])
    page = parse(write_data_page(dataset, tmp_path / "page.html"))
    assert "1" in page.text


def test_samples_of_many_classes_are_limited(tmp_path: Path) -> None:
    plain = classification(tmp_path)
    count = 300
    names = [f"kind {number}" for number in range(count)]
    images = {"path": [plain.paths[row % 6] for row in range(count + 50)]}
    ids = [*range(count), *range(50)]
    labels = {"image": range(count + 50), "class_id": ids}
    dataset = Dataset(images, labels, names, task="classify")
    page = parse(write_data_page(dataset, tmp_path / "page.html", samples=2))
    assert len(page.pictures) <= 240
    assert "60 most frequent and the 60 rarest of 300 classes" in page.text
    assert page.links == page.ids & page.links


def test_samples_are_spread_and_mark_the_class(tmp_path: Path) -> None:
    dataset = detection(tmp_path)
    html = Samples(dataset).classes(1, dataset.stats()["classes"])
    data = re.findall(r"base64,([^\"]+)", html)
    assert len(data) == 3
    picture = read_image(base64.b64decode(data[0]))
    assert picture.shape[0] >= 40


def test_plots_of_nothing_are_nothing() -> None:
    assert histogram([], [], x="x", y="y", marks=[]) == ""
    assert histogram([0, 0], ["a", "b"], x="x", y="y", marks=[]) == ""
    assert heat_map([[0]], label="l") == bubbles([], x="x", y="y") == ""
    assert rectangles({"train": []}, side=640) == shares({"small": 0}, {}) == ""


def test_plots_say_what_they_show() -> None:
    chart = histogram([1, 1200], ["<a>", "b"], x="x<", y="y", marks=[(0, "0")])
    assert "&lt;a&gt;: 1<" in chart
    assert "x&lt;" in chart
    assert "1k" in chart
    heights = [float(value) for value in re.findall(r'class="bin".*?height="([\d.]+)"', chart)]
    assert heights[1] / max(heights[0], 0.1) > 500
    few = histogram([1, 0, 2], ["a", "b", "c"], x="x", y="y", marks=[])
    assert re.findall(r'class="tick end">([^<]+)<', few) == ["0", "1", "2"]
    grid = np.zeros((4, 4), int)
    grid[1, 2], grid[1, 3], grid[2, 0] = 5, 5, 1
    cells = re.findall(
        r'class="heat" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"',
        heat_map(grid.tolist(), label="l"),
    )
    assert len(cells) == 2
    assert float(cells[0][2]) == 2 * float(cells[1][2]) == 150
    dots = re.findall(
        r'cx="([\d.]+)" cy="([\d.]+)"', bubbles([(100, 100, 5), (50, 50, 1)], x="w", y="h")
    )
    # On the diagonal: as far right as up.
    (x1, y1), (x2, y2) = ((float(x), float(y)) for x, y in dots)
    assert x1 - x2 == pytest.approx(y2 - y1, abs=0.2)
    assert "train: 10 x 20" in rectangles({"train": [[10, 20]]}, side=640)
    assert "width:25.00%" in shares({"a": 1, "b": 3}, {"a": "red", "b": "blue"})


def test_pairs_of_classes() -> None:
    table = pair_matrix(["cat", "<dog>"], [[4, 1], [1, 2]])
    assert "&lt;dog&gt; with cat: 1" in table
    assert "--shade:0.71" in table
    rows = frequent_pairs(["a", "b", "c"], [[4, 1, 2], [1, 2, 0], [2, 0, 9]])
    assert rows.index(">c<") < rows.index(">b<")
    assert "50 %" in rows
