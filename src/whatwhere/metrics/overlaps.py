"""Which predicted and labelled boxes of a picture overlap, and which takes which.

Most boxes of a picture do not touch. So only the pairs that do are kept, for all pictures in
one list, and every rule of matching is a pass over that list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.coco import FoundBoxes, TrueBoxes

NOBODY = -1
"""Partner of a box that has none."""

_BLOCK = 1 << 19


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Pairs of boxes of one picture that have common area, by `found`, then `truth`.

    Args:
        found, truth: int64 (P,), rows in the predicted and in the labelled boxes.
        shared: float64 (P,), the common area in square pixels.
        iou: float64 (P,), intersection over union.
    """

    found: NDArray[np.int64]
    truth: NDArray[np.int64]
    shared: NDArray[np.float64]
    iou: NDArray[np.float64]

    def only(self, keep: NDArray[np.bool_]) -> Overlaps:
        """The pairs that `keep`, bool (P,), says."""
        return Overlaps(self.found[keep], self.truth[keep], self.shared[keep], self.iou[keep])


def overlaps(truth: TrueBoxes, found: FoundBoxes, *, same_class: bool = False) -> Overlaps:
    """All pairs with common area; computed as pycocotools does, without the +1 of old code.

    Args:
        same_class: only pairs of one class.
    """
    key, wanted = truth.image, found.image
    if same_class:
        # One number for picture and class; a class of only one side has no pair.
        last = np.concatenate([truth.class_id, found.class_id, np.zeros(1, np.int64)]).max() + 1
        key = truth.image * last + truth.class_id
        wanted = found.image * last + found.class_id
    order = np.argsort(key, kind="stable")
    ranked = key[order]
    start = np.searchsorted(ranked, wanted, side="left")
    count = np.searchsorted(ranked, wanted, side="right") - start
    ends = np.cumsum(count)
    parts: list[Overlaps] = []
    first = 0
    # In blocks: crowded pictures have many pairs, of which few have common area.
    while first < len(count):
        done = int(ends[first - 1]) if first else 0
        last_row = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), first + 1)
        rows = np.arange(first, last_row)
        number = count[rows]
        total = int(number.sum())
        ours = np.repeat(rows, number)
        inner = np.arange(total) - np.repeat(np.cumsum(number) - number, number)
        theirs = order[np.repeat(start[rows], number) + inner]
        parts.append(_touching(truth, found, ours, theirs))
        first = last_row
    if not parts:
        parts.append(_touching(truth, found, np.zeros(0, np.int64), np.zeros(0, np.int64)))
    return Overlaps(
        np.concatenate([part.found for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.shared for part in parts]),
        np.concatenate([part.iou for part in parts]),
    )


def _touching(
    truth: TrueBoxes, found: FoundBoxes, ours: NDArray[np.int64], theirs: NDArray[np.int64]
) -> Overlaps:
    a, b = found.xywh[ours], truth.xywh[theirs]
    sides = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    there = (sides > 0).all(axis=1)
    a, b, sides = a[there], b[there], sides[there]
    shared = sides[:, 0] * sides[:, 1]
    iou = shared / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - shared)
    return Overlaps(ours[there], theirs[there], shared, iou)


def by_score(found: FoundBoxes, limit: int | None = None) -> NDArray[np.int64]:
    """Rows by picture, and in each by descending score; equal scores in the order given.

    Args:
        limit: at most this many a picture, all classes together.
    """
    order = np.lexsort((-found.score, found.image))
    if limit is None:
        return order
    return order[place_in_group(found.image[order]) < limit]


def place_in_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, … in each run of equal values; int64 of the shape of `groups`."""
    rows = np.arange(len(groups))
    new = np.ones(len(groups), dtype=bool)
    new[1:] = groups[1:] != groups[:-1]
    return rows - np.maximum.accumulate(np.where(new, rows, 0))


def first_come(
    pairs: Overlaps, image: NDArray[np.int64], found_count: int, truth_count: int
) -> NDArray[np.int64]:
    """Each predicted box, in the order of rows, takes the free labelled box that it fits best.

    Of labelled boxes with equal IoU the first is taken.

    Args:
        pairs: what may be taken; rows of a picture stand in the order in which they choose.
        image: int64 (found_count,), the picture of each predicted box.

    Returns:
        int64 (found_count,): the row of the labelled box taken, or `NOBODY`.
    """
    partner = np.full(found_count, NOBODY, dtype=np.int64)
    taken = np.zeros(truth_count, dtype=bool)
    if not len(pairs.found):
        return partner
    choosing = np.unique(pairs.found)
    turn = np.zeros(found_count, dtype=np.int64)
    # Pictures do not disturb each other: the n-th boxes of all of them choose at once.
    by_image = choosing[np.argsort(image[choosing], kind="stable")]
    turn[by_image] = place_in_group(image[by_image])
    order = np.lexsort((pairs.truth, -pairs.iou, pairs.found, turn[pairs.found]))
    ours, theirs = pairs.found[order], pairs.truth[order]
    bounds = np.searchsorted(turn[ours], np.arange(int(turn.max()) + 2))
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        free = begin + np.flatnonzero(~taken[theirs[begin:end]])
        who = ours[free]
        best = free[np.concatenate([[True], who[1:] != who[:-1]])] if len(free) else free
        partner[ours[best]] = theirs[best]
        taken[theirs[best]] = True
    return partner
