"""How good a map of what an answer rests on is.

The pointing game: Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV 2018;
without its margin of 15 pixels, so that pictures of any size can be compared. Deletion and
insertion: Petsiuk et al., RISE, BMVC 2018, section 4.3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whatwhere.errors import UsageError
from whatwhere.metrics.definition import Metric
from whatwhere.types import Boxes

_POINTING = "Zhang et al., Top-down Neural Attention by Excitation Backprop, IJCV 2018"
_RISE = "Petsiuk et al., RISE: Randomized Input Sampling for Explanation, BMVC 2018"

EXPLAINED: tuple[Metric, ...] = (
    Metric("pointing", "Share of maps whose highest place lies in a box of the class.", _POINTING),
    Metric(
        "pointing_gain",
        "By how much that is more than of a place by chance.",
        _POINTING,
    ),
    Metric(
        "deletion",
        "Area under the score while places are hidden, those highest in the map first.",
        _RISE,
        smaller_is_better=True,
    ),
    Metric("deletion_gain", "By how much that is less than with a map made by chance.", _RISE),
    Metric(
        "insertion",
        "Area under the score while places of a blurred picture are shown, highest first.",
        _RISE,
    ),
    Metric("insertion_gain", "By how much that is more than with a map made by chance.", _RISE),
)
"""The numbers of `evaluation.explain_check`, with definition and source."""


def pointing_hit(values: NDArray[np.floating], boxes: Boxes) -> bool | None:
    """Whether the highest place of a map lies in one of the boxes.

    Args:
        values: (H, W).
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels of the map.

    Returns:
        None if there is no box. A map that is the same everywhere points at nothing: False.
    """
    if not len(boxes):
        return None
    if not values.size or values.max() == values.min():
        return False
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    middle = np.array([x + 0.5, y + 0.5])
    return bool(((boxes[:, :2] <= middle) & (middle < boxes[:, 2:])).all(axis=1).any())


def covered(boxes: Boxes, height: int, width: int) -> float:
    """Share of the pixels whose middle lies in one of the boxes: what chance alone would hit.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels.
    """
    if height < 1 or width < 1:
        raise UsageError(f"a map has at least one pixel, not {height}x{width}")
    inside = np.zeros((height, width), dtype=bool)
    for x1, y1, x2, y2 in np.ceil(boxes - 0.5).astype(np.int64).clip(0).tolist():
        inside[y1:y2, x1:x2] = True
    return float(inside.mean())


def removal_order(values: NDArray[np.floating], random: np.random.Generator) -> NDArray[np.int64]:
    """Places of a map from the highest to the lowest, int64 (H * W,); equal ones by chance."""
    flat = values.reshape(-1)
    return np.lexsort((random.random(flat.size), -flat)).astype(np.int64)


def area_under(scores: NDArray[np.floating]) -> float:
    """Area under scores at evenly spaced shares of the picture, 0 to 1, by trapezoids.

    Raises:
        UsageError: there are fewer than two.
    """
    if len(scores) < 2:
        raise UsageError(f"a curve needs at least two points, not {len(scores)}")
    return float(np.trapezoid(scores, dx=1 / (len(scores) - 1)))
