"""Do scores mean what they say? Calibration error, reliability diagrams, log loss, Brier score.

A score is calibrated if, of the answers given with it, that share is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError

BINS = 15
"""As in Guo et al., On Calibration of Modern Neural Networks, ICML 2017."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """A reliability diagram, and the errors read off it.

    Args:
        edges: B + 1 borders of the bins; a bin holds scores above its left and up to its right.
        count: answers in each bin.
        confidence: mean score in each bin; None where it is empty.
        accuracy: share of answers in each bin that are right; None where it is empty.
        ece: expected calibration error, mean of |accuracy - confidence| weighted by count.
        mce: the largest such gap.
        rmsce: root of the weighted mean of squared gaps. All three None without answers.
    """

    edges: list[float]
    count: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]
    ece: float | None
    mce: float | None
    rmsce: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def reliability(
    scores: NDArray[np.floating],
    true: NDArray[np.bool_],
    *,
    bins: int = BINS,
    adaptive: bool = False,
) -> Reliability:
    """Reliability of scores (Guo et al., ICML 2017).

    The error is never negative, so few answers raise it: with n answers a perfectly calibrated
    model shows about sqrt(bins / n) / 3.

    Args:
        scores: float (N,) in 0..1: of the best class, or of one class that may be present.
        true: bool (N,), whether each answer is right, or the class present.
        bins: number of bins.
        adaptive: bins of equal count in place of equal width (Nguyen & O'Connor, EMNLP 2015);
            equal scores stay in one bin, so there may be fewer bins.

    Raises:
        UsageError: a score lies outside 0..1 or is not finite, or there is no bin.
    """
    scores, true = checked_scores(scores), np.asarray(true, dtype=bool)
    if bins < 1:
        raise UsageError(f"bins must be at least 1, not {bins}")
    if true.shape != scores.shape:
        raise UsageError(f"{len(scores)} scores need as many truths, not {true.shape}")
    edges = np.linspace(0, 1, bins + 1)
    if adaptive and len(scores):
        last = np.ceil(np.arange(1, bins) * len(scores) / bins).astype(np.int64) - 1
        inner = np.unique(np.sort(scores)[np.maximum(last, 0)])
        edges = np.concatenate([[0.0], inner[(inner > 0) & (inner < 1)], [1.0]])
    place = np.clip(np.searchsorted(edges, scores, side="left") - 1, 0, len(edges) - 2)
    cells = len(edges) - 1
    count = np.bincount(place, minlength=cells)
    filled = count > 0
    weight = count[filled] / max(len(scores), 1)
    confidence = np.bincount(place, scores, cells)[filled] / count[filled]
    accuracy = np.bincount(place, true, cells)[filled] / count[filled]
    gap = np.abs(accuracy - confidence)
    some = len(scores) > 0
    return Reliability(
        [float(edge) for edge in edges],
        [int(number) for number in count],
        _spread(confidence, filled),
        _spread(accuracy, filled),
        float(gap @ weight) if some else None,
        float(gap.max()) if some else None,
        float(np.sqrt(gap**2 @ weight)) if some else None,
    )


def _spread(values: NDArray[np.float64], filled: NDArray[np.bool_]) -> list[float | None]:
    places = iter(values.tolist())
    return [next(places) if there else None for there in filled]


def class_errors(
    scores: NDArray[np.floating], true: NDArray[np.bool_], known: NDArray[np.bool_]
) -> list[float | None]:
    """The `ece` of each class's scores (15 bins of equal width), all classes at once.

    Args:
        scores: float (N, C) in 0..1.
        true, known: bool (N, C); pairs that are not known are left out.

    Returns:
        C errors; None for a class of which nothing is known.
    """
    values, classes = checked_scores(scores), scores.shape[1]
    column = np.broadcast_to(np.arange(classes), values.shape)[known]
    inside = values[known]
    edges = np.linspace(0, 1, BINS + 1)
    cell = column * BINS + np.clip(np.searchsorted(edges, inside) - 1, 0, BINS - 1)
    size = classes * BINS
    gap = np.abs(np.bincount(cell, true[known], size) - np.bincount(cell, inside, size))
    total = known.sum(axis=0)
    return [
        float(error / count) if count else None
        for error, count in zip(gap.reshape(classes, BINS).sum(axis=1), total, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class DetectionReliability:
    """Calibration error over score and place (Küppers et al., CVPR Workshops 2020).

    Args:
        d_ece: weighted mean of |precision - confidence| over the cells that count; None if no
            cell does.
        cells: how many cells count.
        boxes: boxes in those cells.
        left_out: boxes in cells with too few of them.
    """

    d_ece: float | None
    cells: int
    boxes: int
    left_out: int


def detection_reliability(
    scores: NDArray[np.floating],
    true: NDArray[np.bool_],
    places: NDArray[np.floating] | None = None,
    *,
    bins: Sequence[int] = (20,),
    minimum: int = 8,
) -> DetectionReliability:
    """D-ECE: whether a box's score is right wherever and however large the box is.

    Args:
        scores: float (N,) in 0..1.
        true: bool (N,), whether the box found an object. Leave out boxes that a protocol
            ignores.
        places: float (N, d), more dimensions in 0..1, such as centre x, centre y, width and
            height as shares of the picture; None for the score alone.
        bins: number of bins of the score and of each further dimension, d + 1 numbers. The
            paper uses (20,) for the score alone and few bins a dimension beyond.
        minimum: cells with fewer boxes are left out, as in the paper.

    Raises:
        UsageError: a value lies outside 0..1, or `bins` has another length.
    """
    axes = [checked_scores(scores)]
    if places is not None:
        axes += list(checked_scores(places, "places").T)
    if len(bins) != len(axes):
        raise UsageError(f"{len(axes)} dimensions need {len(axes)} numbers of bins, not {bins}")
    cell = np.zeros(len(axes[0]), dtype=np.int64)
    for values, number in zip(axes, bins, strict=True):
        cell = cell * number + np.clip(np.ceil(values * number).astype(np.int64) - 1, 0, number - 1)
    _, place, count = np.unique(cell, return_inverse=True, return_counts=True)
    wide = count >= minimum
    kept = int(count[wide].sum())
    if not kept:
        return DetectionReliability(None, 0, 0, len(cell))
    gap = np.abs(np.bincount(place, np.asarray(true, bool)) - np.bincount(place, axes[0]))
    return DetectionReliability(
        float(gap[wide].sum() / kept), int(wide.sum()), kept, len(cell) - kept
    )


def log_loss(probabilities: NDArray[np.floating], truth: NDArray[np.int64]) -> float | None:
    """Mean of -log of the right class's probability, in nats; None without pictures.

    Probabilities are kept 2.2e-16 away from 0 and 1, as scikit-learn does.

    Args:
        probabilities: float (N, C), rows that sum to 1.
        truth: int64 (N,).
    """
    if not len(truth):
        return None
    right = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(_inside(right)).mean())


def brier_score(probabilities: NDArray[np.floating], truth: NDArray[np.int64]) -> float | None:
    """Mean squared distance from the truth, summed over classes: 0 best, 2 worst.

    Brier, Monthly Weather Review 1950. None without pictures.
    """
    if not len(truth):
        return None
    rows = np.arange(len(truth))
    square = (probabilities.astype(np.float64) ** 2).sum(axis=1)
    right = probabilities[rows, truth].astype(np.float64)
    return float(np.mean(square - right**2 + (1 - right) ** 2))


def binary_log_loss(scores: NDArray[np.floating], true: NDArray[np.bool_]) -> float | None:
    """Mean of -log of the probability given to what is so, in nats; both (N,)."""
    if not len(scores):
        return None
    inside = _inside(np.asarray(scores, dtype=np.float64))
    return float(-np.log(np.where(true, inside, 1 - inside)).mean())


def binary_brier_score(scores: NDArray[np.floating], true: NDArray[np.bool_]) -> float | None:
    """Mean squared distance of a score from 1 where true and 0 where not; both (N,)."""
    if not len(scores):
        return None
    return float(np.mean((np.asarray(scores, dtype=np.float64) - true) ** 2))


def checked_scores(scores: NDArray[np.floating], what: str = "scores") -> NDArray[np.float64]:
    """The same as float64.

    Raises:
        UsageError: a value lies outside 0..1 or is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise UsageError(
            f"{what} go from {values.min():.3g} to {values.max():.3g}: give probabilities in 0..1"
        )
    return values


def _inside(values: NDArray[np.float64]) -> NDArray[np.float64]:
    eps = np.finfo(np.float64).eps
    return np.clip(values, eps, 1 - eps)
