"""Multi-label numbers of each picture's whole answer: sets of labels, and rankings of them.

Tsoumakas, Katakis & Vlahavas, Mining Multi-label Data, 2010; definitions as in scikit-learn.
Pairs of picture and class that nobody looked at count nowhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def set_scores(
    truth: NDArray[np.bool_], said: NDArray[np.bool_], known: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Numbers of sets of labels.

    Args:
        truth, said, known: bool (N, C).

    Returns:
        `subset_accuracy`: share of pictures whose known labels are all right; `hamming_loss`:
        share of known pairs that are wrong, smaller is better; `f1_samples`: mean over pictures
        of the F1 of their sets. Pictures of which nothing is known are left out; for
        `f1_samples` also those without labels, for which it is undefined. None where nothing
        is left.
    """
    wrong = (truth != said) & known
    looked_at = known.any(axis=1)
    hits = (truth & said & known).sum(axis=1)
    real = (truth & known).sum(axis=1)
    shown = real > 0
    f1 = 2 * hits[shown] / (real[shown] + (said & known).sum(axis=1)[shown])
    return {
        "subset_accuracy": _mean(~wrong.any(axis=1)[looked_at]),
        "hamming_loss": float(wrong.sum() / known.sum()) if known.any() else None,
        "f1_samples": _mean(f1),
    }


def ranking_scores(
    truth: NDArray[np.bool_], scores: NDArray[np.floating], known: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Numbers of the order in which a picture's classes come.

    Args:
        truth, known: bool (N, C).
        scores: float (N, C).

    Returns:
        `coverage_error`: how far down the ranking all labels of a picture are found, in
        classes, 1 or more; `ranking_loss`: share of pairs of a shown and an absent class that
        are in the wrong order or tied, smaller is better; `lrap`: label ranking average
        precision. Each is a mean over the pictures for which it is defined: those with a label,
        and for `ranking_loss` with an absent class too. (scikit-learn counts the others as 0,
        0 and 1.) None where no picture is left.
    """
    truth = truth & known
    pictures, classes = truth.shape
    # Classes that are not known come last, after every real score, and are not labels.
    values = np.where(known, scores.astype(np.float64), -np.inf)
    order = np.argsort(-values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    hit = np.take_along_axis(truth, order, axis=1)
    # Equal scores share the last place of their group: the cautious reading of a tie.
    places = np.arange(classes)
    last = np.ones((pictures, classes), dtype=bool)
    last[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    end = np.minimum.accumulate(np.where(last, places, classes)[:, ::-1], axis=1)[:, ::-1]
    hits_at = np.take_along_axis(np.cumsum(hit, axis=1), end, axis=1)
    positives = truth.sum(axis=1)
    negatives = known.sum(axis=1) - positives
    labelled = positives > 0
    mixed = labelled & (negatives > 0)
    depth = np.where(hit, end + 1, 0).max(axis=1, initial=0)
    precision = np.where(hit, hits_at / (end + 1), 0.0).sum(axis=1)
    above = np.where(hit, end + 1 - hits_at, 0).sum(axis=1)
    return {
        "coverage_error": _mean(depth[labelled]),
        "ranking_loss": _mean(above[mixed] / (positives[mixed] * negatives[mixed])),
        "lrap": _mean(precision[labelled] / positives[labelled]),
    }


def _mean(values: NDArray[np.generic]) -> float | None:
    return float(np.mean(values.astype(np.float64))) if len(values) else None
