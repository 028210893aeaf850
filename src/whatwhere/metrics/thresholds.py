"""A detector at a threshold: precision, recall, F1, misses against false alarms.

Average precision looks at all thresholds at once; in use there is one. What is right and wrong
comes from COCO's matching (`pairing`), at any IoU; boxes that are neither do not count.

Sources: Dollar et al., Pedestrian Detection: An Evaluation of the State of the Art, PAMI 2012,
for the miss rate against false positives per image; F1 as for classifiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.classification import macro, precision_recall_f1
from whatwhere.metrics.curves import Steps, steps
from whatwhere.metrics.pairing import Pairs
from whatwhere.types import Cut, limit_of

REFERENCE_RATES = np.logspace(-2, 0, 9)
"""False positives per image at which the log-average miss rate looks."""

_LEAST_MISS = 1e-10


def ranking(pairs: Pairs, iou: float = 0.5, class_id: int | None = None) -> Steps:
    """What is said and what is right as the threshold falls, of one class or of all.

    Args:
        iou: one of the thresholds of `pairs`.

    Raises:
        UsageError: `pairs` were not made at this IoU.
    """
    level = _level(pairs, iou)
    keep = ~pairs.ignored[level]
    positives = len(pairs.true_class)
    if class_id is not None:
        keep &= pairs.class_id == class_id
        positives = int((pairs.true_class == class_id).sum())
    return steps(pairs.true[level][keep], pairs.score[keep], positives)


def _level(pairs: Pairs, iou: float) -> int:
    near = np.flatnonzero(np.isclose(pairs.ious, iou, rtol=0, atol=1e-9))
    if not len(near):
        have = ", ".join(f"{value:g}" for value in pairs.ious)
        raise UsageError(f"boxes were paired at IoU {have}, not {iou:g}: pair them at that, too")
    return int(near[0])


def at_threshold(curve: Steps, threshold: float) -> dict[str, Any]:
    """Precision, recall and F1 of the boxes of at least this score, and the counts behind them.

    Returns:
        `threshold`, `precision`, `recall`, `f1` (None without objects; precision 0 if nothing
        is said), `true`, `false` and `missed`.
    """
    said = int(np.searchsorted(-curve.threshold, -threshold, side="right"))
    hits, count = (int(curve.hits[said - 1]), int(curve.said[said - 1])) if said else (0, 0)
    row = precision_recall_f1(np.array([hits]), np.array([count]), np.array([curve.positives]))[0]
    counts = {"true": hits, "false": count - hits, "missed": curve.positives - hits}
    return {"threshold": float(threshold), **row, **counts}


def best_f1(curve: Steps) -> dict[str, Any] | None:
    """The threshold of the largest F1, as `at_threshold`; the highest of equal ones.

    None without objects or boxes.
    """
    if not curve.positives or not len(curve.threshold):
        return None
    f1 = 2 * curve.hits / (curve.said + curve.positives)
    return at_threshold(curve, float(curve.threshold[int(np.argmax(f1))]))


@dataclass(frozen=True, slots=True, eq=False)
class MissCurve:
    """Misses against false alarms as the threshold falls.

    Args:
        threshold: float64 (M,), distinct scores, falling.
        false_per_image: float64 (M,), wrong boxes a picture.
        miss_rate: float64 (M,), share of objects not found.
        log_average: geometric mean of the miss rate at `REFERENCE_RATES`; None without objects
            or pictures.
    """

    threshold: NDArray[np.float64]
    false_per_image: NDArray[np.float64]
    miss_rate: NDArray[np.float64]
    log_average: float | None


def miss_curve(curve: Steps, images: int) -> MissCurve:
    """Miss rate against false positives per image.

    At a rate that the boxes do not reach, the miss rate is that of the nearest lower rate; where
    even the best boxes have more false positives, it is 1.

    Args:
        images: number of pictures, with and without objects.
    """
    if not curve.positives or not images:
        nothing = np.zeros(0)
        return MissCurve(nothing, nothing, nothing, None)
    rate = (curve.said - curve.hits) / images
    miss = 1 - curve.hits / curve.positives
    reached = np.searchsorted(rate, REFERENCE_RATES, side="right")
    values = np.maximum(np.append(1.0, miss)[reached], _LEAST_MISS)
    average = float(np.exp(np.mean(np.log(values))))
    return MissCurve(curve.threshold, rate, miss, average)


def operating_report(
    names: Mapping[int, str],
    pairs: Pairs,
    images: int,
    *,
    iou: float = 0.5,
    threshold: float = 0.5,
) -> dict[str, Any]:
    """What a detector does at one threshold and where its best one is.

    Args:
        names: class name by class id; `pairs` hold no other classes.
        images: number of pictures.
        threshold: one for all classes, or a `types.Cut`.

    Returns:
        `all` (classes together), `macro` (means over classes that have objects) and
        `per_class`; each with `at` (`at_threshold`; precision, recall and F1 only for `macro`),
        `all` and `per_class` also with `best` (`best_f1`) and `log_average_miss_rate`.
    """
    per_class = {
        name: _row(ranking(pairs, iou, class_id), images, limit_of(threshold, name))
        for class_id, name in names.items()
    }
    together = _row(ranking(pairs, iou), images, threshold)
    if isinstance(threshold, Cut):
        together["at"] = _summed([row["at"] for row in per_class.values()])
    return {
        "iou": float(iou),
        "all": together,
        "macro": {"at": macro([row["at"] for row in per_class.values()])},
        "per_class": per_class,
    }


def _summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All classes together, each at its own threshold, as `at_threshold`; that itself is None."""
    true, false, missed = (sum(row[key] for row in rows) for key in ("true", "false", "missed"))
    counts = [np.array([count]) for count in (true, true + false, true + missed)]
    numbers = precision_recall_f1(*counts)[0]
    return {"threshold": None, **numbers, "true": true, "false": false, "missed": missed}


def _row(curve: Steps, images: int, threshold: float) -> dict[str, Any]:
    return {
        "at": at_threshold(curve, threshold),
        "best": best_f1(curve),
        "log_average_miss_rate": miss_curve(curve, images).log_average,
    }
