"""How tightly found boxes fit: the distribution of the IoU of matched boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatwhere.metrics.coco import TrueBoxes
from whatwhere.metrics.pairing import AREAS, Pairs
from whatwhere.types import limit_of

BINS = np.linspace(0.5, 1.0, 11)
"""Edges of the histogram; the last bin holds IoU 1, too."""

SIZES = ("small", "medium", "large")


def iou_distribution(
    names: Mapping[int, str], truth: TrueBoxes, pairs: Pairs, *, threshold: float = 0.0
) -> dict[str, Any]:
    """IoU of each right box with its object, from the first IoU threshold of `pairs` on.

    Args:
        names: class name by class id.
        truth: the labelled boxes that `pairs` were made from.
        pairs: made at 0.5 or less; see `pairing.pair_boxes`.
        threshold: boxes of a lower score do not count; a `types.Cut` for each class's own.

    Returns:
        `bins` (11 edges), `all`, `per_class` and `per_size` (COCO's small, medium, large, by the
        area of the object), each with `count`, `mean`, `median` (None without matches) and
        `histogram` (10 counts).
    """
    least = np.full(len(pairs.score), float(threshold))
    for class_id, name in names.items():
        least[pairs.class_id == class_id] = limit_of(threshold, name)
    matched = pairs.true[0] & (pairs.score >= least)
    iou, class_id = pairs.iou[0][matched], pairs.class_id[matched]
    area = truth.area[pairs.partner[0][matched]]
    limits = [AREAS[size][1] for size in SIZES[:-1]]
    # An area on a limit belongs to both sides there; here each object is in one size.
    size = np.searchsorted(limits, area, side="left")
    return {
        "bins": BINS.tolist(),
        "all": _summary(iou),
        "per_class": {name: _summary(iou[class_id == one]) for one, name in names.items()},
        "per_size": {name: _summary(iou[size == one]) for one, name in enumerate(SIZES)},
    }


def _summary(iou: NDArray[np.float64]) -> dict[str, Any]:
    counts = np.histogram(np.minimum(iou, 1.0), bins=BINS)[0]
    return {
        "count": len(iou),
        "mean": float(iou.mean()) if len(iou) else None,
        "median": float(np.median(iou)) if len(iou) else None,
        "histogram": counts.tolist(),
    }
