"""Likely errors in the labels: where a model that is mostly right disagrees, and is sure.

Whole pictures: Confident Learning (Northcutt, Jiang and Chuang, Confident Learning: Estimating
Uncertainty in Dataset Labels, JAIR 2021). How sure a model must be of a class is the mean score
that it gives the class in pictures labelled so; doubtful is a label if another class passes its
own mark and this one does not. Boxes follow the four cases of ObjectLab (Tkachenko, Thyagarajan
and Mueller, ObjectLab: Automated Diagnosis of Mislabeled Images in Object Detection Data, 2023),
with scores turned into shares of right boxes, so that the cases can be ranked together.

The predictions should come from a model that was not trained on these labels: one that was has
learned their errors, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.answers import class_answers
from whatwhere.metrics.doubts_boxes import doubtful_boxes
from whatwhere.metrics.multilabel import class_table, score_table
from whatwhere.metrics.single import Mistake, ranked
from whatwhere.types import Prediction, Task

DOUBTS: dict[str, str] = {
    "wrong label": "the model is sure of another class",
    "missing label": "the model is sure of something that is not labelled",
    "poor label box": "the model is sure of a box that overlaps the labelled one badly",
    "doubtful label": "the model finds nothing here, where it finds most labels of this kind",
}
"""Kinds of likely label errors, and what each means."""

_LEAST = 1e-12
"""Added to scores, so that none is 0 and every two can be compared."""


def label_doubts(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: Iterable[str] | None = None,
    limit: int | None = None,
) -> list[Mistake]:
    """Labels that a person should look at, the most doubtful first.

    `weight` is how doubtful, 0..1, comparable within one data set only; `truth` and `true_box`
    are the label, `said`, `box` and `score` what the model would put there. Labels that the
    model agrees with are not listed, nor are pictures that could not be read.

    Args:
        task, data, predictions, classes: as in `metrics.score`, with scores down to low ones.
        limit: at most so many; None for all.
    """
    wanted = frozenset(data.names if classes is None else classes)
    if task == "detect":
        return ranked(doubtful_boxes(data, predictions, wanted), limit)
    if task == "multilabel":
        return ranked(_of_labels(data, predictions, wanted), limit)
    return ranked(_of_classes(data, predictions, wanted), limit)


def class_doubt(
    truth: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """How doubtful each label of a single-label set is.

    Args:
        truth: int64 (N,), places of the labelled classes.
        scores: float64 (N, C), rows that sum to 1.

    Returns:
        Doubt, float64 (N,), 0..1: the best other class's score over the sum of it and the
        labelled one's, both as shares of the mean score that pictures of the class give it;
        above 0.5 the other class is likelier. That class, int64 (N,). Whether the picture lies
        off the diagonal of the paper's confident joint, bool (N,).
    """
    count, classes = scores.shape
    rows = np.arange(count)
    own = scores[rows, truth]
    number = np.bincount(truth, minlength=classes)
    mark = np.bincount(truth, own, minlength=classes) / np.maximum(number, 1)
    # A class without labels has no mark of its own, and nothing is taken for it.
    absent = number == 0
    mark[absent] = 1.0
    passed = scores >= mark
    passed[:, absent] = False
    counted = np.where(passed, scores, -1.0).argmax(axis=1)
    confident = passed.any(axis=1) & (counted != truth)
    # Classes that a model is never sure of are measured by what it gives them at its best. By
    # quotients, not differences: 0.001 for the label is a much stronger sign than 0.1.
    level = (scores + _LEAST) / (mark + _LEAST)
    level[:, absent] = 0.0
    own = level[rows, truth]
    level[rows, truth] = -1.0
    other = level.argmax(axis=1)
    most = np.maximum(level[rows, other], 0.0)
    return most / (most + own), other, confident


def _of_classes(
    data: Dataset, predictions: Sequence[Prediction], classes: frozenset[str]
) -> list[Mistake]:
    answers = class_answers(data, predictions, classes)
    answers = answers.only(answers.answered)
    if len(answers.names) < 2 or not len(answers.truth):
        return []
    doubt, other, confident = class_doubt(answers.truth, answers.scores)
    return [
        Mistake(
            "wrong label",
            0,
            int(answers.image[row]),
            float(doubt[row]),
            truth=answers.names[int(answers.truth[row])],
            said=answers.names[int(other[row])],
            score=float(answers.scores[row, other[row]]),
            truth_score=float(answers.scores[row, answers.truth[row]]),
            label=int(data.rows_of(int(answers.image[row]))[0]),
        )
        for row in np.flatnonzero(confident | (doubt > 0.5)).tolist()
    ]


def _of_labels(
    data: Dataset, predictions: Sequence[Prediction], classes: frozenset[str]
) -> list[Mistake]:
    """Each class is a question with two answers, in the pictures in which it is known."""
    columns = [place for place, name in enumerate(data.names) if name in classes]
    names = [data.names[place] for place in columns]
    shown, known = (table[:, columns] for table in class_table(data))
    table = score_table(predictions, names)
    known = known & np.array([bool(one.width) for one in predictions])[:, None]
    doubts = []
    for column, name in enumerate(names):
        rows = np.flatnonzero(known[:, column])
        truth = shown[rows, column].astype(np.int64)
        # A class that is always or never there leaves nothing to compare with.
        if not 0 < truth.sum() < len(truth):
            continue
        score = np.clip(table[rows, column], 0.0, 1.0)
        doubt, _, confident = class_doubt(truth, np.stack([1 - score, score], axis=1))
        for place in np.flatnonzero(confident | (doubt > 0.5)).tolist():
            labelled = bool(truth[place])
            doubts.append(
                Mistake(
                    "doubtful label" if labelled else "missing label",
                    0,
                    int(rows[place]),
                    float(doubt[place]),
                    truth=name if labelled else None,
                    said=None if labelled else name,
                    score=float(score[place]),
                    truth_score=float(score[place]) if labelled else None,
                )
            )
    return doubts
