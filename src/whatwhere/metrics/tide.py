"""TIDE: what kinds of errors a detector makes, and what each kind costs in AP50.

Source: Bolya, Foley, Hays, Hoffman, TIDE: A General Toolbox for Identifying Object Detection
Errors, ECCV 2020, and its program tidecv 1.0.1. Of every kind of error: AP as if exactly these
errors were repaired, less AP as it is. A wrong class or place is repaired by making the best
such box of an object right and removing the others, the other kinds by removing the box; a
missed object is repaired by taking it out of the truth. The costs do not add up.

Where this differs from tidecv: a class without objects is in no mean, and boxes of equal score
keep their order when some are repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.coco import RECALL_LEVELS, FoundBoxes, TrueBoxes
from whatwhere.metrics.overlaps import NOBODY, Overlaps, by_score, first_come, overlaps

KINDS = ("class", "location", "both", "duplicate", "background")
"""Kinds of wrong boxes; the number of a kind is its place here."""

COSTS = (*KINDS, "missed", "false_positive", "false_negative")
"""What AP50 could gain from."""

RIGHT, LEFT_OUT = -1, -2
"""In place of the number of a kind: no error, and neither right nor wrong."""

_CLASS, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class Tide:
    """Kinds of errors of a set of predictions.

    Args:
        ap50: AP50 as TIDE computes it (its matching, 100 boxes a picture); None without objects.
        cost: what AP50 would gain, by `COSTS`; 0..1, None without objects.
        count: number of errors, by `KINDS` and "missed".
        per_class: by class name the same three, as a dictionary of plain numbers. A box counts
            for the class that it was given, a missed object for its own.
        row: int64 (N,), the rows of the predicted boxes that were looked at.
        kind: int64 (N,), place in `KINDS`, or `RIGHT`, or `LEFT_OUT`.
        partner: int64 (N,), row of the labelled box that it found, misplaced or misnamed; -1.
        missed: int64 (M,), rows of the labelled boxes that nothing came near to.
    """

    ap50: float | None
    cost: dict[str, float | None]
    count: dict[str, int]
    per_class: dict[str, dict[str, Any]]
    row: NDArray[np.int64]
    kind: NDArray[np.int64]
    partner: NDArray[np.int64]
    missed: NDArray[np.int64]

    def numbers(self) -> dict[str, float | None]:
        """The costs by the names of `FURTHER`."""
        return {f"tide_{name}": value for name, value in self.cost.items()}


def tide(
    names: Mapping[int, str],
    truth: TrueBoxes,
    found: FoundBoxes,
    *,
    iou: float = 0.5,
    background: float = 0.1,
    limit: int = 100,
) -> Tide:
    """Sort the errors of predicted boxes.

    Args:
        names: class name by class id; rows of other classes are passed over.
        truth, found: `ignore` marks regions: an unmatched box of its class that lies in one by
            more than `iou` of its own area is left out.
        iou: from here on a box finds an object.
        background: up to here a box has nothing to do with an object.
        limit: boxes a picture, all classes together.
    """
    ids = np.array(list(names), dtype=np.int64)
    original = np.flatnonzero(np.isin(found.class_id, ids))
    original = original[by_score(found.only(np.isin(found.class_id, ids)), limit)]
    found = FoundBoxes(
        found.image[original], found.class_id[original], found.xywh[original], found.score[original]
    )
    mine = np.isin(truth.class_id, ids)
    real = mine & ~truth.ignore
    pairs = overlaps(truth, found)
    same = truth.class_id[pairs.truth] == found.class_id[pairs.found]
    counted = real[pairs.truth]
    matched = first_come(
        pairs.only(same & counted & (pairs.iou >= iou)),
        found.image,
        len(found.image),
        len(truth.image),
    )
    right = matched != NOBODY
    inside = same & mine[pairs.truth] & truth.ignore[pairs.truth]
    inside &= pairs.shared > iou * (found.xywh[:, 2] * found.xywh[:, 3])[pairs.found]
    out = np.zeros(len(found.image), dtype=bool)
    out[pairs.found[inside]] = True
    out &= ~right
    used = np.zeros(len(truth.image), dtype=bool)
    used[matched[right]] = True
    kind, target = _kinds(pairs.only(counted), same[counted], used, len(right), iou, background)
    # Of all boxes that are repaired into an object, only the first by score becomes right.
    aims = ~right & np.isin(kind, (_CLASS, _LOCATION))
    open_target = aims & ~np.append(used, False)[target]
    rows = np.flatnonzero(open_target)
    repairs = np.zeros(len(right), dtype=bool)
    repairs[rows[np.unique(target[rows], return_index=True)[1]]] = True
    missed = real & ~used
    missed[target[rows]] = False
    costs = _Costs(truth, found, real, used, right, out, kind, target, repairs, missed)
    shown = np.where(right, RIGHT, np.where(out, LEFT_OUT, kind))
    every = {name: costs.of_class(class_id) for class_id, name in names.items()}
    per_class = {
        name: _gains(every[name])
        | {"count": _counts(shown[found.class_id == class_id], missed, truth, class_id)}
        for class_id, name in names.items()
    }
    defined = [aps for aps in every.values() if aps[""] is not None]
    means = {name: _mean([aps[name] for aps in defined]) for name in ("", *COSTS)}
    return Tide(
        means[""],
        {
            # Below 0 only where a repair takes a class out of the mean, as in tidecv.
            name: None if gain is None else max(gain, 0.0)
            for name, gain in _gains(means)["cost"].items()
        },
        _counts(shown, missed, truth, None),
        per_class,
        original,
        shown,
        np.where(right, matched, target),
        np.flatnonzero(missed),
    )


def _gains(aps: Mapping[str, float | None]) -> dict[str, Any]:
    """`ap50` as it is, and what it gains by each repair."""
    base = aps[""]
    cost: dict[str, float | None] = {}
    for name in COSTS:
        fixed = aps[name]
        cost[name] = None if fixed is None or base is None else fixed - base
    return {"ap50": base, "cost": cost}


def _kinds(
    pairs: Overlaps,
    same: NDArray[np.bool_],
    used: NDArray[np.bool_],
    count: int,
    iou: float,
    background: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The kind of error of each predicted box if it is one, and the object that it meant."""
    best_same, target_same = _best(pairs.only(same), count)
    best_other, target_other = _best(pairs.only(~same), count)
    again = np.zeros(count, dtype=bool)
    again[pairs.found[same & used[pairs.truth] & (pairs.iou >= iou)]] = True
    kind = np.select(
        [
            (best_same >= background) & (best_same <= iou),
            best_other >= iou,
            again,
            np.maximum(best_same, best_other) <= background,
        ],
        [_LOCATION, _CLASS, _DUPLICATE, _BACKGROUND],
        _BOTH,
    ).astype(np.int64)
    target = np.select([kind == _LOCATION, kind == _CLASS], [target_same, target_other], NOBODY)
    return kind, target.astype(np.int64)


def _best(pairs: Overlaps, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The largest IoU of each predicted box, and with which labelled box; 0 and -1 for none."""
    value, partner = np.zeros(count), np.full(count, NOBODY, dtype=np.int64)
    order = np.lexsort((pairs.truth, -pairs.iou, pairs.found))
    rows, first = np.unique(pairs.found[order], return_index=True)
    value[rows], partner[rows] = pairs.iou[order][first], pairs.truth[order][first]
    return value, partner


def _counts(
    kind: NDArray[np.int64], missed: NDArray[np.bool_], truth: TrueBoxes, class_id: int | None
) -> dict[str, int]:
    mine = missed if class_id is None else missed & (truth.class_id == class_id)
    counts = {name: int((kind == place).sum()) for place, name in enumerate(KINDS)}
    return counts | {"missed": int(mine.sum())}


@dataclass(frozen=True, slots=True, eq=False)
class _Costs:
    """AP with and without errors; boxes stand by picture and score."""

    truth: TrueBoxes
    found: FoundBoxes
    real: NDArray[np.bool_]
    used: NDArray[np.bool_]
    right: NDArray[np.bool_]
    out: NDArray[np.bool_]
    kind: NDArray[np.int64]
    target: NDArray[np.int64]
    repairs: NDArray[np.bool_]
    missed: NDArray[np.bool_]

    def of_class(self, class_id: int) -> dict[str, float | None]:
        """AP of a class as it is (""), and by `COSTS` with these errors repaired."""
        objects = self.truth.class_id == class_id
        positives = int((self.real & objects).sum())
        if not positives:
            return dict.fromkeys(("", *COSTS))
        becomes = self.repairs & np.append(objects, False)[self.target]
        rows = np.flatnonzero((self.found.class_id == class_id) | becomes)
        rows = rows[np.argsort(-self.found.score[rows], kind="stable")]
        right, kind, becomes = self.right[rows], self.kind[rows], becomes[rows]
        mine = self.found.class_id[rows] == class_id
        right = right & mine
        counts = mine & ~self.out[rows]
        aps: dict[str, float | None] = {"": _ap(right[counts], positives)}
        for place, name in enumerate(KINDS):
            wrong = ~right & (kind == place)
            # A box in a region that is left out may be repaired, too.
            fixed = wrong & becomes if place in (_CLASS, _LOCATION) else np.zeros_like(wrong)
            aps[name] = _ap((right | fixed)[(counts & ~wrong) | fixed], positives)
        # A class of which no object is left, and nothing was said, says nothing.
        empty = 0.0 if counts.any() else None
        fewer = positives - int((self.missed & objects).sum())
        aps["missed"] = _ap(right[counts], fewer) if fewer else empty
        aps["false_positive"] = _ap(right[counts & right], positives)
        fewer = int((self.used & objects).sum())
        aps["false_negative"] = _ap(right[counts], fewer) if fewer else empty
        return aps


def _ap(right: NDArray[np.bool_], positives: int) -> float:
    """COCO's mean over 101 recall levels, of boxes by descending score."""
    if not len(right):
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    levels = np.arange(RECALL_LEVELS) / (RECALL_LEVELS - 1)
    at = np.searchsorted(hits / positives, levels, side="left")
    return float(best[at].mean())


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(np.array(defined))) if defined else None
