"""Likely errors in labelled boxes; `doubts` says by which rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.coco import FoundBoxes, TrueBoxes
from whatwhere.metrics.isotonic import isotonic_blocks
from whatwhere.metrics.overlaps import Overlaps, overlaps
from whatwhere.metrics.pairing import pair_boxes
from whatwhere.metrics.single import BoxRows, Mistake, box_rows
from whatwhere.types import Prediction

_FOUND = 0.5
"""IoU from which a box has found an object."""

_NEAR = 0.1
"""IoU below which two boxes have nothing to do with each other, as in TIDE."""

_FEW = 20
"""A class with fewer right or wrong boxes than this borrows the curve of all classes."""

_PRIOR = 5.0
"""Weight, in boxes, of a class's share found against that of its boxes of one size."""

_LEAST = 0.1
"""Doubt below this is agreement."""


def doubtful_boxes(
    data: Dataset, predictions: Sequence[Prediction], classes: frozenset[str]
) -> list[Mistake]:
    """The labelled boxes, and the places without one, that a model doubts; in no order.

    Each labelled box is in the list at most once, by its strongest case; of several boxes that
    are found in one unlabelled place the surest is.
    """
    rows = box_rows(data, predictions, classes)
    sure = right_share(rows.truth, rows.found)
    read = np.array([bool(one.width) for one in predictions], dtype=bool)
    cases = _Cases.of(rows.truth, rows.found, sure, read)
    doubts = [
        Mistake(
            kind,
            0,
            int(rows.truth.image[row]),
            float(cases.doubt[row]),
            truth=rows.names[int(rows.truth.class_id[row])],
            said=None if answer < 0 else rows.names[int(rows.found.class_id[answer])],
            score=None if answer < 0 else float(rows.found.score[answer]),
            box=None if answer < 0 else rows.box(answer),
            true_box=rows.true_box(row),
            iou=None if answer < 0 else float(cases.iou[row]),
            label=int(rows.label[row]),
        )
        for row in np.flatnonzero(cases.doubt >= _LEAST).tolist()
        for kind, answer in [(cases.kind_of(row), int(cases.answer[row]))]
    ]
    return doubts + _missing(rows, sure)


def right_share(truth: TrueBoxes, found: FoundBoxes) -> NDArray[np.float64]:
    """Share of right boxes among those of about the same score and class, float64 (N,).

    By isotonic regression over the scores of all boxes, right as COCO's matching at IoU 0.5
    has it; 0 for boxes beyond the best 100 of a picture and class.
    """
    pairs = pair_boxes(truth, found, [_FOUND])
    counts = ~pairs.ignored[0]
    score, right, class_id = pairs.score[counts], pairs.true[0][counts], pairs.class_id[counts]
    share = np.zeros(len(found.score))
    known = np.zeros(len(found.score), dtype=bool)
    known[pairs.row] = True
    for one in np.unique(found.class_id):
        mine = class_id == one
        if min(right[mine].sum(), (~right[mine]).sum()) < _FEW:
            mine = np.ones_like(mine)
        rows = np.flatnonzero((found.class_id == one) & known)
        # Both ends are fixed, so that scores above the best block still differ.
        x = np.concatenate([score[mine], [0.0, 1.0]])
        y = np.concatenate([right[mine], [0.0, 1.0]]).astype(np.float64)
        value, _, _, centre = isotonic_blocks(x, y)
        share[rows] = np.interp(found.score[rows], centre, value)
    return share


@dataclass(frozen=True, slots=True, eq=False)
class _Cases:
    """The strongest doubt about each labelled box, N of them.

    Args:
        doubt: float64 (N,), 0..1.
        case: int64 (N,), 0 nothing finds it, 1 another class, 2 another place.
        answer: int64 (N,), row of the predicted box that says so, or -1.
        iou: float64 (N,), of the two.
    """

    doubt: NDArray[np.float64]
    case: NDArray[np.int64]
    answer: NDArray[np.int64]
    iou: NDArray[np.float64]

    def kind_of(self, row: int) -> str:
        """One of `doubts.DOUBTS`."""
        return ("doubtful label", "wrong label", "poor label box")[int(self.case[row])]

    @classmethod
    def of(
        cls,
        truth: TrueBoxes,
        found: FoundBoxes,
        sure: NDArray[np.float64],
        read: NDArray[np.bool_],
    ) -> _Cases:
        count = len(truth.image)
        pairs = overlaps(truth, found)
        pairs = pairs.only((pairs.iou >= _NEAR) & ~truth.ignore[pairs.truth])
        same = truth.class_id[pairs.truth] == found.class_id[pairs.found]
        at = pairs.iou >= _FOUND
        # A predicted box speaks for one label of its class, the one that it fits best.
        own = _own(pairs.only(same))
        agrees, _, _ = _best(own.only(own.iou >= _FOUND), sure, count)
        other, who, how = _best(pairs.only(~same & at), sure, count)
        usual = _usual_iou(own.only(own.iou >= _FOUND), sure, truth.class_id)
        place, box, low = _best_place(own, sure, count, usual)
        # Squared: what is found at a low score is doubted much less than what is not found.
        nobody = (_easier(truth, agrees) * (1 - agrees)) ** 2
        # Two reasons are better than one; and one that says what is right instead, if it is
        # not much weaker, is the one to give.
        reasons = np.stack([nobody, other * (1 - agrees), place])
        doubt = 1 - (1 - nobody) * (1 - reasons[1:].max(axis=0, initial=0.0))
        case = (reasons * [[0.5], [1.0], [1.0]]).argmax(axis=0)
        doubt[truth.ignore | ~read[truth.image]] = 0.0
        none = np.full(count, -1, dtype=np.int64)
        answer = np.choose(case, [none, who, box])
        return cls(doubt, case, answer, np.choose(case, [np.zeros(count), how, low]))


def _best(
    pairs: Overlaps, sure: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Of each labelled box the surest predicted one: its share, row and IoU; 0, -1, 0 if none."""
    order = np.argsort(sure[pairs.found], kind="stable")
    rows, answers = pairs.truth[order], pairs.found[order]
    share, who, iou = np.zeros(count), np.full(count, -1, dtype=np.int64), np.zeros(count)
    share[rows], who[rows], iou[rows] = sure[answers], answers, pairs.iou[order]
    return share, who, iou


def _usual_iou(
    pairs: Overlaps, sure: NDArray[np.float64], class_id: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Median IoU of sure boxes with their object, by labelled box: that of its class."""
    strong = pairs.only(sure[pairs.found] >= 0.5)
    whole = float(np.median(strong.iou)) if len(strong.iou) else 0.8
    usual = np.full(len(class_id), whole)
    classes = class_id[strong.truth]
    for one in np.unique(classes):
        mine = strong.iou[classes == one]
        if len(mine) >= _FEW:
            usual[class_id == one] = float(np.median(mine))
    return usual


def _own(pairs: Overlaps) -> Overlaps:
    """Of each predicted box the pair with the largest IoU."""
    order = np.lexsort((-pairs.iou, pairs.found))
    first = np.append(True, np.diff(pairs.found[order]) != 0)[: len(order)]
    keep = np.zeros(len(order), dtype=bool)
    keep[order[first]] = True
    return pairs.only(keep)


def _best_place(
    own: Overlaps, sure: NDArray[np.float64], count: int, usual: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Doubt about the place of each labelled box, who causes it, and the IoU of the two.

    What counts is how far the overlap lies below what is usual.
    """
    share, who, iou = _best(own, sure, count)
    gap = np.clip((usual - iou) / np.maximum(usual - _NEAR, 1e-9), 0.0, 1.0)
    # Another sure box that fits well takes the doubt away.
    fits, _, _ = _best(own.only(own.iou >= 0.9 * usual[own.truth]), sure, count)
    return np.where(who >= 0, share * gap * (1 - fits), 0.0), who, iou


def _easier(truth: TrueBoxes, agrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of labels of this class and about this size that are found more surely, float64 (N,).

    A label that nothing finds says little where much is missed, and much where little is.
    Thirds of the areas of a class; each leans on the class, and a class on all.
    """
    easier = np.zeros(len(truth.image))
    counts = ~truth.ignore
    for one in np.unique(truth.class_id[counts]):
        mine = np.flatnonzero(counts & (truth.class_id == one))
        whole = _above(agrees[counts], agrees[mine])
        of_class = _above(agrees[mine], agrees[mine], whole)
        order = np.argsort(truth.area[mine], kind="stable")
        for third in np.array_split(order, 3):
            values = agrees[mine[third]]
            easier[mine[third]] = _above(values, values, of_class[third])
    return easier


def _above(
    values: NDArray[np.float64],
    limits: NDArray[np.float64],
    prior: NDArray[np.float64] | float = 0.5,
) -> NDArray[np.float64]:
    """Share of `values` above each limit, leaning on `prior` where there are few values."""
    above = len(values) - np.searchsorted(np.sort(values), limits, side="right")
    share = (above.astype(np.float64) + _PRIOR * prior) / (len(values) + _PRIOR)
    return np.asarray(share, dtype=np.float64)


def _missing(rows: BoxRows, sure: NDArray[np.float64]) -> list[Mistake]:
    """Sure boxes where nothing is labelled."""
    truth, found = rows.truth, rows.found
    pairs = overlaps(truth, found)
    # How much of the box lies on something labelled, whatever its class; all of it in a region
    # that is to be ignored.
    area = found.xywh[:, 2] * found.xywh[:, 3]
    covered = np.where(truth.ignore[pairs.truth], pairs.shared / area[pairs.found], pairs.iou)
    taken = np.zeros(len(found.image))
    np.maximum.at(taken, pairs.found, covered)
    doubt = sure * np.clip((_FOUND - taken) / _FOUND, 0.0, 1.0)
    kept = np.flatnonzero(doubt >= _LEAST)
    kept = kept[np.argsort(-doubt[kept], kind="stable")]
    chosen = _apart(found, kept)
    return [
        Mistake(
            "missing label",
            0,
            int(found.image[row]),
            float(doubt[row]),
            said=rows.names[int(found.class_id[row])],
            score=float(found.score[row]),
            box=rows.box(row),
        )
        for row in chosen
    ]


def _apart(found: FoundBoxes, order: NDArray[np.int64]) -> list[int]:
    """Of boxes on one place, whatever their class, only the first in this order."""
    chosen: list[int] = []
    by_image: dict[int, list[int]] = {}
    for row in order.tolist():
        others = by_image.setdefault(int(found.image[row]), [])
        if others and _largest_iou(found.xywh[row], found.xywh[others]) >= _FOUND:
            continue
        others.append(row)
        chosen.append(row)
    return chosen


def _largest_iou(box: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = box[2:].prod() + others[:, 2:].prod(axis=1) - shared
    return float(np.divide(shared, union, out=np.zeros(len(others)), where=union > 0).max())
