"""Are saved boxes in the units, and of the classes, that they were read as?

Both are found from where the surest boxes lie: on labelled objects if they are read the right way,
beside them otherwise. Nothing is converted; one sentence says what the boxes look like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_MOST = 500
"""Boxes that are looked at: the surest, in pictures that have labels."""
_HIT = 0.5
_FEWEST = 4
"""More boxes than this must lie on objects the other way."""
_ORDERS: dict[str, str] = {
    "xyxy": "x1, y1, x2, y2",
    "xywh": "left, top, width, height",
    "cxcywh": "centre x, centre y, width, height",
    "yxyx": "y1, x1, y2, x2",
}
_SCALES = {
    "pixels": "pixels",
    "fractions": "fractions of the picture",
    "thousandths": "thousandths of the picture",
}


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """Boxes beside the labels of the same pictures.

    Args:
        image, class_id: int (N,), row of the picture, class of each box that was found.
        score: float (N,).
        corners: float (N, 4), x1, y1, x2, y2 in pixels as they were read.
        true_image, true_class, true_corners: likewise of the labels, (G,) and (G, 4).
        sizes: float64 (pictures, 2), width and height; NaN where not known.
        order: how four numbers were read: "xyxy", "xywh" or "cxcywh".
        scale: "pixels" or "fractions".
    """

    image: NDArray[Any]
    class_id: NDArray[Any]
    score: NDArray[Any]
    corners: NDArray[Any]
    true_image: NDArray[Any]
    true_class: NDArray[Any]
    true_corners: NDArray[Any]
    sizes: Array
    order: str = "xyxy"
    scale: str = "pixels"


def unit_notes(
    reading: Reading,
    source: str,
    class_name: Callable[[int], str] | None = None,
) -> list[str]:
    """Sentences about boxes that look as if they were read wrongly; mostly none.

    Args:
        reading: the boxes.
        source: the file, for messages.
        class_name: words for a class id as it stands in the file, where classes are numbers;
            None where they are names, which cannot be mixed up that way.
    """
    rows = _surest(reading)
    if not len(rows):
        return []
    pairs = _Pairs(reading, rows)
    hits = {(reading.order, reading.scale): pairs.hits(reading.corners[rows])}
    raw = _written(reading, rows)
    size = reading.sizes[reading.image[rows]]
    for scale, factor in (("pixels", 1.0), ("fractions", size), ("thousandths", size / 1000)):
        for order in _ORDERS:
            if (order, scale) not in hits:
                numbers = raw * np.tile(np.broadcast_to(factor, (len(raw), 2)), 2)
                hits[order, scale] = pairs.hits(_corners(numbers, order))
    now = hits[reading.order, reading.scale]
    best = max(hits, key=lambda way: int(hits[way].sum()))
    found, had = int(hits[best].sum()), int(now.sum())
    if found - had > _FEWEST and found >= max(0.25 * len(rows), 3 * had):
        return [
            f"boxes of {source} look like {_words(*best)}, but were read as"
            f" {_words(reading.order, reading.scale)}: of the {len(rows)} surest, {found} lie on"
            f" an object when they are read so, and {had} as it is; write them in the other form"
        ]
    odd = _range(reading, rows, raw)
    if odd is not None and not had:
        return [
            f"boxes of {source} look like {_SCALES[odd]}, but were read as"
            f" {_words(reading.order, reading.scale)}: none of the {len(rows)} surest lies on an"
            " object; write them in the other form"
        ]
    return [] if class_name is None else _other_numbers(reading, rows, pairs, source, class_name)


def _words(order: str, scale: str) -> str:
    return f"{_ORDERS[order]} in {_SCALES[scale]}"


def _surest(reading: Reading) -> NDArray[np.int64]:
    labelled = np.zeros(len(reading.sizes), dtype=bool)
    labelled[reading.true_image] = True
    rows = np.flatnonzero(labelled[reading.image])
    if len(rows) > _MOST:
        rows = rows[np.argpartition(-reading.score[rows], _MOST)[:_MOST]]
    return rows


def _written(reading: Reading, rows: NDArray[np.int64]) -> Array:
    """The four numbers as they stand in the file."""
    boxes = reading.corners[rows].astype(np.float64)
    if reading.scale == "fractions":
        boxes = boxes / np.tile(reading.sizes[reading.image[rows]], 2)
    if reading.order == "xywh":
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    if reading.order == "cxcywh":
        sides = boxes[:, 2:] - boxes[:, :2]
        return np.concatenate([boxes[:, :2] + sides / 2, sides], axis=1)
    return boxes


def _corners(numbers: Array, order: str) -> Array:
    if order == "xywh":
        return np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
    if order == "cxcywh":
        half = numbers[:, 2:] / 2
        return np.concatenate([numbers[:, :2] - half, numbers[:, :2] + half], axis=1)
    return numbers[:, [1, 0, 3, 2]] if order == "yxyx" else numbers


def _range(reading: Reading, rows: NDArray[np.int64], raw: Array) -> str | None:
    """The scale that the numbers alone speak for, where they cannot be of the one they had."""
    high = float(np.quantile(np.abs(raw), 0.95))
    sides = reading.true_corners[:, 2:] - reading.true_corners[:, :2]
    if len(rows) <= _FEWEST:
        return None
    if reading.scale == "pixels" and high <= 2 and float(np.median(sides)) > 8:
        return "fractions"
    return "pixels" if reading.scale == "fractions" and high > 4 else None


class _Pairs:
    """Every one of some boxes with every label of its picture."""

    def __init__(self, reading: Reading, rows: NDArray[np.int64]) -> None:
        by_image = np.argsort(reading.true_image, kind="stable")
        images = reading.true_image[by_image]
        first = np.searchsorted(images, reading.image[rows], side="left")
        count = np.searchsorted(images, reading.image[rows], side="right") - first
        self.boxes = len(rows)
        self.box = np.repeat(np.arange(len(rows)), count)
        inner = np.arange(len(self.box)) - np.repeat(np.cumsum(count) - count, count)
        self.label = by_image[first[self.box] + inner]
        self.true = reading.true_corners[self.label].astype(np.float64)

    def overlap(self, corners: Array) -> Array:
        """IoU of each pair; 0 for boxes without area."""
        mine = corners[self.box]
        low = np.maximum(mine[:, :2], self.true[:, :2])
        sides = np.clip(np.minimum(mine[:, 2:], self.true[:, 2:]) - low, 0, None)
        inter = sides[:, 0] * sides[:, 1]
        areas = [np.prod(np.clip(one[:, 2:] - one[:, :2], 0, None), 1) for one in (mine, self.true)]
        union = areas[0] + areas[1] - inter
        iou: Array = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
        return iou

    def hits(self, corners: Array) -> NDArray[np.bool_]:
        """Which boxes lie on any label, bool (boxes,)."""
        hit = np.zeros(self.boxes, dtype=bool)
        hit[self.box[self.overlap(corners) >= _HIT]] = True
        return hit


def _other_numbers(
    reading: Reading,
    rows: NDArray[np.int64],
    pairs: _Pairs,
    source: str,
    class_name: Callable[[int], str],
) -> list[str]:
    """Are the numbers of classes those of another list? Then each class lies on one other."""
    overlap = pairs.overlap(reading.corners[rows])
    # The best label of each box stands last.
    order = np.lexsort((overlap, pairs.box))
    last = np.flatnonzero(np.diff(pairs.box[order], append=-1) != 0)
    best = order[last][overlap[order[last]] >= _HIT]
    said = reading.class_id[rows[pairs.box[best]]]
    true = reading.true_class[pairs.label[best]]
    if len(said) < 10 or (said == true).mean() > 0.2:
        return []
    mostly: dict[int, int] = {}
    clear = 0
    for one in np.unique(said).tolist():
        kinds, counts = np.unique(true[said == one], return_counts=True)
        if counts.max() >= 3 and counts.max() >= 0.6 * counts.sum():
            mostly[one] = int(kinds[counts.argmax()])
            clear += int(counts.sum())
    # A poor model says one class of many things; a shifted list is one to one.
    if len(mostly) < 2 or len(set(mostly.values())) < len(mostly) or clear < 0.5 * len(said):
        return []
    moved = {one: other for one, other in mostly.items() if one != other}
    return [
        f"the numbers of classes in {source} look like those of another list: "
        + ", ".join(
            f"{class_name(one)} lies on {class_name(other)}"
            for one, other in list(moved.items())[:3]
        )
        + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
        + f" ({int((said == true).sum())} of {len(said)} boxes on objects have their class);"
        " number them as the data does"
    ]


def class_words(names: Mapping[int, str]) -> Callable[[int], str]:
    """Number and name of a class."""

    def words(number: int) -> str:
        return f"{number} ({names.get(number, 'unknown')})"

    return words
