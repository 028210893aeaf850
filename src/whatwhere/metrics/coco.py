"""COCO's detection numbers, computed by hotcoco from arrays in memory.

The protocol is the one of the COCO detection challenge (https://cocodataset.org/#detection-eval):
IoU thresholds 0.50 to 0.95 in steps of 0.05, 101 recall levels, at most 100 boxes a picture
and class, crowd regions neither found nor missed. Numbers are equal to pycocotools' to the
last bit, because the matching is hotcoco's and the means are taken in pycocotools' order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import MissingExtraError

SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_ALL, _SMALL, _MEDIUM, _LARGE = 0, 1, 2, 3
_AT_1, _AT_10, _AT_100 = 0, 1, 2
_IOU_50, _IOU_75 = 0, 5
RECALL_LEVELS = 101
_MOST_AT_ONCE = 100_000
"""Found boxes that hotcoco gets at once: it needs some 400 bytes for each."""


@dataclass(frozen=True, slots=True, eq=False)
class TrueBoxes:
    """Labelled boxes of a data set.

    Args:
        image: int64 (N,), id of the picture of each box.
        class_id: int64 (N,).
        xywh: float64 (N, 4), left, top, width, height in pixels.
        area: float64 (N,), square pixels; decides small, medium or large.
        ignore: bool (N,); such a box is COCO's crowd: never a miss, and boxes found
            inside it are never false positives.
    """

    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    xywh: NDArray[np.float64]
    area: NDArray[np.float64]
    ignore: NDArray[np.bool_]

    def only(self, keep: NDArray[np.bool_]) -> TrueBoxes:
        """The rows that `keep`, bool (N,), says."""
        if keep.all():
            return self
        image, class_id = self.image[keep], self.class_id[keep]
        return TrueBoxes(image, class_id, self.xywh[keep], self.area[keep], self.ignore[keep])


@dataclass(frozen=True, slots=True, eq=False)
class FoundBoxes:
    """Predicted boxes; image, class_id and xywh as in `TrueBoxes`, score float64 (N,)."""

    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    xywh: NDArray[np.float64]
    score: NDArray[np.float64]

    def only(self, keep: NDArray[np.bool_]) -> FoundBoxes:
        """The rows that `keep`, bool (N,), says."""
        if keep.all():
            return self
        image, class_id = self.image[keep], self.class_id[keep]
        return FoundBoxes(image, class_id, self.xywh[keep], self.score[keep])


@dataclass(frozen=True, slots=True, eq=False)
class CocoScores:
    """The arrays of COCO's accumulation, and the numbers read off them.

    Args:
        class_ids: ids of the classes, ascending.
        precision: float64 (10, 101, K, 4, 3): IoU threshold, recall level, class, area range
            (all, small, medium, large), limit of boxes (1, 10, 100); -1 where undefined.
        recall: float64 (10, K, 4, 3), likewise.
        score: float64, shape of `precision`: the score at which that recall is reached.
    """

    class_ids: tuple[int, ...]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    score: NDArray[np.float64]

    def summary(self) -> dict[str, float | None]:
        """The 12 numbers by standard name, each in 0..1; None where no box counts."""
        precision, recall = self.precision, self.recall
        return {
            "AP": _mean(precision[:, :, :, _ALL, _AT_100]),
            "AP50": _mean(precision[_IOU_50, :, :, _ALL, _AT_100]),
            "AP75": _mean(precision[_IOU_75, :, :, _ALL, _AT_100]),
            "APs": _mean(precision[:, :, :, _SMALL, _AT_100]),
            "APm": _mean(precision[:, :, :, _MEDIUM, _AT_100]),
            "APl": _mean(precision[:, :, :, _LARGE, _AT_100]),
            "AR1": _mean(recall[:, :, _ALL, _AT_1]),
            "AR10": _mean(recall[:, :, _ALL, _AT_10]),
            "AR100": _mean(recall[:, :, _ALL, _AT_100]),
            "ARs": _mean(recall[:, :, _SMALL, _AT_100]),
            "ARm": _mean(recall[:, :, _MEDIUM, _AT_100]),
            "ARl": _mean(recall[:, :, _LARGE, _AT_100]),
        }

    def of_class(self, class_id: int) -> dict[str, float | None]:
        """AP, AP50 and AR100 of one class; None if no box of it counts."""
        column = self.class_ids.index(class_id)
        precision = self.precision[:, :, column, _ALL, _AT_100]
        return {
            "AP": _mean(precision),
            "AP50": _mean(precision[_IOU_50]),
            "AR100": _mean(self.recall[:, column, _ALL, _AT_100]),
        }

    def by_iou(self) -> list[tuple[float, float]] | None:
        """AP at each IoU threshold, as (threshold, AP); None if no box counts."""
        values = [_mean(level) for level in self.precision[:, :, :, _ALL, _AT_100]]
        defined = [value for value in values if value is not None]
        thresholds = [round(0.5 + 0.05 * place, 2) for place in range(len(defined))]
        return list(zip(thresholds, defined, strict=True)) if defined else None

    def curve(self, class_id: int | None = None) -> list[float] | None:
        """Precision at IoU 0.5 for recall 0, 0.01, … 1 (101 values).

        Of one class, or the mean of all classes that have boxes; None if there is none.
        """
        precision = self.precision[_IOU_50, :, :, _ALL, _AT_100]
        if class_id is not None:
            column = self.class_ids.index(class_id)
            precision = precision[:, column : column + 1]
        valid = precision[:, precision[0] > -1]
        return [float(value) for value in valid.mean(axis=1)] if valid.shape[1] else None


def _mean(values: NDArray[np.float64]) -> float | None:
    # One flat mean over what is defined, as pycocotools takes it: the order of summation
    # decides the last bit.
    defined = values[values > -1]
    return float(np.mean(defined)) if defined.size else None


def coco_scores(
    image_ids: Sequence[int] | NDArray[np.int64],
    names: Mapping[int, str],
    truth: TrueBoxes,
    found: FoundBoxes,
) -> CocoScores:
    """COCO's accumulation over a set of pictures.

    Boxes of equal score are ranked by ascending picture id, then in the order given.

    Args:
        image_ids: every picture that was looked at, with and without boxes.
        names: class name by class id.
        truth, found: rows of other pictures and classes are left out.

    Raises:
        MissingExtraError: hotcoco is not installed.
    """
    try:
        import hotcoco
    except ImportError as error:
        raise MissingExtraError("data", "Scoring boxes") from error
    class_ids = tuple(sorted(int(class_id) for class_id in names))
    if not class_ids or not len(image_ids):
        # hotcoco takes an empty list of pictures for "all of them".
        shape = (10, RECALL_LEVELS, len(class_ids), 4, 3)
        blank = np.full(shape, -1.0)
        return CocoScores(class_ids, blank, blank[:, 0], blank)
    # hotcoco would leave these rows out as well, but warns of each on stderr.
    truth = truth.only(np.isin(truth.class_id, class_ids) & np.isin(truth.image, image_ids))
    found = found.only(np.isin(found.class_id, class_ids) & np.isin(found.image, image_ids))
    # Classes are ranked apart, so scoring some at a time gives the same bits in less memory.
    found_of = np.searchsorted(class_ids, found.class_id)
    before = np.cumsum(np.bincount(found_of, minlength=len(class_ids)))
    turn = before // _MOST_AT_ONCE
    parts = []
    for here in np.unique(turn):
        some = [class_ids[place] for place in np.flatnonzero(turn == here)]
        parts.append(
            _judge(
                hotcoco,
                image_ids,
                {class_id: names[class_id] for class_id in some},
                truth.only(np.isin(truth.class_id, some)),
                found.only(np.isin(found.class_id, some)),
            )
        )
    precision, recall, score = zip(*parts, strict=True)
    return CocoScores(
        class_ids,
        np.concatenate(precision, axis=2),
        np.concatenate(recall, axis=1),
        np.concatenate(score, axis=2),
    )


def _judge(
    hotcoco: Any,
    image_ids: Sequence[int] | NDArray[np.int64],
    names: Mapping[int, str],
    truth: TrueBoxes,
    found: FoundBoxes,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and score of these classes, as in `CocoScores`."""
    dataset = hotcoco.COCO.from_arrays(
        [{"id": int(image)} for image in image_ids],
        [{"id": class_id, "name": name} for class_id, name in names.items()],
        truth.image,
        truth.class_id,
        truth.xywh,
        area=truth.area,
        iscrowd=truth.ignore,
    )
    table = np.column_stack([found.image, found.xywh, found.score, found.class_id])
    results = dataset.load_res(table.astype(np.float64).reshape(-1, 7))
    judge = hotcoco.COCOeval(dataset, results, "bbox")
    judge.evaluate()
    judge.accumulate()
    arrays: dict[str, Any] = judge.eval or {}
    return arrays["precision"], arrays["recall"], arrays["scores"]
