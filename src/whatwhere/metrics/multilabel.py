"""Scores of a model that says of every class whether a picture shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.classification import macro, precision_recall_f1
from whatwhere.metrics.curves import average_precision_of, precision_levels, steps
from whatwhere.metrics.partial import known_pairs
from whatwhere.types import Prediction

THRESHOLD = 0.5
"""Score from which a class counts as said, for precision, recall and F1."""


def score_multilabel(
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: frozenset[str],
    curves: bool = False,
) -> dict[str, Any]:
    """mAP and the macro averages; see `metrics.score`."""
    columns = [place for place, name in enumerate(data.names) if name in classes]
    names = [data.names[place] for place in columns]
    truth, known = (table[:, columns] for table in class_table(data))
    scores = score_table(predictions, names)
    result = multilabel_scores(truth, scores, known)
    result["per_class"] = dict(zip(names, result["per_class"], strict=True))
    if curves:
        per_class = {}
        for column, name in enumerate(names):
            rows = known[:, column]
            if truth[rows, column].any():
                per_class[name] = recall_curve(truth[rows, column], scores[rows, column])
        mean = np.mean(list(per_class.values()), axis=0).tolist() if per_class else None
        result["curves"] = {
            "x": "recall",
            "y": "precision",
            "all classes": mean,
            "per_class": per_class,
        }
    return result


def class_table(data: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which picture shows which class, and where that is known; both bool (pictures, classes).

    Labels with boxes count as labels of the whole picture. A class of which a picture has
    only ignored labels, or that was not looked for, is unknown there.
    """
    image = data.labels["image"].to_numpy().astype(np.int64)
    class_id = data.labels["class_id"].to_numpy().astype(np.int64)
    ignore = data.labels["ignore"].fill_null(False).to_numpy().astype(bool)
    shown = np.zeros((len(data), len(data.names)), dtype=bool)
    unsure = np.zeros_like(shown)
    shown[image[~ignore], class_id[~ignore]] = True
    unsure[image[ignore], class_id[ignore]] = True
    looked_for = known_pairs(data, "labelled")
    certain = ~unsure if looked_for is None else looked_for & ~unsure
    return shown, shown | certain


def score_table(predictions: Sequence[Prediction], names: Sequence[str]) -> NDArray[np.float64]:
    """Scores float64 (pictures, classes); 0 where a prediction does not name the class.

    A prediction without labels but with boxes gives each class its best box's score.
    """
    index = {name: class_id for class_id, name in enumerate(names)}
    table = np.zeros((len(predictions), len(names)), dtype=np.float64)
    for row, prediction in enumerate(predictions):
        by_box = not prediction.label_names and prediction.boxes is not None
        said = prediction.object_names if by_box else prediction.label_names
        values = prediction.object_scores if by_box else prediction.label_scores
        known = [(index[name], at) for at, name in enumerate(said) if name in index]
        if known:
            columns, places = np.array(known).T
            np.maximum.at(table[row], columns, values[places])
    return table


def multilabel_scores(
    truth: NDArray[np.bool_],
    scores: NDArray[np.float64],
    known: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Scores from tables.

    Args:
        truth: bool (N, C).
        scores: float64 (N, C) in 0..1.
        known: bool (N, C); pairs that are False count nowhere. None: all are known.

    Returns:
        `mAP`, `precision`, `recall`, `f1` (None without positives) and `per_class`, a list
        of C with AP, precision, recall, f1 and the number of positives.
    """
    known = np.ones_like(truth) if known is None else known
    positives = (truth & known).sum(axis=0)
    said = (scores >= THRESHOLD) & known
    rows = precision_recall_f1((said & truth).sum(axis=0), said.sum(axis=0), positives)
    aps: list[float | None] = []
    for column in range(truth.shape[1]):
        keep = known[:, column]
        aps.append(average_precision(truth[keep, column], scores[keep, column]))
    defined = [ap for ap in aps if ap is not None]
    return {
        "mAP": float(np.mean(np.array(defined))) if defined else None,
        **macro(rows),
        "per_class": [
            {"AP": ap, **row, "images": int(count)}
            for ap, row, count in zip(aps, rows, positives, strict=True)
        ],
    }


def average_precision(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    """Area under the precision-recall steps, without interpolation; None without positives."""
    return average_precision_of(steps(truth, scores))


def recall_curve(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> list[float]:
    """Best precision at recall 0, 0.01, … 1 or more (101 values), for drawing."""
    return precision_levels(steps(truth, scores)) or []
