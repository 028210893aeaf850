"""Typical box sizes of a set of boxes: k-means of widths and heights under IoU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 640
"""Box sizes are measured in pictures shrunk or enlarged to this long side, as models see them."""

_ROUNDS = 30
_MOST = 20_000

Sizes = NDArray[np.float64]


def size_iou(sizes: Sizes, anchors: Sizes) -> NDArray[np.float64]:
    """IoU of boxes laid on one corner: sizes (N, 2) with anchors (K, 2) gives (N, K)."""
    common = np.minimum(sizes[:, None, :], anchors[None, :, :]).prod(axis=2)
    union = sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None, :] - common
    iou: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return iou


def sample_sizes(sizes: Sizes) -> Sizes:
    """At most 20,000 of them, evenly spread: more change the centres by less than rounding."""
    if len(sizes) <= _MOST:
        return sizes
    return sizes[np.linspace(0, len(sizes) - 1, _MOST).astype(np.int64)]


def find_anchors(sizes: Sizes, count: int = 6) -> Sizes:
    """Centres of k-means with the distance 1 - IoU (Redmon and Farhadi, YOLO9000, section 2).

    Begins with even quantiles of the area, so that there is no chance in it.

    Args:
        sizes: float64 (N, 2), widths and heights.
        count: at most so many centres; fewer if there are fewer different sizes.

    Returns:
        float64 (K, 2), by area; (0, 2) without sizes.
    """
    different = np.unique(sizes, axis=0)
    if len(different) == 0:
        return np.zeros((0, 2))
    order = np.argsort(different.prod(axis=1), kind="stable")
    places = np.linspace(0, len(different) - 1, 2 * min(count, len(different)) + 1)[1::2]
    centres = different[order[places.round().astype(np.int64)]]
    if len(different) <= count:
        return different[order]
    before = None
    for _ in range(_ROUNDS):
        nearest = size_iou(sizes, centres).argmax(axis=1)
        if before is not None and (nearest == before).all():
            break
        before = nearest
        counts = np.bincount(nearest, minlength=len(centres))
        sums = [np.bincount(nearest, sizes[:, side], len(centres)) for side in (0, 1)]
        means = np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]
        # A centre that nothing is near to stays where it is.
        centres = np.where(counts[:, None] > 0, means, centres)
    return centres[np.argsort(centres.prod(axis=1), kind="stable")]


def fit(sizes: Sizes, anchors: Sizes) -> float | None:
    """Mean over the boxes of the IoU with the best anchor; None where there is nothing."""
    if len(sizes) == 0 or len(anchors) == 0:
        return None
    return float(size_iou(sizes, anchors).max(axis=1).mean())
