"""Checks of boxes: impossible, double, nearly identical, as large as the picture."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from whatwhere.data import Dataset, Finding
from whatwhere.data.checks import examine
from whatwhere.data.checks.boxes import NEAR_IDENTICAL, alike_boxes

Box = tuple[int, int, float, float, float, float]


def table(*boxes: Box, ignore: tuple[int, ...] = (), names: int = 3) -> Dataset:
    """Two pictures of 200 x 100; boxes as (picture, class, x1, y1, x2, y2)."""
    columns = ("image", "class_id", "x1", "y1", "x2", "y2")
    rows = dict(zip(columns, map(list, zip(*boxes, strict=True)), strict=True))
    rows["ignore"] = [number in ignore for number in range(len(boxes))]
    rows["record"] = [f"boxes.json#{number}" for number in range(len(boxes))]
    images = {"path": ["/data/a.png", "/data/b.png"], "width": [200] * 2, "height": [100] * 2}
    return Dataset(images, rows, [f"class {'abc'[i]}" for i in range(names)], root="/data")


def found(dataset: Dataset, kind: str) -> list[Finding]:
    return [one for one in dataset.check(depth="labels") if one.kind == kind]


@pytest.mark.parametrize(
    ("box", "kind", "dropped"),
    [
        ((10, 10, 10, 50), "zero-size-box", True),
        ((50, 10, 10, 50), "inverted-box", True),
        ((200, 10, 220, 50), "outside-box", True),
        ((float("nan"), 10, 20, 50), "bad-box", True),
        ((10, 10, float("inf"), 50), "bad-box", True),
        ((150, 10, 230, 50), "clipped-box", False),
    ],
)
def test_impossible_boxes_of_tables_that_no_reader_made(
    box: tuple[float, float, float, float], kind: str, dropped: bool
) -> None:
    dataset = table((0, 0, 5, 5, 50, 50), (1, 1, *box))
    report = examine(dataset, depth="labels")
    (finding,) = [one for one in report.findings if one.where == "boxes.json#1"]
    assert finding.kind == kind
    assert (1 in report.dropped) == dropped
    assert 0 not in report.dropped


def test_the_same_label_twice_and_one_box_of_two_classes() -> None:
    dataset = table(
        (0, 0, 5, 5, 50, 50),
        (0, 0, 5, 5, 50, 50),
        (0, 1, 5, 5, 50, 50),
        (1, 0, 5, 5, 50, 50),
    )
    (double,) = found(dataset, "duplicate-label")
    assert double.where == "boxes.json#1"
    (other,) = found(dataset, "contradicting-labels")
    assert other.where == "boxes.json#2"
    assert "'class a' and 'class b'" in other.message


def test_nearly_identical_boxes_of_one_class_and_of_two() -> None:
    dataset = table(
        (0, 0, 10, 10, 110, 90),
        (0, 0, 11, 10, 110, 90),
        (1, 0, 10, 10, 110, 90),
        (1, 2, 10, 10, 110, 91),
        (1, 1, 20, 10, 120, 90),
    )
    (same,) = found(dataset, "near-identical-box")
    assert same.where == "boxes.json#1"
    assert "IoU 0.990" in same.message
    (other,) = found(dataset, "contradicting-labels")
    assert other.where == "boxes.json#3"


def test_an_ignored_box_contradicts_nothing() -> None:
    dataset = table((0, 0, 10, 10, 110, 90), (0, 1, 10, 10, 110, 90), ignore=(1,))
    assert not found(dataset, "contradicting-labels")


def test_a_box_as_large_as_the_picture() -> None:
    dataset = table((0, 0, 0, 0, 200, 100), (1, 0, 0, 0, 190, 100), (1, 1, 1, 0, 199.5, 99.5))
    notes = found(dataset, "whole-picture-box")
    assert [one.where for one in notes] == ["boxes.json#0", "boxes.json#2"]
    assert {one.severity for one in notes} == {"info"}


def test_a_whole_picture_of_copies_gives_one_finding_each() -> None:
    dataset = table(*[(0, 0, 10.0, 10.0, 60.0, 60.0)] * 300)
    assert len(found(dataset, "duplicate-label")) == 299


def test_pairs_are_those_of_comparing_all_with_all() -> None:
    rng = np.random.default_rng(3)
    image = np.sort(rng.integers(0, 40, 2000)).astype(np.uint32)
    corner = rng.integers(0, 4, (2000, 2)).astype(np.float64) * 3
    size = 60 + rng.integers(0, 3, (2000, 2)).astype(np.float64)
    boxes = np.concatenate([corner, corner + size], axis=1)
    boxes[::97] = np.nan
    boxes[5] = (10, 10, 10, 20)
    quick = {}
    for first, second, iou in alike_boxes(image, boxes):
        quick |= dict(zip(zip(first.tolist(), second.tolist(), strict=True), iou, strict=True))
    slow = {}
    for a in range(2000):
        for b in np.flatnonzero(image == image[a]):
            if b > a:
                low, high = (
                    np.maximum(boxes[a, :2], boxes[b, :2]),
                    np.minimum(boxes[a, 2:], boxes[b, 2:]),
                )
                shared = float(np.prod(np.maximum(high - low, 0)))
                both = [float(np.prod(boxes[i, 2:] - boxes[i, :2])) for i in (a, b)]
                iou = shared / (sum(both) - shared)
                if np.isfinite(iou) and iou > NEAR_IDENTICAL:
                    slow[a, int(b)] = iou
    assert len(slow) > 100
    assert quick.keys() == slow.keys()
    assert all(quick[pair] == pytest.approx(slow[pair]) for pair in slow)


def test_the_same_class_twice_without_boxes() -> None:
    dataset = Dataset(
        {"path": ["/data/a.png", "/data/b.png"]},
        {"image": [0, 0, 0, 1], "class_id": [0, 1, 0, 0], "record": ["x:1", "x:2", "x:3", "x:4"]},
        ["sun", "sea"],
        task="multilabel",
    )
    (double,) = found(dataset, "duplicate-label")
    assert double.where == "x:3"


def test_labels_without_boxes_among_boxes_are_no_doubles() -> None:
    dataset = table((0, 0, 1, 1, 20, 20), (1, 0, 1, 1, 20, 20))
    mixed = pl.concat(
        [dataset.labels, dataset.labels.with_columns(x1=None, y1=None, x2=None, y2=None)]
    )
    findings = Dataset(dataset.images, mixed, dataset.names, task="detect").check(depth="labels")
    assert not [one for one in findings if one.kind in ("duplicate-label", "bad-box")]
