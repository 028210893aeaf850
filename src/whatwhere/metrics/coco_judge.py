"""COCO's accumulation over all pictures at once, with NumPy alone.

Of the boxes that a detector gives, most overlap no labelled box by half. They are mistakes at
every threshold, and what matters of them is how many stand before a right one. So only the pairs
with an IoU of 0.5 or more are matched, and precision is computed at right boxes alone: between
two of them it only falls, and recall does not change.

A labelled box whose candidates have no other choice takes the best of them; that is most of them.
The others are matched by `pairing.accept`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.boxes import FoundBoxes, TrueBoxes
from whatwhere.metrics.ordering import descending, ordered
from whatwhere.metrics.pairing import AREAS, COCO_IOUS, COCO_LIMIT, NOBODY, accept

RECALLS = np.linspace(0.0, 1.00, 101)
"""COCO's recall levels, the same bits as pycocotools uses."""
LIMITS = (1, 10, COCO_LIMIT)
"""How many of the best boxes of a picture and class count."""
_MOST_PAIRS = 1 << 16
"""Pairs of boxes whose IoU is computed at once, so that they stay in the processor's cache."""
_SPACING = np.spacing(1)


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """The found boxes that count, N of them, in COCO's order: class, falling score, picture.

    Args:
        row: (N,), row in `FoundBoxes`.
        rank: (N,), place among the boxes of its picture and class.
        starts: (K + 1,), where each class begins.
        groups, first: picture and class of each group of boxes, ascending, as one number, and where
            it begins in `of_group`, with the end behind the last.
        of_group: (N,), places in this order, by group and rank.
    """

    row: NDArray[np.intp]
    rank: NDArray[np.int64]
    starts: NDArray[np.int64]
    groups: NDArray[np.int64]
    first: NDArray[np.int64]
    of_group: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Pairs with an IoU of at least the lowest threshold: place of the found box, true row, IoU."""

    found: NDArray[np.int64]
    true: NDArray[np.int64]
    iou: NDArray[np.float64]

    def only(self, keep: NDArray[np.bool_]) -> _Pairs:
        return _Pairs(self.found[keep], self.true[keep], self.iou[keep])


def judge(
    truth: TrueBoxes, found: FoundBoxes, images: int, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall of boxes whose pictures and classes are numbered from 0.

    Returns:
        Precision, float64 (10, 101, classes, 4): IoU threshold, recall level, class, range of
        areas (all, small, medium, large), with at most 100 boxes a picture and class; recall,
        float64 (10, classes, 4, 3), with at most 1, 10 and 100. -1 for a class without a labelled
        box in a range.
    """
    ranked = _rank(found, images, classes)
    pairs = _candidates(truth, found, ranked, images)
    levels = np.minimum(np.array(COCO_IOUS), 1 - 1e-10)
    simple = _without_choice(pairs, len(truth.image), len(ranked.row))
    alone = _taken(pairs.only(simple), truth.ignore, levels)
    hard = pairs.only(~simple)
    size = (found.xywh[:, 2] * found.xywh[:, 3])[ranked.row]
    shape = (len(levels), len(RECALLS), classes, len(AREAS))
    precision = np.full(shape, -1.0)
    recall = np.full((len(levels), classes, len(AREAS), len(LIMITS)), -1.0)
    for column, (low, high) in enumerate(AREAS.values()):
        idle = truth.ignore | (truth.area < low) | (truth.area > high)
        real = np.bincount(truth.class_id[~idle], minlength=classes)
        some = np.flatnonzero(real)
        wanted = _first_at(real[some])
        inside = (size >= low) & (size <= high)
        before = np.append(0, np.cumsum(inside))
        contested = _contested(hard, truth.ignore, idle, levels)
        for level in range(len(levels)):
            place, partner = (
                np.concatenate(both) for both in zip(alone[level], contested[level], strict=True)
            )
            order = np.argsort(place)
            place, counts = place[order], ~idle[partner[order]]
            # Each found box that counts either way, up to here: those inside of the range, but for
            # the matched ones, which count if their partner does.
            change = np.append(0, np.cumsum(counts.astype(np.int64) - inside[place]))
            right = place[counts]
            ends = np.searchsorted(right, ranked.starts)
            number = np.diff(ends)
            of_class = np.repeat(np.arange(classes), number)
            start = ranked.starts[:-1][of_class]
            above = before[right + 1] - before[start]
            above += (
                change[1:][counts] - change[np.searchsorted(place, ranked.starts[:-1])][of_class]
            )
            hits = np.arange(len(right)) - ends[:-1][of_class] + 1
            values = hits / (above + _SPACING)
            precision[level, :, some, column] = _envelope(values, ends, number, some, wanted)
            for depth, limit in enumerate(LIMITS):
                near = np.bincount(of_class[ranked.rank[right] < limit], minlength=classes)
                recall[level, some, column, depth] = near[some] / real[some]
    return precision, recall


def _rank(found: FoundBoxes, images: int, classes: int) -> _Ranked:
    image = found.image.astype(np.uint64)
    class_id = found.class_id.astype(np.uint64)
    row = ordered(class_id, descending(found.score), image)
    group = (found.class_id * images + found.image)[row]
    by_group = ordered(class_id[row], image[row]).astype(np.int64)
    sorted_groups = group[by_group]
    first = np.flatnonzero(np.diff(sorted_groups, prepend=NOBODY))
    counts = np.diff(np.append(first, len(row)))
    ranks = np.arange(len(row)) - np.repeat(first, counts)
    rank = np.empty(len(row), dtype=np.int64)
    rank[by_group] = ranks
    if counts.max(initial=0) > COCO_LIMIT:
        kept = rank < COCO_LIMIT
        place = np.cumsum(kept) - 1
        by_group = place[by_group[kept[by_group]]]
        row, rank = row[kept], rank[kept]
        counts = np.minimum(counts, COCO_LIMIT)
    starts = np.searchsorted(found.class_id[row], np.arange(classes + 1))
    ends = np.append(0, np.cumsum(counts))
    return _Ranked(row, rank, starts, sorted_groups[first], ends, by_group)


def _candidates(truth: TrueBoxes, found: FoundBoxes, ranked: _Ranked, images: int) -> _Pairs:
    """By true row and rank."""
    group = truth.class_id * images + truth.image
    at = np.searchsorted(ranked.groups, group)
    there = np.append(ranked.groups, NOBODY)[at] == group
    rows = np.flatnonzero(there)
    first = ranked.first[at[rows]]
    count = ranked.first[at[rows] + 1] - first
    ends = np.cumsum(count)
    ours = _Sides.of(found.xywh[ranked.row[ranked.of_group]])
    theirs = _Sides.of(truth.xywh)
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    start = 0
    while start < len(rows):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _MOST_PAIRS, side="right")), start + 1)
        number = count[start:stop]
        true = np.repeat(rows[start:stop], number)
        inner = np.arange(len(true)) - np.repeat(ends[start:stop] - number - done, number)
        mine = np.repeat(first[start:stop], number) + inner
        parts.append(_near(ours, theirs, truth.ignore, mine, true))
        start = stop
    mine, true, iou = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return _Pairs(ranked.of_group[mine], true, iou)


@dataclass(frozen=True, slots=True, eq=False)
class _Sides:
    """Boxes as columns, float64 (N,) each: pairs of boxes are then looked up without strides."""

    left: NDArray[np.float64]
    top: NDArray[np.float64]
    right: NDArray[np.float64]
    bottom: NDArray[np.float64]
    area: NDArray[np.float64]

    @classmethod
    def of(cls, xywh: NDArray[np.float64]) -> _Sides:
        left, top, width, height = np.ascontiguousarray(xywh.T)
        return cls(left, top, width + left, height + top, width * height)


def _near(
    ours: _Sides,
    theirs: _Sides,
    crowd: NDArray[np.bool_],
    mine: NDArray[np.int64],
    true: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The pairs that are near enough, and their IoU, as `pairing.pair_iou` computes it."""
    width = np.minimum(ours.right[mine], theirs.right[true])
    width -= np.maximum(ours.left[mine], theirs.left[true])
    meet = np.flatnonzero(width > 0)
    mine, true, width = mine[meet], true[meet], width[meet]
    height = np.minimum(ours.bottom[mine], theirs.bottom[true])
    height -= np.maximum(ours.top[mine], theirs.top[true])
    meet = np.flatnonzero(height > 0)
    mine, true = mine[meet], true[meet]
    inter = width[meet] * height[meet]
    own = ours.area[mine]
    union = np.where(crowd[true], own, own + theirs.area[true] - inter)
    # Only boxes so large that numbers overflow have common area and no union.
    iou = np.divide(inter, union, out=np.zeros(len(inter)), where=union > 0)
    near = np.flatnonzero(iou >= COCO_IOUS[0])
    return mine[near], true[near], iou[near]


def _without_choice(pairs: _Pairs, true: int, found: int) -> NDArray[np.bool_]:
    """Pairs whose true box is wanted only by boxes that want no other."""
    choices = np.bincount(pairs.found, minlength=found)[pairs.found]
    contested = np.bincount(pairs.true[choices > 1], minlength=true)
    simple: NDArray[np.bool_] = contested[pairs.true] == 0
    return simple


_Matches = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
"""For each threshold the places of found boxes with a partner, and the true rows of these."""


def _taken(pairs: _Pairs, crowd: NDArray[np.bool_], levels: NDArray[np.float64]) -> _Matches:
    """Matches where each found box has one choice: the best box near enough, crowds take all."""
    matches = []
    everybody = crowd[pairs.true]
    for enough in levels:
        near = np.flatnonzero(pairs.iou >= enough)
        true = pairs.true[near]
        first = np.append(True, true[1:] != true[:-1])[: len(true)]
        near = near[first | everybody[near]]
        matches.append((pairs.found[near], pairs.true[near]))
    return matches


def _contested(
    pairs: _Pairs, crowd: NDArray[np.bool_], idle: NDArray[np.bool_], levels: NDArray[np.float64]
) -> _Matches:
    """Matches of boxes with several choices: what counts first, then by IoU, then the last."""
    order = np.lexsort((-pairs.true, -pairs.iou, idle[pairs.true], pairs.found))
    places, box = np.unique(pairs.found[order], return_inverse=True)
    rows, true = np.unique(pairs.true[order], return_inverse=True)
    matches = []
    for enough in levels:
        near = np.flatnonzero(pairs.iou[order] >= enough)
        chosen = accept(box[near], true[near], crowd[rows], len(places))
        has = np.flatnonzero(chosen != NOBODY)
        matches.append((places[has], rows[true[near[chosen[has]]]]))
    return matches


def _first_at(real: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which right box, counted from 0, reaches each recall level; int64 (101, classes)."""
    reached = [
        np.searchsorted(np.arange(1, count + 1) / count, RECALLS, side="left")
        for count in real.tolist()
    ]
    return np.array(reached, dtype=np.int64).reshape(-1, len(RECALLS)).T


def _envelope(
    values: NDArray[np.float64],
    ends: NDArray[np.int64],
    number: NDArray[np.int64],
    some: NDArray[np.intp],
    wanted: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The highest precision at each recall level or beyond it, for the classes `some`.

    Args:
        values: precision at the right boxes, class by class; class k has those from `ends[k]` on,
            `number[k]` of them.
        wanted: as `_first_at` gives it.

    Returns:
        float64 (classes, 101).
    """
    at = (ends[:-1][some] + np.minimum(wanted, number[some])).T
    # The highest between one level and the next, the last one up to the end of its class.
    spans = np.empty((len(some), 2 * len(RECALLS)), dtype=np.int64)
    spans[:, ::2] = at
    spans[:, 1:-1:2] = at[:, 1:]
    spans[:, -1] = ends[1:][some]
    high = np.maximum.reduceat(np.append(values, 0.0), spans.ravel())[::2]
    best = np.where(number[some][:, None] > wanted.T, high.reshape(at.shape), 0.0)
    return np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
