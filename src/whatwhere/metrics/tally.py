"""Labels, answers and which of them agree at a threshold: what counts of parts are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.answers import class_answers
from whatwhere.metrics.multilabel import class_table, score_table
from whatwhere.metrics.pairing import pair_boxes
from whatwhere.metrics.single import box_rows
from whatwhere.types import Prediction, Task, limits

NOBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Labels, or answers; N of them.

    Args:
        image: int64 (N,), row of the picture in the data.
        class_id: int64 (N,), class id in the data.
        right: bool (N,): the label is found, the answer is right.
        xywh: float64 (N, 4), left, top, width, height in pixels; None for whole pictures.
        area: float64 (N,), square pixels; None likewise.
    """

    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    right: NDArray[np.bool_]
    xywh: NDArray[np.float64] | None = None
    area: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What is labelled and what is said.

    Args:
        real: the labels that count.
        said: the answers that count.
        partner: int64, for each answer the label that it found, a place in `real`, or -1.
        label: int64, for each label its row in `Dataset.labels`; -1 where it is of several.
    """

    real: Side
    said: Side
    partner: NDArray[np.int64]
    label: NDArray[np.int64]


def tally(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    threshold: float = 0.5,
    iou: float = 0.5,
) -> Tally:
    """Count labels against answers.

    Args:
        task, data, predictions, classes: as in `metrics.score`.
        threshold: answers with a lower score do not exist (not for `classify`, whose first
            class always counts); a `types.Cut` for each class's own.
        iou: from which a box has found an object, by COCO's matching.
    """
    wanted = frozenset(data.names if classes is None else classes)
    if task == "detect":
        return _boxes(data, predictions, wanted, threshold, iou)
    if task == "multilabel":
        return _labels(data, predictions, wanted, threshold)
    return _classes(data, predictions, wanted)


def _boxes(
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    threshold: float,
    iou: float,
) -> Tally:
    rows = box_rows(data, predictions, classes, threshold)
    truth, found = rows.truth, rows.found
    pairs = pair_boxes(truth, found, [iou])
    counts = ~pairs.ignored[0]
    row, right = pairs.row[counts], pairs.true[0][counts]
    real = np.flatnonzero(~truth.ignore)
    place = np.full(len(truth.image) + 1, NOBODY)
    place[real] = np.arange(len(real))
    partner = np.where(right, place[pairs.partner[0][counts]], NOBODY)
    hit = np.zeros(len(real), dtype=bool)
    hit[partner[right]] = True
    sides = found.xywh[row, 2] * found.xywh[row, 3]
    return Tally(
        Side(truth.image[real], truth.class_id[real], hit, truth.xywh[real], truth.area[real]),
        Side(found.image[row], found.class_id[row], right, found.xywh[row], sides),
        partner,
        rows.label[real],
    )


def _labels(
    data: Dataset,
    predictions: Sequence[Prediction],
    classes: frozenset[str],
    threshold: float,
) -> Tally:
    columns = np.array(
        [place for place, name in enumerate(data.names) if name in classes], dtype=np.int64
    )
    truth, known = (table[:, columns] for table in class_table(data))
    names = [data.names[place] for place in columns]
    said = score_table(predictions, names) >= limits(threshold, names)
    said, real = said & known, truth & known
    number = np.full(real.shape, NOBODY)
    image, column = np.nonzero(real)
    number[image, column] = np.arange(len(image))
    where, what = np.nonzero(said)
    return Tally(
        Side(image, columns[column], said[image, column]),
        Side(where, columns[what], real[where, what]),
        number[where, what],
        np.full(len(image), NOBODY),
    )


def _classes(data: Dataset, predictions: Sequence[Prediction], classes: frozenset[str]) -> Tally:
    answers = class_answers(data, predictions, classes)
    ids = np.array([data.names.id(name) for name in answers.names], dtype=np.int64)
    some = np.flatnonzero(answers.answered)
    right = answers.right
    return Tally(
        Side(answers.image, ids[answers.truth], right),
        Side(answers.image[some], ids[answers.first[some]], right[some]),
        np.where(right[some], some, NOBODY),
        np.array([data.rows_of(image)[0] for image in answers.image.tolist()], dtype=np.int64),
    )
