"""What four numbers of a box mean, told from the boxes themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_ORDERS: dict[str, Callable[[Numbers], Numbers]] = {
    "xyxy": lambda v: v,
    "xywh": lambda v: np.concatenate([v[:, :2], v[:, :2] + v[:, 2:]], axis=1),
    "cxcywh": lambda v: np.concatenate([v[:, :2] - v[:, 2:] / 2, v[:, :2] + v[:, 2:] / 2], axis=1),
}

OPTIONS = {
    "xyxy": "left, top, right, bottom in pixels",
    "xywh": "left, top, width, height in pixels",
    "cxcywh": "centre, width, height in pixels",
    "rel-xyxy": "left, top, right, bottom as fractions of the picture",
    "rel-xywh": "left, top, width, height as fractions of the picture",
    "rel-cxcywh": "centre, width, height as fractions of the picture",
}
"""Every meaning by its name."""

_FITS, _FAILS = 0.98, 0.9
# Predicted boxes reach over the edge a little.
_MARGIN = 0.05


def corners(values: Numbers, sizes: Numbers, option: str) -> Numbers:
    """x1 y1 x2 y2 in pixels.

    Args:
        values: float64 (N, 4) as written.
        sizes: float64 (N, 2), width and height of each box's picture; NaN if not known.
        option: one of `OPTIONS`.
    """
    boxes = _ORDERS[option.removeprefix("rel-")](values)
    return boxes * np.tile(sizes, 2) if option.startswith("rel-") else boxes


def are_fractions(values: Numbers) -> bool:
    """Whether nearly all numbers are those of fractions of a picture."""
    return bool(values.size) and float(np.mean(np.abs(values) <= 1 + _MARGIN)) >= _FITS


def shares(values: Numbers, sizes: Numbers) -> dict[str, float]:
    """How many of the boxes each meaning makes sense of: not inverted, and in the picture."""
    relative = are_fractions(values)
    limits = np.ones_like(sizes) if relative else np.where(np.isnan(sizes), np.inf, sizes)
    found = {}
    for option in OPTIONS:
        if option.startswith("rel-") != relative:
            continue
        boxes = _ORDERS[option.removeprefix("rel-")](values)
        slack = np.where(np.isinf(limits), 1.0, limits) * _MARGIN
        fits = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        fits &= (boxes[:, :2] >= -slack).all(axis=1)
        fits &= (boxes[:, 2:] <= limits + slack).all(axis=1)
        found[option] = float(fits.mean())
    return found


def only_one(found: dict[str, float]) -> str | None:
    """The meaning that fits, if all others clearly do not."""
    fitting = [option for option, share in found.items() if share >= _FITS]
    unclear = [option for option, share in found.items() if share >= _FAILS]
    return fitting[0] if len(fitting) == len(unclear) == 1 else None
