"""COCO's detection numbers from arrays in memory.

The protocol is the one of the COCO detection challenge (https://cocodataset.org/#detection-eval):
IoU thresholds 0.50 to 0.95 in steps of 0.05, 101 recall levels, at most 100 boxes a picture
and class, crowd regions neither found nor missed. Numbers are equal to pycocotools' to the
last bit: every step does the same operations, and means are taken in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.boxes import FoundBoxes, TrueBoxes
from whatwhere.metrics.coco_judge import judge
from whatwhere.metrics.ordering import places

__all__ = ["RECALL_LEVELS", "SUMMARY", "CocoScores", "FoundBoxes", "TrueBoxes", "coco_scores"]

SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
RECALL_LEVELS = 101
_ALL, _SMALL, _MEDIUM, _LARGE = 0, 1, 2, 3
_AT_1, _AT_10, _AT_100 = 0, 1, 2
_IOU_50, _IOU_75 = 0, 5


@dataclass(frozen=True, slots=True, eq=False)
class CocoScores:
    """The arrays of COCO's accumulation, and the numbers read off them.

    Args:
        class_ids: ids of the classes, ascending.
        precision: float64 (10, 101, K, 4): IoU threshold, recall level, class, area range (all,
            small, medium, large), with at most 100 boxes a picture and class; -1 where undefined.
        recall: float64 (10, K, 4, 3), likewise, with at most 1, 10 and 100 boxes.
    """

    class_ids: tuple[int, ...]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def summary(self) -> dict[str, float | None]:
        """The 12 numbers by standard name, each in 0..1; None where no box counts."""
        precision, recall = self.precision, self.recall
        return {
            "AP": _mean(precision[:, :, :, _ALL]),
            "AP50": _mean(precision[_IOU_50, :, :, _ALL]),
            "AP75": _mean(precision[_IOU_75, :, :, _ALL]),
            "APs": _mean(precision[:, :, :, _SMALL]),
            "APm": _mean(precision[:, :, :, _MEDIUM]),
            "APl": _mean(precision[:, :, :, _LARGE]),
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
        precision = self.precision[:, :, column, _ALL]
        return {
            "AP": _mean(precision),
            "AP50": _mean(precision[_IOU_50]),
            "AR100": _mean(self.recall[:, column, _ALL, _AT_100]),
        }

    def by_iou(self) -> list[tuple[float, float]] | None:
        """AP at each IoU threshold, as (threshold, AP); None if no box counts."""
        values = [_mean(level) for level in self.precision[:, :, :, _ALL]]
        defined = [value for value in values if value is not None]
        thresholds = [round(0.5 + 0.05 * place, 2) for place in range(len(defined))]
        return list(zip(thresholds, defined, strict=True)) if defined else None

    def curve(self, class_id: int | None = None) -> list[float] | None:
        """Precision at IoU 0.5 for recall 0, 0.01, … 1 (101 values).

        Of one class, or the mean of all classes that have boxes; None if there is none.
        """
        precision = self.precision[_IOU_50, :, :, _ALL]
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
    """
    images = np.unique(np.asarray(image_ids, dtype=np.int64))
    classes = np.array(sorted(int(class_id) for class_id in names), dtype=np.int64)
    precision, recall = judge(
        _numbered(truth, images, classes),
        _numbered(found, images, classes),
        len(images),
        len(classes),
    )
    return CocoScores(tuple(classes.tolist()), precision, recall)


_Boxes = TypeVar("_Boxes", TrueBoxes, FoundBoxes)


def _numbered(boxes: _Boxes, images: NDArray[np.int64], classes: NDArray[np.int64]) -> _Boxes:
    """The boxes of these pictures and classes, which are numbered from 0."""
    image, known_image = places(boxes.image, images)
    class_id, known_class = places(boxes.class_id, classes)
    return replace(boxes, image=image, class_id=class_id).only(known_image & known_class)
