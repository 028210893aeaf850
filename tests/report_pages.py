"""Small results and a reader of the pages made from them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

import whatwhere as ww
from whatwhere.evaluation import Result
from whatwhere.images import write_image
from whatwhere.metrics import score
from whatwhere.types import Prediction, Task

EVIL = "<script>alert('x')</script>\"&"


def example(folder: Path, task: Task, names: tuple[str, ...] = ("cat", "dog")) -> Result:
    """Four pictures of which the last answer is wrong."""
    paths = [str(folder / f"{row}.png") for row in range(4)]
    for row, path in enumerate(paths):
        write_image(Path(path), np.full((60, 80, 3), 40 * row, dtype=np.uint8))
    labels: dict[str, Any] = {"image": range(4), "class_id": [0, 1, 0, 1]}
    if task == "detect":
        labels |= {"x1": [5] * 4, "y1": [5] * 4, "x2": [45] * 4, "y2": [40] * 4}
    data = ww.Dataset({"path": paths}, labels, names, task=task, source=f"set {names[0]}")
    predictions = []
    for row, place in enumerate([0, 1, 0, 0]):
        value = np.array([0.9 - 0.1 * row], np.float32)
        rows: dict[str, Any] = {"label_names": (names[place],), "label_scores": value}
        if task == "detect":
            box = np.array([[5, 5, 45, 40]], np.float32)
            rows = {"object_names": (names[place],), "object_scores": value, "boxes": box}
        predictions.append(Prediction(80, 60, image=paths[row], **rows))
    numbers = score(task, data, predictions, curves=True)
    per_class, curves = numbers.pop("per_class"), numbers.pop("curves", None)
    return Result(
        task=task,
        images=4,
        confusion=numbers.pop("confusion", None),
        metrics=numbers,
        per_class=per_class,
        curves=curves,
        model=names[1],
        source=data.source,
        split="test",
        notes=(f"a note about {names[0]}",),
        data=data,
        predictions=tuple(predictions),
    )


class Reader(HTMLParser):
    """Fails on anything that could run or load, and on tags that do not nest."""

    VOID = ("meta", "img", "br", "line", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href"):
                assert (value or "").startswith("data:image/jpeg;base64,")
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + " "


def parse(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    reader.close()
    assert reader.open == []
    return reader
