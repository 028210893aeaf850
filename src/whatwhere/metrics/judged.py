"""Answers of any task, each right or wrong: what thresholds and calibration are fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.answers import class_answers
from whatwhere.metrics.detection import found_boxes, known_boxes, true_boxes
from whatwhere.metrics.multilabel import class_table, score_table
from whatwhere.metrics.operating import Judged
from whatwhere.metrics.pairing import pair_boxes
from whatwhere.metrics.partial import known_pairs
from whatwhere.metrics.reliability import DetectionReliability, detection_reliability
from whatwhere.types import Prediction, Task


@dataclass(frozen=True, slots=True, eq=False)
class JudgedAnswers:
    """Answers about all classes, N of them.

    Args:
        names: the classes, C of them.
        class_id: int64 (N,), place in `names`.
        score: float64 (N,).
        true: bool (N,), whether the answer is right.
        image: int64 (N,), row of the picture in the data.
        positives: int64 (C,), things to find of each class.
        pictures: int64 (C,), pictures in which the class was looked for.
        places: float64 (N, 4), centre x, centre y, width and height of each box as shares of
            its picture, cut to 0..1; None for labels of whole pictures.
    """

    names: tuple[str, ...]
    class_id: NDArray[np.int64]
    score: NDArray[np.float64]
    true: NDArray[np.bool_]
    image: NDArray[np.int64]
    positives: NDArray[np.int64]
    pictures: NDArray[np.int64]
    places: NDArray[np.float64] | None = None

    def by_class(self) -> Mapping[str, Judged]:
        """The answers about each class by name, as `operating_points` takes them."""
        result = {}
        for place, name in enumerate(self.names):
            rows = self.class_id == place
            result[name] = Judged(
                self.score[rows],
                self.true[rows],
                int(self.positives[place]),
                int(self.pictures[place]),
            )
        return result


def judge(
    task: Task,
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: frozenset[str] | None = None,
    iou: float = 0.5,
) -> JudgedAnswers:
    """Every answer with its score and whether it is right.

    - classify: the class that each prediction names first. A threshold on it decides between
      that class and no answer.
    - multilabel: every known pair of picture and class.
    - detect: every box that COCO's matching at `iou` calls right or wrong, at most 100 a
      picture and class; boxes of crowds and of classes that were not looked for are left out.

    Args:
        task, data, predictions, classes: as in `metrics.score`.
        iou: from which a box has found an object.

    Raises:
        DataError: a score is negative or not finite.
    """
    names = tuple(name for name in data.names if classes is None or name in classes)
    if task == "classify":
        return _judge_classes(data, predictions, frozenset(names))
    if task == "multilabel":
        return _judge_labels(data, predictions, names)
    return _judge_boxes(data, predictions, names, iou)


def _judge_classes(
    data: Dataset, predictions: Sequence[Prediction], classes: frozenset[str]
) -> JudgedAnswers:
    answers = class_answers(data, predictions, classes)
    count = len(answers.names)
    said = answers.answered
    return JudgedAnswers(
        answers.names,
        answers.first[said],
        np.minimum(answers.confidence[said], 1.0),
        answers.right[said],
        answers.image[said],
        np.bincount(answers.truth, minlength=count),
        np.full(count, len(answers.truth)),
    )


def _judge_labels(
    data: Dataset, predictions: Sequence[Prediction], names: tuple[str, ...]
) -> JudgedAnswers:
    columns = [data.names.id(name) for name in names]
    truth, known = (table[:, columns] for table in class_table(data))
    image, class_id = np.nonzero(known)
    return JudgedAnswers(
        names,
        class_id,
        score_table(predictions, names)[known],
        truth[known],
        image,
        (truth & known).sum(axis=0),
        known.sum(axis=0),
    )


def _judge_boxes(
    data: Dataset, predictions: Sequence[Prediction], names: tuple[str, ...], iou: float
) -> JudgedAnswers:
    truth, found = known_boxes(data, true_boxes(data), found_boxes(predictions, data.names))
    pairs = pair_boxes(truth, found, [iou])
    columns = np.array([data.names.id(name) for name in names], dtype=np.int64)
    # One more for boxes of classes that the data do not have.
    place_of = np.full(len(data.names) + 1, -1)
    place_of[columns] = np.arange(len(columns))
    class_id = place_of[pairs.class_id]
    rows = np.flatnonzero(~pairs.ignored[0] & (class_id >= 0))
    image = pairs.image[rows]
    known = known_pairs(data, "complete")
    pictures = np.full(len(data.names), len(data)) if known is None else known.sum(axis=0)
    positives = np.bincount(pairs.true_class, minlength=len(data.names))
    sizes = np.array([(one.width, one.height) for one in predictions], dtype=np.float64)
    left, top, width, height = found.xywh[pairs.row[rows]].T
    size = np.maximum(sizes.reshape(-1, 2)[image], 1.0).T
    centre = np.stack([left + width / 2, top + height / 2])
    shares = np.concatenate([centre / size, np.stack([width, height]) / size]).T
    return JudgedAnswers(
        names,
        class_id[rows],
        pairs.score[rows],
        pairs.true[0][rows],
        image,
        positives[columns],
        pictures[columns],
        np.clip(shares, 0.0, 1.0),
    )


def detection_error(
    answers: JudgedAnswers, *, lowest: float = 0.3, bins: Sequence[int] | None = None
) -> dict[str, DetectionReliability]:
    """D-ECE of a detector (Küppers et al., CVPR Workshops 2020), see `detection_reliability`.

    Args:
        answers: of `judge("detect", …)`.
        lowest: boxes with less score are left out; they are most of the boxes that an
            evaluation sees, and none that anybody uses.
        bins: of score, centre x, centre y, width, height; None: 20 for the score alone, and 5
            each for all five.

    Returns:
        `score`: over scores alone; `place`: over score, centre and size.
    """
    rows = answers.score >= lowest
    scores, true = answers.score[rows], answers.true[rows]
    places = np.zeros((len(scores), 4)) if answers.places is None else answers.places[rows]
    number = (20, 5, 5, 5, 5, 5) if bins is None else (bins[0], *bins)
    return {
        "score": detection_reliability(scores, true, bins=number[:1]),
        "place": detection_reliability(scores, true, places, bins=number[1:]),
    }
