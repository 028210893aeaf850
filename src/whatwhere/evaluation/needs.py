"""What labels say about the question that a model is to answer: what, how many, or where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.coco import FoundBoxes
from whatwhere.metrics.detection import true_boxes
from whatwhere.metrics.overlaps import overlaps
from whatwhere.types import Task

FEW = 20
"""A class in fewer pictures than this can hardly be learnt, nor measured."""

CLOSE = 0.5
"""Boxes of one class that overlap more (IoU) are at risk of being taken for one."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Measured from labels; those that are to be ignored do not count. Shares are in 0..1.

    Args:
        task: what the labels are for.
        images, classes: numbers of pictures, and of classes that have labels.
        labels: labels, with or without boxes; boxes: those with one.
        empty: share of pictures without any label.
        one_class: share of pictures that show exactly one class.
        several_classes: share that show two or more.
        classes_per_image: mean number of classes that a picture shows.
        always: classes that at least 95 % of the pictures show.
        rare: number of classes that fewer than `FEW` pictures show.
        least: pictures of the rarest class.
        objects_per_image, most_objects: mean and largest number of boxes; None without boxes.
        one_object: share of pictures with exactly one box.
        repeated: share of pictures that show some class more than once.
        side: median size of an object relative to its picture: root of its share of the area.
        small: share of objects with a relative size below 0.1.
        covered: median share of the picture that its largest object covers.
        close: share of boxes that overlap another of their class with an IoU of `CLOSE` or more.
        touching: share of boxes that overlap any other at all.
    """

    task: Task
    images: int
    classes: int
    labels: int
    boxes: int
    empty: float
    one_class: float
    several_classes: float
    classes_per_image: float
    always: tuple[str, ...]
    rare: int
    least: int
    objects_per_image: float | None = None
    most_objects: int | None = None
    one_object: float | None = None
    repeated: float | None = None
    side: float | None = None
    small: float | None = None
    covered: float | None = None
    close: float | None = None
    touching: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; undefined ones as None."""
        return {**asdict(self), "always": list(self.always)}


def needs(data: Dataset) -> Needs:
    """Measure a data set's labels; no picture is opened.

    Sizes relative to the picture need its width and height; boxes in pictures of unknown size
    are left out of them.

    Raises:
        UsageError: there is no picture, or no label that counts.
    """
    counted = ~data.labels["ignore"].fill_null(False).to_numpy().astype(bool)
    if not len(data) or not counted.any():
        raise UsageError(
            f"{data.source or 'the data set'} has no label to go by: give labelled pictures"
        )
    image = data.labels["image"].to_numpy().astype(np.int64)[counted]
    class_id = data.labels["class_id"].to_numpy().astype(np.int64)[counted]
    pairs = np.unique(image * len(data.names) + class_id)
    shown = np.bincount(pairs // len(data.names), minlength=len(data))
    of_class = np.bincount(pairs % len(data.names), minlength=len(data.names))
    there = of_class[of_class > 0]
    return Needs(
        task=data.task,
        images=len(data),
        classes=len(there),
        labels=int(counted.sum()),
        boxes=int((data.labels["x1"].is_not_null().to_numpy() & counted).sum()),
        empty=float(np.mean(shown == 0)),
        one_class=float(np.mean(shown == 1)),
        several_classes=float(np.mean(shown > 1)),
        classes_per_image=float(shown.mean()),
        always=tuple(
            name
            for name, count in zip(data.names, of_class, strict=True)
            if count >= 0.95 * len(data)
        ),
        rare=int((there < FEW).sum()),
        least=int(there.min()),
        **(_of_boxes(data) if data.task == "detect" else {}),
    )


def _of_boxes(data: Dataset) -> dict[str, Any]:
    truth = true_boxes(data)
    truth = truth.only(~truth.ignore)
    count = np.bincount(truth.image, minlength=len(data))
    twice = np.unique(truth.image * len(data.names) + truth.class_id, return_counts=True)
    repeated = np.unique(twice[0][twice[1] > 1] // len(data.names))
    frame = data.images.select("width", "height").fill_null(0).to_numpy().astype(np.float64)
    frame = frame.prod(axis=1)[truth.image]
    sized = frame > 0
    share = np.minimum(truth.xywh[sized, 2] * truth.xywh[sized, 3] / frame[sized], 1.0)
    largest = np.zeros(len(data))
    np.maximum.at(largest, truth.image[sized], share)
    boxes = FoundBoxes(truth.image, truth.class_id, truth.xywh, np.ones(len(truth.image)))
    met = overlaps(truth, boxes)
    met = met.only(met.truth != met.found)
    same = met.only((truth.class_id[met.truth] == truth.class_id[met.found]) & (met.iou >= CLOSE))
    made: dict[str, Any] = {
        "objects_per_image": float(count.mean()),
        "most_objects": int(count.max()),
        "one_object": float(np.mean(count == 1)),
        "repeated": len(repeated) / len(data),
    }
    if len(truth.image):
        made["close"] = len(np.unique(same.truth)) / len(truth.image)
        made["touching"] = len(np.unique(met.truth)) / len(truth.image)
    if len(share):
        made["side"] = float(np.median(np.sqrt(share)))
        made["small"] = float(np.mean(np.sqrt(share) < 0.1))
        made["covered"] = float(np.median(largest[largest > 0]))
    return made
