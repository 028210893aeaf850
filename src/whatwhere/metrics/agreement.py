"""Numbers that a confusion matrix gives: averages of every kind, kappa, Matthews' coefficient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def agreement(matrix: NDArray[np.int64]) -> dict[str, float | None]:
    """Numbers of single-label answers that go beyond accuracy and the macro averages.

    Args:
        matrix: int64 (C, C + 1), row the right class, column the predicted one, last column
            no answer.

    Returns:
        `balanced_accuracy`: mean recall over the classes that have pictures (Brodersen et al.,
        ICPR 2010); `precision_micro`, `recall_micro`, `f1_micro` over all answers;
        `precision_weighted`, `recall_weighted`, `f1_weighted` by pictures of a class; `kappa`
        (Cohen, 1960) and `mcc` (Matthews' coefficient for many classes, Gorodkin 2004), both in
        -1..1, where no answer counts as a class of its own. Undefined ones are None.
    """
    classes = len(matrix)
    values = matrix.astype(np.float64)
    truth, said = values.sum(axis=1), values.sum(axis=0)
    right = np.diagonal(values)
    total = float(truth.sum())
    if not total:
        names = ("precision", "recall", "f1")
        averages = [f"{name}_{kind}" for kind in ("micro", "weighted") for name in names]
        return dict.fromkeys(["balanced_accuracy", *averages, "kappa", "mcc"])
    real = truth > 0
    recall = right[real] / truth[real]
    named = said[:classes][real]
    precision = np.divide(right[real], named, out=np.zeros_like(named), where=named > 0)
    f1 = 2 * right[real] / (truth[real] + named)
    share = truth[real] / total
    return {
        "balanced_accuracy": float(recall.mean()),
        **micro(float(right.sum()), float(said[:classes].sum()), total),
        "precision_weighted": float(precision @ share),
        "recall_weighted": float(recall @ share),
        "f1_weighted": float(f1 @ share),
        "kappa": _kappa(float(right.sum()), np.append(truth, 0.0), said),
        "mcc": _mcc(float(right.sum()), np.append(truth, 0.0), said),
    }


def micro(right: float, said: float, positives: float) -> dict[str, float | None]:
    """Precision, recall and F1 of all answers together, from counts.

    Precision is 0 if nothing was said; all are None without positives.
    """
    if not positives:
        return dict.fromkeys(("precision_micro", "recall_micro", "f1_micro"))
    return {
        "precision_micro": right / said if said else 0.0,
        "recall_micro": right / positives,
        "f1_micro": 2 * right / (said + positives),
    }


def _kappa(right: float, truth: NDArray[Any], said: NDArray[Any]) -> float | None:
    """(agreement - chance) / (1 - chance); None if chance alone gives full agreement."""
    total = float(truth.sum())
    chance = float(truth @ said)
    if chance == total * total:
        return None
    return (right * total - chance) / (total * total - chance)


def _mcc(right: float, truth: NDArray[Any], said: NDArray[Any]) -> float | None:
    """Correlation of truth and answer; None if either is one and the same class everywhere."""
    total = float(truth.sum())
    spread = (total**2 - float(said @ said)) * (total**2 - float(truth @ truth))
    if spread <= 0:
        return None
    return float((right * total - float(truth @ said)) / np.sqrt(spread))
