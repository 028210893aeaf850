"""Which found box belongs to which labelled box, by COCO's rule.

The rule is the one of `COCOeval.evaluateImg` (https://github.com/cocodataset/cocoapi): in each
picture and class, boxes in order of descending score take the free labelled box of the highest
IoU, if that reaches the threshold; labelled boxes that count come before those that do not; of
equal IoUs the later labelled box is taken. A crowd may be taken any number of times, and its
IoU is the share of the found box that lies inside it.

There is no loop over pictures. Each found box has a list of the labelled boxes that it would
take, best first, and each labelled box prefers the found box of the highest score. Taking turns
by score then gives the one stable matching, which deferred acceptance (Gale and Shapley, College
Admissions and the Stability of Marriage, 1962) finds for all pictures at once: every box asks
for its best choice, each labelled box keeps the best asker, and the others ask for their next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.boxes import FoundBoxes, TrueBoxes

COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""COCO's ten IoU thresholds, the same bits as pycocotools uses."""

ALL_AREAS = (0.0, 1e5**2)
"""COCO's area range "all", in square pixels; both ends belong to it."""

AREAS = {
    "all": ALL_AREAS,
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
"""COCO's area ranges in square pixels; an area on a limit belongs to both sides."""

COCO_LIMIT = 100
"""COCO looks at so many best boxes of a picture and class."""

NOBODY = -1
_MOST_PAIRS = 1 << 20
"""Pairs of boxes whose IoU is computed at once: bounds the memory, about 100 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Found boxes with their partners, N of them at T IoU thresholds.

    Rows are sorted by class, then descending score, then ascending picture id, then the order
    in which they were given: the order in which COCO accumulates. Only the best `limit` of
    each picture and class are here.

    Args:
        ious: the T thresholds.
        image, class_id: int64 (N,), as in `FoundBoxes`.
        score: float64 (N,).
        row: int64 (N,), the row in `FoundBoxes`.
        rank: int64 (N,), place among the boxes of its picture and class, 0 for the best.
        ignored: bool (T, N), neither right nor wrong: its partner does not count (a crowd, or
            outside the range of areas), or it has no partner and is itself outside the range.
        choice: int32 (T, N), row of `choice_partner` and `choice_iou`, -1 without a partner.
        choice_partner: int64 (P,), row in `TrueBoxes`.
        choice_iou: float64 (P,), IoU in 0..1 of that pair.
        true_image, true_class: int64 (G,), picture and class of every labelled box that
            counts, in the order of `TrueBoxes`.
    """

    ious: tuple[float, ...]
    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    score: NDArray[np.float64]
    row: NDArray[np.int64]
    rank: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    choice: NDArray[np.int32]
    choice_partner: NDArray[np.int64]
    choice_iou: NDArray[np.float64]
    true_image: NDArray[np.int64]
    true_class: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def true(self) -> NDArray[np.bool_]:
        """bool (T, N): the box has a partner that counts."""
        right: NDArray[np.bool_] = (self.choice != NOBODY) & ~self.ignored
        return right

    @property
    def partner(self) -> NDArray[np.int64]:
        """int64 (T, N): row in `TrueBoxes`, -1 without a partner; made anew at each call."""
        return np.append(self.choice_partner, NOBODY)[self.choice]

    @property
    def iou(self) -> NDArray[np.float64]:
        """float64 (T, N): IoU with the partner, 0 without one; made anew at each call."""
        return np.append(self.choice_iou, 0.0)[self.choice]

    def positives(self, images: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of labelled boxes that count, int64 (len(images), len(classes)).

        Args:
            images, classes: ids, ascending, each once; others are left out.
        """
        inside = np.isin(self.true_image, images) & np.isin(self.true_class, classes)
        rows = np.searchsorted(images, self.true_image[inside])
        columns = np.searchsorted(classes, self.true_class[inside])
        flat = np.bincount(rows * len(classes) + columns, minlength=len(images) * len(classes))
        return flat.reshape(len(images), len(classes)).astype(np.int64)


def pair_boxes(
    truth: TrueBoxes,
    found: FoundBoxes,
    ious: Sequence[float] = COCO_IOUS,
    limit: int = COCO_LIMIT,
    area: tuple[float, float] = ALL_AREAS,
) -> Pairs:
    """Partners of found boxes at several IoU thresholds.

    Args:
        truth: labelled boxes; those marked `ignore` are crowds.
        found: found boxes, in any order.
        ious: T thresholds, each above 0 and at most 1.
        limit: only so many best boxes of each picture and class are looked at.
        area: square pixels; labelled boxes outside do not count, and found boxes outside that
            find nothing are no mistakes.
    """
    return pair_areas(truth, found, ious, limit, (area,))[0]


def pair_areas(
    truth: TrueBoxes,
    found: FoundBoxes,
    ious: Sequence[float] = COCO_IOUS,
    limit: int = COCO_LIMIT,
    areas: Sequence[tuple[float, float]] = tuple(AREAS.values()),
) -> list[Pairs]:
    """As `pair_boxes` for several ranges of areas; sorts and compares the boxes only once."""
    group_true, group_found = _groups(truth, found)
    row, rank = _ranked(found, group_found, limit)
    # IoU 1 - 1e-10 is enough for a threshold of 1, as in pycocotools.
    limits = np.minimum(np.asarray(ious, dtype=np.float64), 1 - 1e-10)
    box, partner, iou = _candidates(
        truth, found, row, group_true, group_found, float(limits.min(initial=1.0))
    )
    size = found.xywh[row, 2] * found.xywh[row, 3]
    image, class_id, score = found.image[row], found.class_id[row], found.score[row]
    result = []
    for low, high in areas:
        idle = truth.ignore | (truth.area < low) | (truth.area > high)
        # Of one box: those that count first, then by IoU, then the later one.
        order = np.lexsort((-partner, -iou, idle[partner], box))
        mine, theirs, overlap = box[order], partner[order], iou[order]
        choice = np.full((len(limits), len(row)), NOBODY, dtype=np.int32)
        for level, enough in enumerate(limits):
            near = np.flatnonzero(overlap >= enough)
            chosen = accept(mine[near], theirs[near], truth.ignore, len(row))
            has = chosen != NOBODY
            choice[level, has] = near[chosen[has]]
        outside = (size < low) | (size > high)
        idle_choice = np.append(idle[theirs], False)[choice]
        result.append(
            Pairs(
                ious=tuple(float(value) for value in ious),
                image=image,
                class_id=class_id,
                score=score,
                row=row,
                rank=rank,
                ignored=idle_choice | ((choice == NOBODY) & outside),
                choice=choice,
                choice_partner=theirs,
                choice_iou=overlap,
                true_image=truth.image[~idle],
                true_class=truth.class_id[~idle],
            )
        )
    return result


def best_boxes(found: FoundBoxes, limit: int = COCO_LIMIT) -> NDArray[np.bool_]:
    """Which boxes are among the best `limit` of their picture and class, bool (N,)."""
    order = np.lexsort((-found.score, found.class_id, found.image))
    image, class_id = found.image[order], found.class_id[order]
    new = np.append(True, (np.diff(image) != 0) | (np.diff(class_id) != 0))[: len(order)]
    starts = np.flatnonzero(new)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    best = np.zeros(len(order), dtype=bool)
    best[order[rank < limit]] = True
    return best


def _groups(truth: TrueBoxes, found: FoundBoxes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for each pair of picture and class, of the labelled and of the found boxes."""
    pictures, image = np.unique(np.concatenate([truth.image, found.image]), return_inverse=True)
    _, class_id = np.unique(np.concatenate([truth.class_id, found.class_id]), return_inverse=True)
    number = class_id.astype(np.int64) * len(pictures) + image
    return number[: len(truth.image)], number[len(truth.image) :]


def _ranked(
    found: FoundBoxes, group: NDArray[np.int64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the best `limit` boxes of each group in COCO's order, and their ranks."""
    by_group = np.lexsort((-found.score, group))
    sorted_groups = group[by_group]
    starts = np.flatnonzero(np.diff(sorted_groups, prepend=NOBODY))
    counts = np.diff(np.append(starts, len(by_group)))
    rank = np.arange(len(by_group)) - np.repeat(starts, counts)
    kept = by_group[rank < limit]
    rank = rank[rank < limit]
    # `kept` is in order of class, picture and rank, so a stable sort needs no more keys.
    order = np.lexsort((-found.score[kept], found.class_id[kept]))
    return kept[order].astype(np.int64), rank[order].astype(np.int64)


def _candidates(
    truth: TrueBoxes,
    found: FoundBoxes,
    row: NDArray[np.int64],
    group_true: NDArray[np.int64],
    group_found: NDArray[np.int64],
    enough: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of one picture and class with an IoU of `enough`: place in `row`, truth, IoU."""
    by_group = np.argsort(group_true, kind="stable")
    keys = group_true[by_group]
    group = group_found[row]
    first = np.searchsorted(keys, group, side="left")
    count = np.searchsorted(keys, group, side="right") - first
    boxes = np.flatnonzero(count)
    ends = np.cumsum(count[boxes])
    parts: list[tuple[Any, Any, Any]] = [(np.zeros(0, np.int64),) * 2 + (np.zeros(0),)]
    start = 0
    while start < len(boxes):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _MOST_PAIRS, side="right")), start + 1)
        some = boxes[start:stop]
        box = np.repeat(some, count[some])
        inner = np.arange(len(box)) - np.repeat(ends[start:stop] - count[some] - done, count[some])
        partner = by_group[first[box] + inner]
        iou = pair_iou(found.xywh[row[box]], truth.xywh[partner], truth.ignore[partner])
        near = iou >= enough
        parts.append((box[near], partner[near], iou[near]))
        start = stop
    box, partner, iou = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return box, partner, iou


def pair_iou(
    found: NDArray[np.float64], true: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """IoU of row with row, float64 (P,), in the order of operations of COCO's `bbIou`.

    Args:
        found, true: float64 (P, 4), left, top, width, height in pixels.
        crowd: bool (P,); there it is the share of the found box inside the crowd.
    """
    low = np.maximum(found[:, :2], true[:, :2])
    high = np.minimum(found[:, 2:] + found[:, :2], true[:, 2:] + true[:, :2])
    sides = high - low
    meets = (sides > 0).all(axis=1)
    inter = sides[:, 0] * sides[:, 1]
    own = found[:, 2] * found[:, 3]
    union = np.where(crowd, own, own + true[:, 2] * true[:, 3] - inter)
    iou: NDArray[np.float64] = np.divide(
        inter, union, out=np.zeros(len(found)), where=meets & (union > 0)
    )
    return iou


def accept(
    box: NDArray[np.int64], partner: NDArray[np.int64], crowd: NDArray[np.bool_], boxes: int
) -> NDArray[np.int64]:
    """The candidate that each found box gets, int64 (boxes,), -1 for none.

    Args:
        box, partner: int64 (P,), candidates, sorted by box and then best first.
        crowd: bool (G,); such a labelled box takes everybody.
    """
    chosen = np.full(boxes, NOBODY, dtype=np.int64)
    asking = box[np.append(True, box[1:] != box[:-1])[: len(box)]]
    at = np.zeros(boxes, dtype=np.int64)
    end = np.zeros(boxes, dtype=np.int64)
    at[asking] = np.searchsorted(box, asking, side="left")
    end[asking] = np.searchsorted(box, asking, side="right")
    holder = np.full(len(crowd), boxes, dtype=np.int64)
    while len(asking):
        wanted = partner[at[asking]]
        open_to_all = crowd[wanted]
        happy = asking[open_to_all]
        chosen[happy] = at[happy]
        asking, wanted = asking[~open_to_all], wanted[~open_to_all]
        before = holder[wanted]
        np.minimum.at(holder, wanted, asking)
        after = holder[wanted]
        # Those turned down now, and those who have to leave again.
        lost = np.concatenate([asking[asking != after], before[(before != after)]])
        lost = np.sort(lost[lost < boxes])
        lost = lost[np.append(True, lost[1:] != lost[:-1])[: len(lost)]]
        at[lost] += 1
        asking = lost[at[lost] < end[lost]]
    held = holder[holder < boxes]
    chosen[held] = at[held]
    return chosen
