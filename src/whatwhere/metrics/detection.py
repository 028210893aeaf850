"""Scores of a detector: `coco.py` applied to a data set and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.coco import CocoScores, FoundBoxes, TrueBoxes, coco_scores
from whatwhere.metrics.partial import known_pairs
from whatwhere.types import Labels, Prediction

DONT_CARE = "dontcare"
"""KITTI's class of regions whose objects nobody labelled, in lower case."""


def score_detection(
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: frozenset[str],
    curves: bool = False,
) -> dict[str, Any]:
    """COCO's 12 numbers and `per_class`; see `metrics.score`."""
    names = {place: name for place, name in enumerate(data.names) if name in classes}
    truth, found = known_boxes(data, true_boxes(data), found_boxes(predictions, data.names))
    scores = coco_scores(np.arange(len(data)), names, truth, found)
    return as_result(scores, names, truth, curves=curves)


def known_boxes(data: Dataset, truth: TrueBoxes, found: FoundBoxes) -> tuple[TrueBoxes, FoundBoxes]:
    """Without the rows whose class is not labelled completely in their picture.

    KITTI's DontCare regions, where objects of any class may be, count for all classes; they come
    after the other rows of `truth`.
    """
    if data.format == "kitti":
        truth = _for_all_classes(truth, data.names)
    known = known_pairs(data, "complete")
    if known is None:
        return truth, found
    last = len(data.names) - 1
    return (
        truth.only(known[truth.image, truth.class_id]),
        found.only((found.class_id <= last) & known[found.image, np.minimum(found.class_id, last)]),
    )


def _for_all_classes(truth: TrueBoxes, names: Labels) -> TrueBoxes:
    """With each ignored row of the class DontCare also as an ignored row of every other class."""
    own = [i for i, name in enumerate(names) if name.lower() == DONT_CARE]
    rows = np.flatnonzero(np.isin(truth.class_id, own) & truth.ignore)
    others = np.setdiff1d(np.arange(len(names)), own)
    again = np.concatenate([np.arange(len(truth.image)), np.repeat(rows, len(others))])
    class_id = truth.class_id[again]
    class_id[len(truth.image) :] = np.tile(others, len(rows))
    return TrueBoxes(
        truth.image[again], class_id, truth.xywh[again], truth.area[again], truth.ignore[again]
    )


def as_result(
    scores: CocoScores, names: Mapping[int, str], truth: TrueBoxes, *, curves: bool
) -> dict[str, Any]:
    """The 12 numbers, then `per_class` by name; `names` gives the name of each class id."""
    ids, counts = np.unique(truth.class_id[~truth.ignore], return_counts=True)
    counted = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    result: dict[str, Any] = dict(scores.summary())
    result["per_class"] = {
        name: {**scores.of_class(class_id), "boxes": counted.get(class_id, 0)}
        for class_id, name in names.items()
    }
    if curves:
        per_class = {name: scores.curve(class_id) for class_id, name in names.items()}
        result["curves"] = {
            "x": "recall",
            "y": "precision at IoU 0.5",
            "all classes": scores.curve(),
            "by_iou": scores.by_iou(),
            "per_class": {name: curve for name, curve in per_class.items() if curve is not None},
        }
    return result


def true_boxes(data: Dataset) -> TrueBoxes:
    """The labelled boxes of a data set; picture ids are row numbers.

    The area is the data set's own where it has one (COCO's is that of the outline), else
    that of the box.
    """
    import polars as pl

    rows = data.labels.filter(pl.col("x1").is_not_null())
    corners = rows.select("x1", "y1", "x2", "y2").to_numpy().astype(np.float64).reshape(-1, 4)
    xywh = to_xywh(corners)
    area = xywh[:, 2] * xywh[:, 3]
    if "area" in rows.columns:
        own = rows["area"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        area = np.where(np.isnan(own), area, own)
    return TrueBoxes(
        rows["image"].to_numpy().astype(np.int64),
        rows["class_id"].to_numpy().astype(np.int64),
        xywh,
        area,
        rows["ignore"].fill_null(False).to_numpy().astype(bool),
    )


def found_boxes(predictions: Sequence[Prediction], names: Labels) -> FoundBoxes:
    """The boxes of one prediction a picture; picture ids are positions.

    A class that is not in `names` gets an id after all of theirs.
    """
    index = {name: class_id for class_id, name in enumerate(names)}
    outside = len(index)
    counts = [len(prediction.object_names) for prediction in predictions]
    class_id = np.fromiter(
        (index.get(name, outside) for given in predictions for name in given.object_names),
        dtype=np.int64,
        count=sum(counts),
    )
    boxes = [prediction.boxes for prediction in predictions if prediction.boxes is not None]
    scores = [prediction.object_scores for prediction in predictions]
    corners = np.concatenate([np.zeros((0, 4)), *boxes]).astype(np.float64)
    return FoundBoxes(
        np.repeat(np.arange(len(predictions), dtype=np.int64), counts),
        class_id,
        to_xywh(corners),
        np.concatenate([np.zeros(0), *scores]).astype(np.float64),
    )


def to_xywh(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left, top, width, height from x1, y1, x2, y2; both float64 (N, 4)."""
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
