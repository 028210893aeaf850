"""Which boxes of a picture overlap, as a list of pairs, without a table of all of them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

IdArray: TypeAlias = NDArray[np.int64]
Metric: TypeAlias = Literal["iou", "ios"]
"""Intersection over union, or over the smaller of the two boxes."""

# Rows that are compared at once: with some thousand columns a few megabytes.
_ROWS = 256


class Pairs(NamedTuple):
    """Boxes that overlap; `first` stands before `second` in the input.

    Args:
        first, second: int64 (P,), positions.
        overlap: float64 (P,), in 0..1.
    """

    first: IdArray
    second: IdArray
    overlap: NDArray[np.float64]


def overlap_of(a: NDArray[Any], b: NDArray[Any], metric: Metric = "iou") -> NDArray[np.float64]:
    """Overlap of boxes one by one, float64 in 0..1; of boxes without area 0.

    Args:
        a, b: (..., 4), x1 y1 x2 y2, of shapes that broadcast.
        metric: what the intersection is divided by.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    common = np.clip(width, 0, None) * np.clip(height, 0, None)
    area_a, area_b = _area(a), _area(b)
    whole = np.minimum(area_a, area_b) if metric == "ios" else area_a + area_b - common
    shares: NDArray[np.float64] = np.divide(
        common, whole, out=np.zeros(np.broadcast(common, whole).shape), where=whole > 0
    )
    return shares


def find_pairs(
    boxes: NDArray[Any],
    class_ids: IdArray,
    least: float,
    metric: Metric = "iou",
    *,
    inclusive: bool = False,
) -> Pairs:
    """All pairs of one class that overlap by more than `least`, and at all.

    Args:
        boxes: (N, 4), x1 y1 x2 y2.
        class_ids: (N,).
        least: 0..1.
        metric: how overlap is measured.
        inclusive: also pairs that overlap by exactly `least`.
    """
    found: list[Pairs] = []
    for class_id in np.unique(class_ids):
        of = np.flatnonzero(class_ids == class_id)
        # From left to right, a block of boxes can only meet those that begin before it ends.
        of = of[np.argsort(boxes[of, 0], kind="stable")]
        left = boxes[of, 0]
        for start in range(0, len(of), _ROWS):
            rows = of[start : start + _ROWS]
            end = int(np.searchsorted(left, boxes[rows, 2].max(), side="right"))
            columns = of[start : max(end, start + len(rows))]
            shares = overlap_of(boxes[rows][:, None], boxes[columns][None], metric)
            enough = (shares >= least) if inclusive else (shares > least)
            enough &= shares > 0
            # Of two boxes in one block both orders are there.
            y, x = np.nonzero(np.triu(enough, 1))
            a, b = rows[y], columns[x]
            found.append(Pairs(np.minimum(a, b), np.maximum(a, b), shares[y, x]))
    if not found:
        nothing = np.zeros(0, np.int64)
        return Pairs(nothing, nothing, np.zeros(0))
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def groups_of(count: int, pairs: Pairs) -> IdArray:
    """Which boxes hang together through pairs: int64 (count,), the first position of each group."""
    lowest = np.arange(count)
    while True:
        before = lowest
        lowest = before.copy()
        both = np.minimum(before[pairs.first], before[pairs.second])
        for ends in (before[pairs.first], before[pairs.second]):
            np.minimum.at(lowest, ends, both)
        lowest = lowest[lowest]
        if np.array_equal(lowest, before):
            return lowest


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    return np.asarray(sides[..., 0] * sides[..., 1])
