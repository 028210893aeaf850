"""Which pictures two systems answer differently: what one of them finds and the other misses.

Average numbers say how much two systems differ, these pictures say in what. A mistake is a
label that is missed, or an answer that is wrong; boxes find labels by COCO's rule at IoU 0.5.
For one class a picture, a wrong class is one mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.errors import UsageError
from whatwhere.metrics.classification import NOTHING, right_classes
from whatwhere.metrics.detection import found_boxes, known_boxes, true_boxes
from whatwhere.metrics.multilabel import class_table, score_table
from whatwhere.metrics.pairing import pair_boxes
from whatwhere.types import Prediction, Task, limits

IOU = 0.5
"""A box finds a labelled one from this IoU on."""


@dataclass(frozen=True, slots=True)
class Change:
    """What two systems say differently about one picture.

    Args:
        row: the picture's row in the data.
        before, after: mistakes of the first and of the second system.
        gained, lost: classes of the labels that only the second finds, and only the first.
        false_before, false_after: wrong answers among the mistakes; 0 for single labels,
            where a wrong class is counted as a label that is missed.
        weight: scores of the second's wrong answers less those of the first's: among pictures
            with as many mistakes, how sure of them the system is.
    """

    row: int
    before: int
    after: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    false_before: int
    false_after: int
    weight: float

    @property
    def worse_by(self) -> int:
        """Mistakes more than before; negative where there are fewer."""
        return self.after - self.before


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """One system: which labels it finds, bool (G,), and its wrong answers by picture (M,)."""

    hit: NDArray[np.bool_]
    false: NDArray[np.int64]
    sure: NDArray[np.float64]


def changes(
    task: Task,
    data: Dataset,
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    *,
    thresholds: tuple[float, float] = (0.25, 0.25),
    classes: Iterable[str] | None = None,
) -> list[Change]:
    """The pictures about which two systems say different things, the worst for the second first.

    A picture on which both find the same labels and give as many wrong answers is not listed.

    Args:
        task: as in `metrics.score`.
        data: the truth.
        first, second: predictions of two systems, one a picture of `data`.
        thresholds: answers of a lower score than this do not count, for each system; not for
            `classify`, whose best class always counts.
        classes: these classes only; None for all of the data.

    Raises:
        UsageError: the number of predictions is not that of pictures, or the task is unknown.
    """
    for predictions in (first, second):
        if len(predictions) != len(data):
            raise UsageError(f"{len(data)} pictures need {len(data)} predictions")
    chosen = frozenset(data.names if classes is None else classes)
    columns = [place for place, name in enumerate(data.names) if name in chosen]
    names = [data.names[place] for place in columns]
    if task == "detect":
        image, class_id, one, two = _boxes(data, first, second, thresholds, columns)
        of = [data.names[place] for place in class_id]
    elif task == "multilabel":
        image, class_id, one, two = _tables(data, first, second, thresholds, columns)
        of = [names[place] for place in class_id]
    elif task == "classify":
        image, class_id = right_classes(data, names)
        one, two = (_best(len(data), each, names, image, class_id) for each in (first, second))
        of = [names[place] for place in class_id]
    else:
        raise UsageError(f"unknown task {task!r}: use classify, multilabel or detect")
    return _listed(len(data), image, of, one, two)


def _listed(
    pictures: int, image: NDArray[np.int64], of: Sequence[str], one: _Answers, two: _Answers
) -> list[Change]:
    before, after = (
        np.bincount(image[~each.hit], minlength=pictures) + each.false for each in (one, two)
    )
    differ = np.zeros(pictures, dtype=bool)
    differ[image[one.hit != two.hit]] = True
    differ |= one.false != two.false
    gained: dict[int, list[str]] = {}
    lost: dict[int, list[str]] = {}
    for label in np.flatnonzero(one.hit != two.hit).tolist():
        side = gained if two.hit[label] else lost
        side.setdefault(int(image[label]), []).append(of[label])
    weight = two.sure - one.sure
    rows = np.flatnonzero(differ)
    order = np.lexsort((rows, -weight[rows], before[rows] - after[rows]))
    return [
        Change(
            row=row,
            before=int(before[row]),
            after=int(after[row]),
            gained=tuple(gained.get(row, ())),
            lost=tuple(lost.get(row, ())),
            false_before=int(one.false[row]),
            false_after=int(two.false[row]),
            weight=float(weight[row]),
        )
        for row in rows[order].tolist()
    ]


def _best(
    pictures: int,
    predictions: Sequence[Prediction],
    names: Sequence[str],
    image: NDArray[np.int64],
    right: NDArray[np.int64],
) -> _Answers:
    index = {name: place for place, name in enumerate(names)}
    first = np.full(pictures, NOTHING, dtype=np.int64)
    score = np.zeros(pictures)
    for row, prediction in enumerate(predictions):
        for place, name in enumerate(prediction.label_names):
            if name in index:
                first[row], score[row] = index[name], prediction.label_scores[place]
                break
    hit = first[image] == right
    sure = np.zeros(pictures)
    sure[image[~hit]] = score[image[~hit]]
    return _Answers(hit, np.zeros(pictures, dtype=np.int64), sure)


def _tables(
    data: Dataset,
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    thresholds: tuple[float, float],
    columns: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], _Answers, _Answers]:
    shown, known = (table[:, list(columns)] for table in class_table(data))
    names = [data.names[place] for place in columns]
    image, class_id = np.nonzero(shown & known)
    made = []
    for predictions, threshold in zip((first, second), thresholds, strict=True):
        scores = score_table(predictions, names)
        said = (scores >= limits(threshold, names)) & (scores > 0)
        wrong = said & known & ~shown
        sure = np.where(wrong, scores, 0.0).sum(axis=1)
        made.append(_Answers(said[image, class_id], wrong.sum(axis=1).astype(np.int64), sure))
    return image.astype(np.int64), class_id.astype(np.int64), made[0], made[1]


def _boxes(
    data: Dataset,
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    thresholds: tuple[float, float],
    columns: Sequence[int],
) -> tuple[NDArray[np.int64], NDArray[np.int64], _Answers, _Answers]:
    truth = true_boxes(data)
    truth = truth.only(np.isin(truth.class_id, columns))
    made = []
    counted = truth
    for predictions, threshold in zip((first, second), thresholds, strict=True):
        found = found_boxes(predictions, data.names)
        least = np.append(limits(threshold, data.names), 0.0)[found.class_id]
        found = found.only(np.isin(found.class_id, columns) & (found.score >= least))
        counted, found = known_boxes(data, truth, found)
        pairs = pair_boxes(counted, found, (IOU,))
        right, ignored = pairs.true[0], pairs.ignored[0]
        hit = np.zeros(len(counted.image), dtype=bool)
        hit[pairs.partner[0][right]] = True
        wrong = ~right & ~ignored
        of = pairs.image[wrong]
        false = np.bincount(of, minlength=len(data)).astype(np.int64)
        sure = np.bincount(of, weights=pairs.score[wrong], minlength=len(data)).astype(np.float64)
        made.append(_Answers(hit[~counted.ignore], false, sure))
    keep = ~counted.ignore
    return counted.image[keep], counted.class_id[keep], made[0], made[1]
