"""Scores of a classifier that gives each picture one class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.types import Prediction

_TOP = 5
NOTHING = -1
"""Class id of a rank that no prediction fills."""


def score_classification(
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: frozenset[str],
    curves: bool = False,
) -> dict[str, Any]:
    """Accuracy, top-5 and the macro averages; see `metrics.score`.

    Pictures of other classes are left out, and answers of other classes are passed over.
    """
    names = [name for name in data.names if name in classes]
    image, truth = right_classes(data, names)
    ranked = ranked_classes(predictions, names)
    result = classification_scores(truth, ranked[image], len(names))
    matrix: NDArray[np.int64] = result.pop("confusion")
    result["per_class"] = dict(zip(names, result["per_class"], strict=True))
    if curves:
        result["confusion"] = matrix.tolist()
    return result


def right_classes(
    data: Dataset, names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Picture and right class, as a place in `names`, of every label that counts; int64 (N,)."""
    index = {name: place for place, name in enumerate(names)}
    place_of = np.array([index.get(name, NOTHING) for name in data.names], dtype=np.int64)
    ignore = data.labels["ignore"].fill_null(False).to_numpy().astype(bool)
    truth = place_of[data.labels["class_id"].to_numpy().astype(np.int64)]
    keep = ~ignore & (truth != NOTHING)
    return data.labels["image"].to_numpy().astype(np.int64)[keep], truth[keep]


def ranked_classes(predictions: Sequence[Prediction], names: Sequence[str]) -> NDArray[np.int64]:
    """The best five classes of each prediction, int64 (N, 5), -1 where it names fewer."""
    index = {name: place for place, name in enumerate(names)}
    ranked = np.full((len(predictions), _TOP), NOTHING, dtype=np.int64)
    for row, prediction in enumerate(predictions):
        best = islice((index[n] for n in prediction.label_names if n in index), _TOP)
        for rank, place in enumerate(best):
            ranked[row, rank] = place
    return ranked


def classification_scores(
    truth: NDArray[np.int64], ranked: NDArray[np.int64], classes: int
) -> dict[str, Any]:
    """Scores from class ids.

    Args:
        truth: int64 (N,), the right class of each picture.
        ranked: int64 (N, k), the classes of each prediction, best first; -1 for none.
        classes: number of classes C.

    Returns:
        `accuracy`, `top5`, `precision`, `recall`, `f1` (None without pictures), `per_class`
        (a list of C), and `confusion`: int64 (C, C + 1), row the right class, column the
        predicted one, last column no answer.
    """
    if not len(truth):
        empty = {"precision": None, "recall": None, "f1": None, "images": 0}
        return {
            **dict.fromkeys(("accuracy", "top5", "precision", "recall", "f1")),
            "per_class": [dict(empty) for _ in range(classes)],
            "confusion": np.zeros((classes, classes + 1), dtype=np.int64),
        }
    first = np.where(ranked[:, 0] == NOTHING, classes, ranked[:, 0])
    flat = np.bincount(truth * (classes + 1) + first, minlength=classes * (classes + 1))
    matrix = flat.reshape(classes, classes + 1).astype(np.int64)
    right = np.diagonal(matrix).astype(np.float64)
    rows = precision_recall_f1(right, matrix[:, :classes].sum(axis=0), matrix.sum(axis=1))
    return {
        "accuracy": float(np.mean(ranked[:, 0] == truth)),
        "top5": float(np.mean((ranked[:, :_TOP] == truth[:, None]).any(axis=1))),
        **macro(rows),
        "per_class": [
            {**row, "images": int(count)}
            for row, count in zip(rows, matrix.sum(axis=1), strict=True)
        ],
        "confusion": matrix,
    }


def precision_recall_f1(
    right: NDArray[Any], predicted: NDArray[Any], positives: NDArray[Any]
) -> list[dict[str, float | None]]:
    """Per class, from counts (C,); all None for a class without positives.

    A class that is never predicted has precision 0, as in scikit-learn's `zero_division=0`.
    """
    rows: list[dict[str, float | None]] = []
    for hit, said, real in zip(right, predicted, positives, strict=True):
        if not real:
            rows.append({"precision": None, "recall": None, "f1": None})
            continue
        rows.append(
            {
                "precision": float(hit / said) if said else 0.0,
                "recall": float(hit / real),
                "f1": float(2 * hit / (said + real)),
            }
        )
    return rows


def macro(rows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Unweighted means of precision, recall and f1 over the classes that have positives."""
    means: dict[str, float | None] = {}
    for key in ("precision", "recall", "f1"):
        values = [row[key] for row in rows if row[key] is not None]
        means[key] = float(np.mean(np.array(values, dtype=np.float64))) if values else None
    return means
