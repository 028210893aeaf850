"""What a mistake looks like: the place in its picture, with label and prediction drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from whatwhere.outputs.labels import PictureLabels, draw_labels, shrink
from whatwhere.outputs.pen import Colour
from whatwhere.transforms import resize
from whatwhere.types import Boxes, Image

if TYPE_CHECKING:
    # Only for their types: drawing needs no tables.
    from whatwhere.data import Dataset
    from whatwhere.metrics.single import Mistake

LABEL: Colour = (24, 190, 90)
SAID: Colour = (255, 112, 32)
OTHER: Colour = (235, 235, 235)
"""Colours of the label, the prediction, and the other labels around."""

_MARGIN = 0.6
_LEAST = 96


def crop(image: Image, data: Dataset, one: Mistake, side: int = 300) -> Image:
    """The surroundings of a mistake; the whole picture where it has no boxes.

    The label is drawn in green with an unbroken line, the prediction in orange with a broken
    one, the picture's other labels in thin white.

    Args:
        image: the whole picture, RGB uint8 (height, width, 3).
        side: the longest side is at most this many pixels; small places grow by a whole factor.
    """
    shown = [(one.true_box, LABEL, False), (one.box, SAID, True)]
    boxes = [box for box, _, _ in shown if box is not None]
    if not boxes:
        return _fitted(image, side)[0]
    left, top, right, bottom = _around(np.array(boxes), image.shape[0], image.shape[1])
    shift = np.array([left, top, left, top], np.float32)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    small, ratio = _fitted(part, side)
    others = _others(data, one) - shift
    inside = (others[:, 2:] > 0).all(axis=1)
    inside &= (others[:, :2] < (right - left, bottom - top)).all(axis=1)
    drawn = _thin(small, others[inside] * np.float32(ratio))
    for box, colour, dashed in shown:
        if box is not None:
            place = np.array([box], np.float32) - shift
            drawn = _frames(drawn, place, ratio, colour, 2, dashed=dashed)
    return drawn


def _thin(image: Image, boxes: Boxes) -> Image:
    """A new picture with half transparent lines around boxes that are only context."""
    over = image.copy()
    for x1, y1, x2, y2 in np.round(boxes).astype(int).tolist():
        cv2.rectangle(over, (x1, y1), (x2 - 1, y2 - 1), OTHER, 1)
    mixed: Image = cv2.addWeighted(over, 0.7, image, 0.3, 0).astype(np.uint8)
    return mixed


def _frames(
    image: Image, boxes: Boxes, scale: float, colour: Colour, stroke: int, *, dashed: bool
) -> Image:
    count = len(boxes)
    labels = PictureLabels([""] * count, boxes.astype(np.float32), [dashed] * count)
    return draw_labels(
        image, labels, scale=scale, colours={"": colour}, tags=False, least=1, stroke=stroke
    )


def _others(data: Dataset, one: Mistake) -> Boxes:
    """The other labelled boxes of the picture, float32 (N, 4)."""
    targets = data.targets(one.image)
    if targets.boxes is None:
        return np.zeros((0, 4), np.float32)
    keep: NDArray[np.bool_] = np.atleast_1d(np.isfinite(targets.boxes).all(axis=1))
    if one.label is not None:
        keep[one.label - data.rows_of(one.image)[0]] = False
    others: Boxes = targets.boxes[keep]
    return others


def _around(boxes: Boxes, height: int, width: int) -> tuple[int, int, int, int]:
    """A square around the boxes as far as the picture allows it: left, top, right, bottom."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(float((high - low).max()) * (1 + 2 * _MARGIN), _LEAST)
    middle = (low + high) / 2
    left = max(0, min(round(float(middle[0]) - side / 2), width - round(side)))
    top = max(0, min(round(float(middle[1]) - side / 2), height - round(side)))
    return left, top, min(width, left + round(side)), min(height, top + round(side))


def _fitted(image: Image, side: int) -> tuple[Image, float]:
    """The picture with that longest side, and its scale; small ones grow by a whole factor."""
    factor = side // max(image.shape[:2])
    if factor <= 1:
        return shrink(image, side)
    size = (image.shape[0] * factor, image.shape[1] * factor)
    return np.ascontiguousarray(resize(image, size, "bicubic")), float(factor)
