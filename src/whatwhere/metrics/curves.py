"""Curves of a ranking and the areas under them: ROC, precision over recall.

Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 2006; Davis & Goadrich,
The relationship between precision-recall and ROC curves, ICML 2006. Equal scores are one step:
no order is made up for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError

LEVELS = 101
"""Points of a curve for drawing: 0, 0.01, … 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """What is said, and how much of it is right, as the threshold falls.

    Args:
        threshold: float64 (M,), the distinct scores, best first.
        hits: float64 (M,), answers with that score or more that are right.
        said: float64 (M,), answers with that score or more.
        positives: everything that should be found; more than `hits[-1]` where an answer is
            not given at all (boxes).
    """

    threshold: NDArray[np.float64]
    hits: NDArray[np.float64]
    said: NDArray[np.float64]
    positives: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of what is said that is right, (M,)."""
        return self.hits / self.said

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the positives that is said, (M,); NaN without positives."""
        if not self.positives:
            return np.full(len(self.hits), np.nan)
        return self.hits / self.positives


def steps(
    true: NDArray[np.bool_], scores: NDArray[np.floating], positives: int | None = None
) -> Steps:
    """Counts after each distinct score.

    Args:
        true: bool (N,), whether each answer is right.
        scores: float (N,).
        positives: number of things to find; None: as many as are true.

    Raises:
        UsageError: the lengths differ, a score is not finite, or more are right than exist.
    """
    true, scores = np.asarray(true, dtype=bool), np.asarray(scores, dtype=np.float64)
    if true.shape != scores.shape or true.ndim != 1:
        raise UsageError(
            f"{true.shape} answers need scores of that shape, not {scores.shape}: give one a row"
        )
    found = int(true.sum())
    positives = found if positives is None else positives
    if positives < found:
        raise UsageError(f"{found} answers are right, of {positives}: count every truth once")
    if not len(scores):
        nothing = np.zeros(0)
        return Steps(nothing, nothing, nothing, positives)
    if not np.isfinite(scores).all():
        raise UsageError("scores must be finite numbers: remove NaN and infinite ones")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(true[order])[ends].astype(np.float64)
    return Steps(ranked[ends], hits, (ends + 1).astype(np.float64), positives)


def average_precision_of(counts: Steps) -> float | None:
    """Area under the precision-recall steps, uninterpolated; None without positives.

    sum of (recall_n - recall_{n-1}) * precision_n, as scikit-learn's `average_precision_score`.
    """
    if not counts.positives:
        return None
    return float(np.sum(np.diff(counts.recall, prepend=0.0) * counts.precision))


def roc_curve(
    counts: Steps,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """False positive rate, true positive rate and threshold, float64 (M + 1,) each.

    From (0, 0), with threshold infinity, to (1, 1). None unless there are positives and
    negatives. As scikit-learn's `roc_curve` with `drop_intermediate=False`.
    """
    if not len(counts.said) or not counts.positives:
        return None
    wrong = counts.said - counts.hits
    if not wrong[-1]:
        return None
    return (
        np.append(0.0, wrong / wrong[-1]),
        np.append(0.0, counts.recall),
        np.append(np.inf, counts.threshold),
    )


def roc_area(counts: Steps) -> float | None:
    """Area under the ROC curve by trapezoids; None unless there are positives and negatives.

    The chance that a positive scores higher than a negative, ties counted half.
    """
    curve = roc_curve(counts)
    if curve is None:
        return None
    false_rate, true_rate, _ = curve
    return float(np.sum(np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2))


def roc_levels(counts: Steps) -> list[float] | None:
    """True positive rate at false positive rate 0, 0.01, … 1 (101 values), for drawing."""
    curve = roc_curve(counts)
    if curve is None:
        return None
    at = np.linspace(0, 1, LEVELS)
    return [float(value) for value in np.interp(at, curve[0], curve[1])]


def precision_levels(counts: Steps) -> list[float] | None:
    """Best precision at recall 0, 0.01, … 1 or more (101 values), for drawing.

    0 where that recall is not reached; None without positives.
    """
    if not counts.positives or not len(counts.said):
        return None
    best = np.maximum.accumulate(counts.precision[::-1])[::-1]
    at = np.searchsorted(counts.recall, np.linspace(0, 1, LEVELS) - 1e-12, side="left")
    return [float(value) for value in np.append(best, 0.0)[np.minimum(at, len(best))]]


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of what is defined; None if nothing is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(np.array(defined, dtype=np.float64))) if defined else None
