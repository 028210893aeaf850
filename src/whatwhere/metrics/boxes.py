"""Labelled and predicted boxes of many pictures, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class TrueBoxes:
    """Labelled boxes of a data set.

    Args:
        image: int64 (N,), id of the picture of each box.
        class_id: int64 (N,).
        xywh: float64 (N, 4), left, top, width, height in pixels.
        area: float64 (N,), square pixels; decides small, medium or large.
        ignore: bool (N,); such a box is COCO's crowd: never a miss, and boxes found
            inside it are never false positives.
    """

    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    xywh: NDArray[np.float64]
    area: NDArray[np.float64]
    ignore: NDArray[np.bool_]

    def only(self, keep: NDArray[np.bool_]) -> TrueBoxes:
        """The rows that `keep`, bool (N,), says."""
        if keep.all():
            return self
        image, class_id = self.image[keep], self.class_id[keep]
        return TrueBoxes(image, class_id, self.xywh[keep], self.area[keep], self.ignore[keep])


@dataclass(frozen=True, slots=True, eq=False)
class FoundBoxes:
    """Predicted boxes; image, class_id and xywh as in `TrueBoxes`, score float64 (N,)."""

    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    xywh: NDArray[np.float64]
    score: NDArray[np.float64]

    def only(self, keep: NDArray[np.bool_]) -> FoundBoxes:
        """The rows that `keep`, bool (N,), says."""
        if keep.all():
            return self
        image, class_id = self.image[keep], self.class_id[keep]
        return FoundBoxes(image, class_id, self.xywh[keep], self.score[keep])
