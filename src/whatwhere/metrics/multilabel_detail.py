"""Everything beyond the standard numbers of a multi-label classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.data import Dataset
from whatwhere.metrics.agreement import micro
from whatwhere.metrics.classification import macro, precision_recall_f1
from whatwhere.metrics.classification_detail import MANY_PAIRS, drawn
from whatwhere.metrics.curves import (
    Steps,
    average_precision_of,
    mean_of,
    precision_levels,
    roc_area,
    roc_levels,
    steps,
)
from whatwhere.metrics.folds import folds
from whatwhere.metrics.multilabel import THRESHOLD, class_table, score_table
from whatwhere.metrics.operating import between
from whatwhere.metrics.reliability import (
    binary_brier_score,
    binary_log_loss,
    checked_scores,
    class_errors,
    reliability,
)
from whatwhere.metrics.setwise import ranking_scores, set_scores
from whatwhere.types import Prediction

_Table = NDArray[np.bool_]


def multilabel_detail(
    data: Dataset,
    predictions: Sequence[Prediction],
    *,
    classes: frozenset[str] | None = None,
    thresholds: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Numbers and curves of multi-label answers; arguments as in `metrics.score`.

    Args:
        thresholds: score from which each class counts, by name; 0.5 where none is given.

    Returns:
        See `multilabel_numbers`, with class names as the keys of `per_class`.
    """
    columns = [p for p, name in enumerate(data.names) if classes is None or name in classes]
    names = [data.names[place] for place in columns]
    truth, known = (table[:, columns] for table in class_table(data))
    own = thresholds or {}
    limits = np.array([own.get(name, THRESHOLD) for name in names], dtype=np.float64)
    return multilabel_numbers(
        names, truth, score_table(predictions, names), known, thresholds=limits
    )


def multilabel_numbers(
    names: Sequence[str],
    truth: _Table,
    scores: NDArray[np.float64],
    known: _Table | None = None,
    *,
    thresholds: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Numbers and curves from tables.

    Args:
        names: the classes, C of them.
        truth: bool (N, C).
        scores: float64 (N, C) in 0..1; 0 where a class is not named.
        known: bool (N, C); pairs that are False count nowhere. None: all are known.
        thresholds: float64 (C,), score from which a class counts; None for 0.5.
        seed: of the folds of `f1_tuned`.

    Returns:
        - `AP_micro`, `AP_weighted` (by positives), `roc_auc`, `roc_auc_micro`.
        - micro and weighted `precision`, `recall`, `f1` at the thresholds, and the numbers of
          `set_scores` and `ranking_scores`.
        - `f1_best`: macro F1 with the best threshold of each class, chosen on these pictures,
          so that it is too good; `f1_tuned`: the same with thresholds chosen on other pictures
          (5 folds), which is what tuning can be expected to give.
        - `log_loss`, `brier`, `ece`, `ece_adaptive`: of all known pairs; `ece_classwise`: mean
          over the classes with positives.
        - `per_class`: AP, roc_auc, precision, recall, f1, f1_best, threshold_best, ece,
          images (positives), known.
        - `curves`, `reliability`: as in `classification_numbers`.
        - `pairs`: known pairs; `notes`: sentences.
    """
    known = np.ones_like(truth) if known is None else known
    truth, scores = truth & known, checked_scores(scores)
    limits = np.full(len(names), THRESHOLD) if thresholds is None else thresholds
    said = (scores >= limits) & known
    hits, answers, positives = (truth & said).sum(axis=0), said.sum(axis=0), truth.sum(axis=0)
    per_class, curves = _each_class(names, truth, scores, known)
    for row, counts in zip(
        per_class.values(), precision_recall_f1(hits, answers, positives), strict=True
    ):
        row.update(counts)
    even = reliability(scores[known], truth[known])
    adaptive = reliability(scores[known], truth[known], adaptive=True)
    notes = []
    areas: dict[str, float | None] = {"AP_micro": None, "roc_auc_micro": None}
    if known.sum() > MANY_PAIRS:
        notes.append(f"areas over all classes together are left out: {known.sum()} pairs")
    else:
        together = steps(truth[known], scores[known])
        areas = {"AP_micro": average_precision_of(together), "roc_auc_micro": roc_area(together)}
    tuned = _tuned(truth, scores, known, limits, seed)
    rows = list(per_class.values())
    return {
        **areas,
        "AP_weighted": _weighted([row["AP"] for row in rows], positives),
        "roc_auc": mean_of(row["roc_auc"] for row in rows),
        **micro(float(hits.sum()), float(answers.sum()), float(positives.sum())),
        **{
            f"{key}_weighted": _weighted([row[key] for row in rows], positives)
            for key in ("precision", "recall", "f1")
        },
        **set_scores(truth, said, known),
        **ranking_scores(truth, scores, known),
        "f1_best": mean_of(row["f1_best"] for row in rows),
        "f1_tuned": tuned,
        "log_loss": binary_log_loss(scores[known], truth[known]),
        "brier": binary_brier_score(scores[known], truth[known]),
        "ece": even.ece,
        "ece_adaptive": adaptive.ece,
        "ece_classwise": mean_of(row["ece"] for row in rows if row["images"]),
        "per_class": per_class,
        "curves": curves,
        "reliability": {"bins": even.to_dict(), "adaptive": adaptive.to_dict()},
        "pairs": int(known.sum()),
        "notes": notes,
    }


def best_threshold(
    true: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[float, float] | None:
    """The threshold of the largest F1 and that F1, the higher one of equals.

    None without positives.
    """
    return _best(steps(true, scores))


def _best(counts: Steps) -> tuple[float, float] | None:
    if not counts.positives:
        return None
    f1 = 2 * counts.hits / (counts.said + counts.positives)
    place = int(f1.argmax())
    return float(between(counts.threshold)[place]), float(f1[place])


def _each_class(
    names: Sequence[str], truth: _Table, scores: NDArray[np.float64], known: _Table
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    roc: dict[str, list[float]] = {}
    recall: dict[str, list[float]] = {}
    errors = class_errors(scores, truth, known)
    # Columns are read one by one.
    truth, known = np.asfortranarray(truth), np.asfortranarray(known)
    scores = np.asfortranarray(scores)
    for column, name in enumerate(names):
        keep = known[:, column]
        true, values = truth[keep, column], scores[keep, column]
        counts = steps(true, values)
        best = _best(counts)
        rows[name] = {
            "AP": average_precision_of(counts),
            "roc_auc": roc_area(counts),
            "f1_best": None if best is None else best[1],
            "threshold_best": None if best is None else best[0],
            "ece": errors[column],
            "images": int(true.sum()),
            "known": int(keep.sum()),
        }
        levels, precision = roc_levels(counts), precision_levels(counts)
        if levels is not None:
            roc[name] = levels
        if precision is not None:
            recall[name] = precision
    return rows, {
        "roc": drawn("false positive rate", "true positive rate", roc),
        "precision_recall": drawn("recall", "precision", recall),
    }


def _tuned(
    truth: _Table,
    scores: NDArray[np.float64],
    known: _Table,
    limits: NDArray[np.float64],
    seed: int,
) -> float | None:
    """Macro F1 with thresholds chosen on other pictures; None with fewer than 2 pictures."""
    if len(truth) < 2:
        return None
    said = np.zeros_like(truth)
    truth, known = np.asfortranarray(truth), np.asfortranarray(known)
    scores = np.asfortranarray(scores)
    for fit, judge in folds(np.arange(len(truth)), seed=seed):
        chosen = limits.copy()
        for column in range(truth.shape[1]):
            rows = fit & known[:, column]
            best = best_threshold(truth[rows, column], scores[rows, column])
            # Without positives there is nothing to choose by: the given threshold stays.
            chosen[column] = limits[column] if best is None else best[0]
        said[judge] = (scores[judge] >= chosen) & known[judge]
    counts = precision_recall_f1((said & truth).sum(0), said.sum(0), truth.sum(0))
    return macro(counts)["f1"]


def _weighted(values: Sequence[float | None], weights: NDArray[np.int64]) -> float | None:
    """Mean of what is defined, by weight; None if nothing is."""
    pairs = [(v, int(w)) for v, w in zip(values, weights, strict=True) if v is not None and w]
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None
