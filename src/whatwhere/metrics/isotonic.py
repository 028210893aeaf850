"""The best rising step function through points: isotonic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def isotonic_blocks(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Least squares fit that never falls, by pooling adjacent violators.

    Ayer et al., Annals of Mathematical Statistics 1955. Points of equal x are one point.

    Args:
        x, y: float64 (N,).

    Returns:
        Of each block of equal fitted values, rising: its value, its least and its largest x,
        and the mean x of its points; float64 (B,) each.
    """
    distinct, place = np.unique(x, return_inverse=True)
    if not len(distinct):
        nothing = np.zeros(0)
        return nothing, nothing, nothing, nothing
    weights = np.bincount(place).astype(np.float64)
    sums = np.bincount(place, y)
    # A stack of blocks: sum of y, weight, first and last point.
    total: list[float] = []
    weight: list[float] = []
    start: list[int] = []
    for row, (value, mass) in enumerate(zip(sums.tolist(), weights.tolist(), strict=True)):
        begin = row
        # Means are compared by cross products, so that equal ones pool whatever the rounding.
        while total and total[-1] * mass >= value * weight[-1]:
            value += total.pop()
            mass += weight.pop()
            begin = start.pop()
        total.append(value)
        weight.append(mass)
        start.append(begin)
    first = np.array(start)
    last = np.append(first[1:], len(distinct)) - 1
    masses = np.array(weight)
    centres = np.add.reduceat(distinct * weights, first) / masses
    return np.array(total) / masses, distinct[first], distinct[last], centres
