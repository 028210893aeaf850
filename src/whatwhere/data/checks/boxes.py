"""Boxes that cannot be, are there twice, or say nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from whatwhere.data.checks._report import Report
from whatwhere.data.near import ranges
from whatwhere.data.tables import BOX, tidy_boxes

NEAR_IDENTICAL = 0.95
"""Intersection over union from which on two boxes are taken for one."""

_WHOLE = 0.99
_PAIRS = 1 << 20


def find(report: Report) -> None:
    """Impossible boxes (of data sets made in Python), double labels, boxes of everything."""
    if report.dataset.labels.height == 0:
        return
    if report.dataset.task != "detect":
        _double_classes(report)
        return
    _impossible(report)
    _alike(report)
    _everything(report)


def _impossible(report: Report) -> None:
    """Readers keep such boxes out; here are those of tables that no reader made."""
    labels = report.dataset.labels.with_row_index("row").filter(pl.col("x1").is_not_null())
    plain = labels.select("row", "image", *BOX)
    sizes = report.dataset.images.select("width", "height").with_row_index("image")
    joined = plain.join(sizes, on="image", how="left")
    wrong = joined.filter(
        ~pl.all_horizontal(pl.col(name).is_finite() for name in BOX)
        | (pl.col("x2") <= pl.col("x1"))
        | (pl.col("y2") <= pl.col("y1"))
        | (pl.min_horizontal("x1", "y1") < 0)
        | (pl.col("x2") > pl.col("width"))
        | (pl.col("y2") > pl.col("height"))
    )
    if wrong.height == 0:
        return
    marked = wrong.select("image", *BOX, pl.col("row").cast(pl.String).alias("record"))
    for finding in tidy_boxes(marked, report.dataset.images)[1]:
        row = int(finding.where)
        added = report.label(row, finding.kind, finding.message, finding.severity)
        if finding.boxes:
            report.dropped[row] = added


def _double_classes(report: Report) -> None:
    """The same class twice in a picture."""
    again = report.dataset.labels.with_row_index("row").filter(
        ~pl.struct("image", "class_id").is_first_distinct()
    )
    names = report.dataset.names
    for row, class_id in again.select("row", "class_id").iter_rows():
        message = f"this label of {names[class_id]!r} is there twice"
        report.dropped[row] = report.label(row, "duplicate-label", message)


def _alike(report: Report) -> None:
    """One finding for each box that an earlier one of the picture nearly is."""
    labels = report.dataset.labels
    ids = labels["class_id"].to_numpy()
    ignore = labels["ignore"].to_numpy()
    boxes = labels.select(BOX).to_numpy().astype(np.float64)
    names = report.dataset.names
    told: set[int] = set()
    for first, second, overlap in alike_boxes(labels["image"].to_numpy(), boxes):
        for a, b, iou in zip(first.tolist(), second.tolist(), overlap.tolist(), strict=True):
            before, name = names[ids[a]], names[ids[b]]
            if b in told or a in report.dropped or ((ignore[a] or ignore[b]) and before != name):
                continue
            told.add(b)
            same = bool((boxes[a] == boxes[b]).all())
            about = "the same box" if same else f"nearly the same box (IoU {iou:.3f})"
            if before != name:
                message = f"{about} is called {before!r} and {name!r}"
                report.label(b, "contradicting-labels", message)
            elif same:
                message = f"this label of {name!r} is there twice"
                report.dropped[b] = report.label(b, "duplicate-label", message)
            else:
                message = f"{about} of {name!r} is there already"
                report.dropped[b] = report.label(b, "near-identical-box", message)


def alike_boxes(
    image: NDArray[np.uint32], boxes: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """Pairs of boxes of one picture with IoU over 0.95: earlier row, later row, IoU.

    Two such boxes have areas within 5 percent, so each is compared only with those that
    follow it by area.

    Args:
        image: (N,) ascending.
        boxes: (N, 4) x1 y1 x2 y2; rows that are not boxes are passed over.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    rows = np.flatnonzero(np.isfinite(boxes).all(1) & (sides > 0).all(1))
    area = sides[rows].prod(axis=1)
    # Logarithms of areas lie between -300 and 100, so that pictures keep apart.
    key = image[rows].astype(np.float64) * 1000 + np.clip(np.log(area), -300, 300)
    order = np.argsort(key, kind="stable")
    rows, key, area = rows[order], key[order], area[order]
    ends = np.searchsorted(key, key - np.log(NEAR_IDENTICAL) + 1e-6, side="right")
    for one, other in ranges(np.arange(len(key)) + 1, ends, _PAIRS):
        a, b = boxes[rows[one]], boxes[rows[other]]
        shared = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
        overlap = np.maximum(shared, 0).prod(axis=1)
        iou = overlap / (area[one] + area[other] - overlap)
        near = iou > NEAR_IDENTICAL
        if near.any():
            pair = np.stack([rows[one[near]], rows[other[near]]], axis=1)
            pair.sort(axis=1)
            place = np.lexsort(pair.T)
            yield pair[place, 0], pair[place, 1], iou[near][place]


def _everything(report: Report) -> None:
    """Boxes as large as their picture, where there is more in it than one thing."""
    sizes = report.dataset.images.select("width", "height").with_row_index("image")
    labels = report.dataset.labels.with_row_index("row").select("row", "image", "class_id", *BOX)
    whole = labels.join(sizes, on="image", how="left").filter(
        (pl.col("x2") - pl.col("x1") >= _WHOLE * pl.col("width"))
        & (pl.col("y2") - pl.col("y1") >= _WHOLE * pl.col("height"))
    )
    names = report.dataset.names
    for row, class_id in whole.sort("row").select("row", "class_id").iter_rows():
        message = f"the box of {names[class_id]!r} covers the whole picture"
        report.label(row, "whole-picture-box", message, "info")
