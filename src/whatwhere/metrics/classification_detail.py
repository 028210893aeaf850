"""Everything beyond the standard numbers of a single-label classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.agreement import agreement
from whatwhere.metrics.answers import ClassAnswers, class_answers
from whatwhere.metrics.classification import NOTHING
from whatwhere.metrics.curves import (
    average_precision_of,
    mean_of,
    precision_levels,
    roc_area,
    roc_levels,
    steps,
)
from whatwhere.metrics.reliability import brier_score, class_errors, log_loss, reliability
from whatwhere.types import Prediction

MANY_PAIRS = 20_000_000
"""Pairs of picture and class up to which areas over all of them are computed: 1 GB."""


def classification_detail(
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Numbers and curves of single-label answers; arguments as in `metrics.score`.

    Returns:
        The numbers of `classification_numbers`, by name, and `notes`: sentences about what
        the predictions do not allow to be computed.

    Raises:
        DataError: a score is negative or not finite.
    """
    return classification_numbers(class_answers(data, predictions, classes))


def classification_numbers(answers: ClassAnswers) -> dict[str, Any]:
    """Numbers and curves from a table of answers.

    Returns:
        - `balanced_accuracy`, micro and weighted `precision`, `recall`, `f1`, `kappa`, `mcc`:
          see `agreement`.
        - `roc_auc`, `roc_auc_micro`, `AP_macro`, `AP_micro`: one class against the rest.
        - `log_loss`, `brier`: None unless every prediction names every class.
        - `ece`, `ece_adaptive`, `mce`: of the first class's score; `ece_classwise`: mean over
          classes of the error of each class's score (Kull et al., NeurIPS 2019).
        - `top_k`: share right within the best k, k = 1 … C.
        - `per_class`: rows by class name with `AP`, `roc_auc`, `images`, `predicted`.
        - `curves`: `roc` and `precision_recall`, each with `x`, `y`, `all classes` (mean) and
          `per_class`, 101 values each.
        - `reliability`: diagrams of equal width (`bins`) and of equal count (`adaptive`).
        - `images`, `answered`, `complete`: pictures, those with an answer, those whose answer
          names every class. `notes`: sentences.
    """
    names, total = answers.names, len(answers.truth)
    answered, complete = int(answers.answered.sum()), int(answers.complete.sum())
    notes = []
    if answered < total:
        notes.append(
            f"{total - answered} of {total} pictures have no answer: wrong in every count, left"
            " out of log loss, Brier score and calibration"
        )
    if complete < answered:
        notes.append(
            f"{answered - complete} of {answered} answers do not name every class: log loss,"
            " Brier score and class-wise calibration are undefined, and areas take the classes"
            " that are not named as tied in last place; predict with every class to have them"
        )
    asked = answers.only(answers.answered)
    whole = bool(answered) and complete == answered
    even = reliability(_capped(asked.confidence), asked.right)
    adaptive = reliability(_capped(asked.confidence), asked.right, adaptive=True)
    ranks = _one_against_rest(answers)
    if ranks.pop("too many"):
        notes.append(f"areas over all classes together are left out: {total} x {len(names)} pairs")
    return {
        **agreement(_confusion(answers)),
        **{name: ranks[name] for name in ("roc_auc", "roc_auc_micro", "AP_macro", "AP_micro")},
        "log_loss": log_loss(asked.scores, asked.truth) if whole else None,
        "brier": brier_score(asked.scores, asked.truth) if whole else None,
        "ece": even.ece,
        "ece_adaptive": adaptive.ece,
        "mce": even.mce,
        "ece_classwise": _classwise(asked) if whole else None,
        "top_k": top_k(answers.rank, len(names)),
        "per_class": ranks["per_class"],
        "curves": ranks["curves"],
        "reliability": {"bins": even.to_dict(), "adaptive": adaptive.to_dict()},
        "images": total,
        "answered": answered,
        "complete": complete,
        "notes": notes,
    }


def top_k(rank: NDArray[np.int64], most: int) -> list[float] | None:
    """Share of pictures whose right class is among the best k, for k = 1 … `most`.

    Args:
        rank: int64 (N,), place of the right class, 0 is best; -1 if it is not named.
        most: largest k.

    Returns:
        `most` values, or None without pictures.
    """
    if not len(rank):
        return None
    named = rank[(rank >= 0) & (rank < most)]
    return [float(v) for v in np.cumsum(np.bincount(named, minlength=most)) / len(rank)]


def _confusion(answers: ClassAnswers) -> NDArray[np.int64]:
    classes = len(answers.names)
    first = np.where(answers.first == NOTHING, classes, answers.first)
    flat = np.bincount(answers.truth * (classes + 1) + first, minlength=classes * (classes + 1))
    return flat.reshape(classes, classes + 1).astype(np.int64)


def _capped(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    # Rounding to six digits or float32 may put a sure answer a little above 1.
    return np.where((confidence > 1) & (confidence < 1 + 1e-5), 1.0, confidence)


def _classwise(answers: ClassAnswers) -> float | None:
    true = _one_hot(answers)
    errors = class_errors(_capped(answers.scores), true, np.ones_like(true))
    real = np.asarray(true.any(axis=0))
    return mean_of(error for error, shown in zip(errors, real, strict=True) if shown)


def _one_hot(answers: ClassAnswers) -> NDArray[np.bool_]:
    true = np.zeros(answers.scores.shape, dtype=bool)
    true[np.arange(len(answers.truth)), answers.truth] = True
    return true


def _one_against_rest(answers: ClassAnswers) -> dict[str, Any]:
    """Areas and curves of each class against all others, and of all pairs together."""
    rows: dict[str, dict[str, float | None]] = {}
    roc: dict[str, list[float]] = {}
    recall: dict[str, list[float]] = {}
    for place, name in enumerate(answers.names):
        true = answers.truth == place
        counts = steps(true, answers.scores[:, place])
        area, levels, best = roc_area(counts), roc_levels(counts), precision_levels(counts)
        rows[name] = {
            "AP": average_precision_of(counts),
            "roc_auc": area,
            "images": int(true.sum()),
            "predicted": int((answers.first == place).sum()),
        }
        if levels is not None:
            roc[name] = levels
        if best is not None:
            recall[name] = best
    pairs = answers.scores.size
    together = None
    if 0 < pairs <= MANY_PAIRS:
        together = steps(_one_hot(answers).ravel(), answers.scores.ravel())
    return {
        "roc_auc": mean_of(row["roc_auc"] for row in rows.values()),
        "roc_auc_micro": None if together is None else roc_area(together),
        "AP_macro": mean_of(row["AP"] for row in rows.values()),
        "AP_micro": None if together is None else average_precision_of(together),
        "too many": pairs > MANY_PAIRS,
        "per_class": rows,
        "curves": {
            "roc": drawn("false positive rate", "true positive rate", roc),
            "precision_recall": drawn("recall", "precision", recall),
        },
    }


def drawn(x: str, y: str, per_class: dict[str, list[float]]) -> dict[str, Any]:
    """Curves in the form that reports draw: 101 values a class, and their mean."""
    mean = np.mean(list(per_class.values()), axis=0).tolist() if per_class else None
    return {"x": x, "y": y, "all classes": mean, "per_class": per_class}
